import type { AnswerBody, HistoryWriter, ListedRow, Operation } from './checker/history.js';
import { NoAnswerError, parseAnswer, send } from './http-client.js';
import type { Instance } from './instances.js';
import type { Sender } from './senders.js';

/** An answer as the workload sees it. */
export interface CallAnswer extends AnswerBody {
  /** As in the history: 0 when no answer came, -1 when the request was never sent. */
  readonly status: number;
}

const PAGE = 20;
const PAGES = 2;

/** Sends the requests of operations. Writes each one to the history before it is sent, and its answer afterwards. */
export class Caller {
  private operations = 0;
  private attempts = 0;

  constructor(
    private readonly history: HistoryWriter,
    private readonly senders: readonly Sender[],
  ) {}

  /** Gives an operation a number and writes it to the history. The number is also the amount that it moves. */
  intend(operation: Operation): number {
    const op = ++this.operations;
    this.history.append({ entry: 'intent', op, operation });
    return op;
  }

  async attempt(
    op: number,
    operation: Operation,
    instance: Instance,
    timeoutMs: number,
  ): Promise<CallAnswer> {
    const attempt = ++this.attempts;
    // All requests of an operation come from one sender.
    const sender = this.senders[op % this.senders.length] as Sender;
    this.history.append({ entry: 'attempt', op, attempt, instance: instance.label, sender: sender.name });
    try {
      const call = { url: instance.url, timeoutMs, sender };
      const { status, retryAfter, ...body } = await this.call(op, operation, call);
      this.history.append({ entry: 'answer', op, attempt, status, body, retryAfter });
      return { status, ...body };
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      const status = error.neverSent ? -1 : 0;
      this.history.append({ entry: 'answer', op, attempt, status });
      return { status };
    }
  }

  private call(op: number, operation: Operation, call: Call): Promise<Answered> {
    const { url, sender } = call;
    switch (operation.kind) {
      case 'open': {
        const body = JSON.stringify({ openingDeposit: decimal(op), owner: sender.opensFor });
        return this.one('POST', { ...call, url: `${url}/accounts` }, keyHeader(operation.key), body);
      }
      case 'post':
        return this.post(op, operation, call);
      case 'balance': {
        const { accountId, minVersion, noCache } = operation;
        const query = minVersion === undefined ? '' : `?minVersion=${minVersion}`;
        const headers: Record<string, string> = noCache ? { 'cache-control': 'no-cache' } : {};
        return this.one('GET', { ...call, url: `${url}/accounts/${accountId}/balance${query}` }, headers);
      }
      case 'list':
        return this.list({
          ...call,
          url: `${url}/accounts/${operation.accountId}/transactions?limit=${PAGE}`,
        });
    }
  }

  private post(op: number, operation: Extract<Operation, { kind: 'post' }>, call: Call): Promise<Answered> {
    const { accountId, type, key, expectedVersion, ifMatch } = operation;
    const headers = {
      ...keyHeader(key),
      ...(ifMatch && { 'if-match': `"${expectedVersion}"` }),
    };
    const body = {
      'moneyWithdraw/Deposit': decimal(op),
      typeOfTransaction: type === 'credit' ? 'Deposit' : 'Withdraw',
      ...(!ifMatch && { expectedversion: expectedVersion }),
    };
    const url = `${call.url}/accounts/${accountId}/transactions`;
    return this.one('POST', { ...call, url }, headers, JSON.stringify(body));
  }

  private async one(
    method: 'GET' | 'POST',
    { url, timeoutMs, sender }: Call,
    more: Readonly<Record<string, string>>,
    body?: string,
  ): Promise<Answered> {
    const answer = await send(method, url, { timeoutMs, headers: { ...sender.headers, ...more }, body });
    const read = parseAnswer(answer.text) as Record<string, unknown>;
    const version = read['version'] ?? read['newVersion'];
    return {
      status: answer.status,
      retryAfter: answer.headers['retry-after'] !== undefined,
      ...pick(read, ['error', 'id', 'transactionId', 'accountId', 'type', 'amount']),
      balance: (read['balance'] ?? read['newBalance']) as number | undefined,
      version: version === undefined ? undefined : Number(version),
      currentVersion: read['CurrentVersion'] as number | null | undefined,
    };
  }

  private async list({ url: firstPage, timeoutMs, sender }: Call): Promise<Answered> {
    const rows: ListedRow[] = [];
    let cursor: string | null = '';
    for (let page = 0; page < PAGES && cursor !== null; page++) {
      const url = cursor === '' ? firstPage : `${firstPage}&cursor=${encodeURIComponent(cursor)}`;
      const { status, headers, text } = await send('GET', url, { timeoutMs, headers: sender.headers });
      const read = parseAnswer(text) as { data?: Listed[]; nextCursor?: string | null; error?: string };
      if (status !== 200)
        return { status, error: read.error, retryAfter: headers['retry-after'] !== undefined };
      for (const { id, type, amount, newBalance, newVersion } of read.data ?? []) {
        rows.push({ id, type, amount, balance: newBalance, version: Number(newVersion) });
      }
      cursor = read.nextCursor ?? null;
    }
    return { status: 200, retryAfter: false, rows };
  }
}

/** Where a request goes, how long to wait for its answer, and who sends it. */
interface Call {
  readonly url: string;
  readonly timeoutMs: number;
  readonly sender: Sender;
}

interface Answered extends AnswerBody {
  readonly status: number;
  readonly retryAfter: boolean;
}

interface Listed {
  readonly id: string;
  readonly type: string;
  readonly amount: number;
  readonly newBalance: number;
  readonly newVersion: string;
}

const keyHeader = (key: string | undefined): Record<string, string> =>
  key === undefined ? {} : { 'idempotency-key': key };

/** As text, for the body of a request. */
function decimal(minorUnits: number): string {
  const digits = String(minorUnits).padStart(3, '0');
  return `${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

function pick(from: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, never> {
  return Object.fromEntries(names.filter((name) => name in from).map((name) => [name, from[name]])) as never;
}
