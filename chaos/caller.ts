import type { AnswerBody, HistoryWriter, ListedRow, Operation } from './history.js';
import { NoAnswerError, parseAnswer, send } from './http-client.js';
import type { Instance } from './instances.js';

/** An answer as the workload sees it. */
export interface CallAnswer extends AnswerBody {
  /** As in the history: 0 when none came, -1 when it was never sent. */
  readonly status: number;
}

const PAGE = 20;
const PAGES = 2;

/** Sends the requests of operations, and writes down each before it is sent, and what became of it. */
export class Caller {
  private operations = 0;
  private attempts = 0;

  constructor(private readonly history: HistoryWriter) {}

  /** Numbers an operation and writes it down. Its number is also the amount of money that it moves. */
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
    this.history.append({ entry: 'attempt', op, attempt, instance: instance.label });
    try {
      const { status, retryAfter, ...body } = await this.call(op, operation, instance.url, timeoutMs);
      this.history.append({ entry: 'answer', op, attempt, status, body, retryAfter });
      return { status, ...body };
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      const status = error.neverSent ? -1 : 0;
      this.history.append({ entry: 'answer', op, attempt, status });
      return { status };
    }
  }

  private call(op: number, operation: Operation, url: string, timeoutMs: number): Promise<Answered> {
    switch (operation.kind) {
      case 'open': {
        const body = JSON.stringify({ openingDeposit: decimal(op) });
        return this.one('POST', `${url}/accounts`, timeoutMs, keyHeader(operation.key), body);
      }
      case 'post':
        return this.post(op, operation, url, timeoutMs);
      case 'balance': {
        const { accountId, minVersion, noCache } = operation;
        const query = minVersion === undefined ? '' : `?minVersion=${minVersion}`;
        const headers: Record<string, string> = noCache ? { 'cache-control': 'no-cache' } : {};
        return this.one('GET', `${url}/accounts/${accountId}/balance${query}`, timeoutMs, headers);
      }
      case 'list':
        return this.list(`${url}/accounts/${operation.accountId}/transactions?limit=${PAGE}`, timeoutMs);
    }
  }

  private post(
    op: number,
    operation: Extract<Operation, { kind: 'post' }>,
    url: string,
    timeoutMs: number,
  ): Promise<Answered> {
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
    return this.one(
      'POST',
      `${url}/accounts/${accountId}/transactions`,
      timeoutMs,
      headers,
      JSON.stringify(body),
    );
  }

  private async one(
    method: 'GET' | 'POST',
    url: string,
    timeoutMs: number,
    headers: Readonly<Record<string, string>>,
    body?: string,
  ): Promise<Answered> {
    const answer = await send(method, url, { timeoutMs, headers, body });
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

  private async list(firstPage: string, timeoutMs: number): Promise<Answered> {
    const rows: ListedRow[] = [];
    let cursor: string | null = '';
    for (let page = 0; page < PAGES && cursor !== null; page++) {
      const url = cursor === '' ? firstPage : `${firstPage}&cursor=${encodeURIComponent(cursor)}`;
      const { status, headers, text } = await send('GET', url, { timeoutMs });
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
