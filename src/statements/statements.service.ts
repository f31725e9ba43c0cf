import { Inject, Injectable } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { CONFIG } from '../config/config.module.js';
import { currencyOf } from '../config/currencies.js';
import { LedgerError } from '../domain/errors.js';
import type { Sender } from '../domain/sender.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import { StatementReader, type Movement, type Span } from '../ledger/read/statement-reader.js';
import { signed, type Statement } from './statement.js';
import type { StatementFormat, StatementRequest } from './statements.dto.js';

/**
 * The most transactions of an interval, holds and releases included: how many there are is known before they are read.
 * A PDF is made as a whole, because its pages are counted, so it may have fewer.
 */
export const MAX_TRANSACTIONS: Readonly<Record<StatementFormat, number>> = {
  json: 100_000,
  csv: 100_000,
  'camt.053': 100_000,
  pdf: 10_000,
};

@Injectable()
export class StatementsService {
  constructor(
    private readonly statements: StatementReader,
    private readonly reader: LedgerReader,
    private readonly owners: AccountOwners,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** @throws LedgerError; InvalidRequestError when the interval is not over */
  async open({ accountId, from, to, format }: StatementRequest, { owner, user }: Sender): Promise<Statement> {
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    const { now, span } = await this.statements.bounds(accountId, from, to, user).catch(refuseFuture);
    const { opening, closing } = span;
    if (closing.version - opening.version > MAX_TRANSACTIONS[format]) {
      throw new LedgerError({ code: 'STATEMENT_TOO_LONG' });
    }
    const [account, turnover] = await Promise.all([
      this.reader.account(accountId, user),
      this.statements.turnover(span, user),
    ]);
    const currency = account.currency === undefined ? this.config.currency : currencyOf(account.currency);
    return {
      ...{ account, currency, from, to, createdAt: now, turnover },
      ...{ openingBalance: opening.balance, closingBalance: closing.balance },
      lines: () => checked(span, this.statements.movements(span, user)),
    };
  }
}

function refuseFuture(error: unknown): never {
  const isFuture = error instanceof LedgerError && error.failure.code === 'TIME_IN_FUTURE';
  throw isFuture ? InvalidRequestError.of('to', 'must not be in the future') : error;
}

/** @throws when the lines don't lead from the opening balance to the closing one */
async function* checked(
  { accountId, opening, closing }: Span,
  chunks: AsyncIterable<readonly Movement[]>,
): AsyncGenerator<readonly Movement[]> {
  let balance = opening.balance;
  for await (const chunk of chunks) {
    for (const line of chunk) {
      balance += signed(line);
      if (line.balanceAfter !== balance) throw new Error(`the balances of account ${accountId} don't add up`);
    }
    yield chunk;
  }
  if (balance !== closing.balance) throw new Error(`the balances of account ${accountId} don't add up`);
}
