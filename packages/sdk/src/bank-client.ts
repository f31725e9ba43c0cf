import { Accounts } from './accounts.js';
import { Batches } from './batches.js';
import { Calls, dataOf } from './calls.js';
import { createClient, type Client } from './generated/api/client/index.js';
import { getLedgerSummary } from './generated/api/sdk.gen.js';
import type { LedgerSummary } from './generated/api/types.gen.js';
import { Holds } from './holds.js';
import { liveEvents, type LiveEvent, type LiveEventsOptions } from './live-events.js';
import { Submissions } from './submissions.js';
import { Transactions } from './transactions.js';
import { Transfers } from './transfers.js';
import { Transport, type CallOptions, type Limits } from './transport.js';
import { WebhookEndpoints } from './webhook-endpoints.js';

export interface BankClientOptions extends Limits {
  /** Where the service is, like `https://bank.example`. */
  readonly baseUrl: string;
  /** An API key, or a function for tokens that expire. It is asked before each try, and should keep the token. */
  readonly credential?: string | undefined | ((signal: AbortSignal) => string | Promise<string>);
  /** Default: that of the platform. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** Money is text in each direction. */
const ACCEPT = 'application/json; money=string';

/**
 * A client of the ledger. Every posting has an idempotency key, which stays the same while the client sends it again, so
 * nothing is posted twice.
 *
 * All methods throw `BankError`, or the reason of their `signal`.
 */
export class BankClient {
  readonly accounts: Accounts;
  readonly transactions: Transactions;
  readonly transfers: Transfers;
  readonly holds: Holds;
  readonly batches: Batches;
  readonly submissions: Submissions;
  readonly webhooks: WebhookEndpoints;
  /** For the functions of `@scalable-banking/sdk/operations`, as their `client`. */
  readonly http: Client;
  private readonly calls: Calls;

  constructor({ baseUrl, credential, fetch, ...limits }: BankClientOptions) {
    const transport = new Transport({
      ...{ timeoutMs: 30_000, maxRetries: 5, maxElapsedMs: 90_000, ...limits },
      baseUrl: new URL(baseUrl).href.replace(/\/+$/, ''),
      // Called, not passed on: a browser's fetch must be called on its window.
      fetch: fetch ?? ((url, init) => globalThis.fetch(url, init)),
      token: typeof credential === 'string' ? () => credential : credential,
    });
    this.http = forDeno(
      createClient({
        baseUrl: transport.baseUrl,
        headers: { Accept: ACCEPT },
        fetch: transport.fetch(),
        throwOnError: true,
      }),
    );
    this.calls = new Calls(this.http, transport);
    this.accounts = new Accounts(this.calls);
    this.transactions = new Transactions(this.calls);
    this.transfers = new Transfers(this.calls);
    this.holds = new Holds(this.calls);
    this.batches = new Batches(this.calls);
    this.submissions = new Submissions(this.calls);
    this.webhooks = new WebhookEndpoints(this.calls);
  }

  /** What all accounts hold, by currency; for administrators. */
  summary(call?: CallOptions): Promise<LedgerSummary> {
    return dataOf(getLedgerSummary(this.calls.reading(call)));
  }

  /** What happens to all accounts that the credential may see, as it happens. */
  events(options?: LiveEventsOptions): AsyncGenerator<LiveEvent, void, undefined> {
    return liveEvents(this.calls.streaming('/events'), options);
  }
}

/**
 * Takes the generated functions' own `client` out of the options, which the generated client passes on to `new Request`:
 * Deno takes it for a client of its own there.
 */
function forDeno<T extends object>(client: T): T {
  return new Proxy(client, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (name === 'sse') return forDeno(member as object);
      if (typeof member !== 'function') return member;
      const method = member as (options: object) => unknown;
      return (options: object) => method({ ...options, client: undefined });
    },
  });
}
