import type { Calls, FilterOf, PostOptions } from './calls.js';
import { dataOf, pagesOf, splitCall, splitPost } from './calls.js';
import * as api from './generated/api/sdk.gen.js';
import type {
  Account,
  Balance,
  ChangeAccount,
  GetAccountProofData,
  GetBalanceData,
  GetStatementData,
  ListAccountsData,
  OpenAccount,
  Proof,
  Statement,
} from './generated/api/types.gen.js';
import type { BankEvent } from './generated/events/types.gen.js';
import { liveEvents, type LiveEvent, type LiveEventsOptions } from './live-events.js';
import type { Pages } from './pages.js';
import type { CallOptions } from './transport.js';

type StatementQuery = NonNullable<GetStatementData['query']>;
type Interval = Pick<StatementQuery, 'from' | 'to'>;
/** The forms of a statement for people and other programs. */
type StatementFormat = Exclude<StatementQuery['format'], 'json' | undefined>;

export class Accounts {
  constructor(private readonly calls: Calls) {}

  open(account: OpenAccount & PostOptions = {}): Promise<Account> {
    const [call, body] = splitPost(account);
    return dataOf(api.openAccount({ ...this.calls.posting(call), body }));
  }

  get(accountId: number, call?: CallOptions): Promise<Account> {
    return dataOf(api.getAccount({ ...this.calls.reading(call), path: { accountId } }));
  }

  /** In ascending order of their ids. */
  list(filter: FilterOf<ListAccountsData> & CallOptions = {}): Pages<Account> {
    const [call, query] = splitCall(filter);
    return pagesOf((cursor) =>
      api.listAccounts({ ...this.calls.reading(call), query: { ...query, ...cursor } }),
    );
  }

  /**
   * Changes status, overdraft limit, reference or metadata. It takes no key, so it is tried once: with `ifMatch`, the
   * `ETag` of the account, it can be repeated without undoing what others changed.
   */
  update(accountId: number, changes: ChangeAccount & CallOptions & { ifMatch?: string }): Promise<Account> {
    const [{ ifMatch, ...call }, body] = splitPost(changes);
    return dataOf(
      api.changeAccount({
        ...this.calls.reading(call),
        ...(ifMatch !== undefined && { headers: { 'If-Match': ifMatch } }),
        ...{ path: { accountId }, body },
      }),
    );
  }

  /** Of now; with `at` or `version`, of the past. */
  balance(
    accountId: number,
    options: NonNullable<GetBalanceData['query']> & CallOptions = {},
  ): Promise<Balance> {
    const [call, query] = splitCall(options);
    return dataOf(api.getBalance({ ...this.calls.reading(call), path: { accountId }, query }));
  }

  /** The transactions from `from` until before `to`, and the balances at both. */
  statement(accountId: number, interval: Interval & CallOptions): Promise<Statement> {
    const [call, query] = splitCall(interval);
    return dataOf(api.getStatement({ ...this.calls.reading(call), path: { accountId }, query }));
  }

  /** The same as a file. */
  statementFile(
    accountId: number,
    options: Interval & CallOptions & { format: StatementFormat },
  ): Promise<Blob> {
    const [call, query] = splitCall(options);
    const answer = api.getStatement({
      ...{ ...this.calls.reading(call), path: { accountId }, query },
      parseAs: 'blob',
    });
    return dataOf(answer as Promise<{ data: unknown }>) as Promise<Blob>;
  }

  /** The head of the account's chain of hashes, and the lines that lead to it. */
  proof(
    accountId: number,
    options: NonNullable<GetAccountProofData['query']> & CallOptions = {},
  ): Promise<Proof> {
    const [call, query] = splitCall(options);
    return dataOf(api.getAccountProof({ ...this.calls.reading(call), path: { accountId }, query }));
  }

  /** What happens to the account, as it happens. */
  events(accountId: number, options?: LiveEventsOptions): AsyncGenerator<LiveEvent, void, undefined> {
    return liveEvents<BankEvent>(this.calls.streaming(`/accounts/${accountId}/events`), options);
  }
}
