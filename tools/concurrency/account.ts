import { parse } from 'lossless-json';
import { z } from 'zod';
import { printable } from '../../src/cli/printable.js';
import { UserError } from '../../src/domain/user-error.js';
import { exchange, open, type Answer, type Target } from './connection.js';

/** What keeps the books from being checked. */
export class CheckError extends UserError {}

/** Numbers arrive here as their text, so that no digit is lost. */
const money = z
  .string()
  .regex(/^-?\d{1,16}\.\d\d$/)
  .transform((text) => BigInt(text.replace('.', '')));
const version = z
  .string()
  .regex(/^[1-9]\d{0,15}$/)
  .transform(Number);

const balance = z.object({ balance: money, version });
const receipt = z.object({
  id: z.string().regex(/^txn[1-9]\d{0,18}$/),
  type: z.enum(['Deposit', 'Withdraw']),
  amount: money,
  newBalance: money,
  newVersion: version,
});
const page = z.object({ data: z.array(receipt), nextCursor: z.string().nullable() });
const proof = z.object({ lines: z.array(z.string()), nextFromVersion: version.nullable() });
const problem = z.object({
  error: z.string().max(200).transform(printable),
  transactionId: receipt.shape.id.optional(),
});

/** An account's balance in cents at a version. */
export type Balance = z.infer<typeof balance>;
/** A transaction as the API shows it; amounts in cents. */
export type Receipt = z.infer<typeof receipt>;
/** An error, as the API words it. */
export type Problem = z.infer<typeof problem>;

const LONGEST_PAGE = 200;

/** An account as the API shows it. Each method throws NoAnswerError or CheckError. */
export class Account {
  constructor(
    readonly target: Target,
    readonly accountId: number,
  ) {}

  /** From the database, not from a cache. */
  async balance(): Promise<Balance> {
    return this.read(balance, `/accounts/${this.accountId}/balance`, { 'cache-control': 'no-cache' });
  }

  transaction(id: string): Promise<Receipt> {
    return this.read(receipt, `/transactions/${id}`);
  }

  /** The transactions with versions after one and up to another, newest first. */
  async transactions(after: number, upTo: number): Promise<Receipt[]> {
    const listed: Receipt[] = [];
    const query = new URLSearchParams({ limit: String(LONGEST_PAGE) });
    for (let goOn = true; goOn;) {
      const path = `/accounts/${this.accountId}/transactions?${query.toString()}`;
      const { data, nextCursor } = await this.read(page, path);
      listed.push(...data.filter(({ newVersion }) => newVersion > after && newVersion <= upTo));
      goOn = nextCursor !== null && data.every(({ newVersion }) => newVersion > after);
      query.set('cursor', nextCursor ?? '');
    }
    return listed;
  }

  /** By version: the keys with which the transactions after a version were posted, where there is one. */
  async keys(after: number): Promise<Map<number, string>> {
    const keys = new Map<number, string>();
    for (let from: number | null = after; from !== null;) {
      const path: string = `/accounts/${this.accountId}/proof?fromVersion=${from}`;
      const { lines, nextFromVersion } = await this.read(proof, path);
      for (const line of lines) {
        // The key comes last, because it may hold any character.
        const [, posted, key] = /^(?:[^:]*:){5}(\d+):\d+:=(.*)$/s.exec(line) ?? [];
        if (posted !== undefined && key !== undefined) keys.set(Number(posted), key);
      }
      from = nextFromVersion;
    }
    return keys;
  }

  private async read<T>(
    schema: z.ZodType<T>,
    path: string,
    headers: Record<string, string> = {},
  ): Promise<T> {
    const socket = await open(this.target);
    const answer = await exchange(this.target, { method: 'GET', path, headers }, socket);
    const body = answer.status === 200 ? schema.safeParse(bodyOf(answer)).data : undefined;
    if (body === undefined) throw new CheckError(`GET ${path} was answered ${describe(answer)}`);
    return body;
  }
}

/** Undefined: it is not a receipt. */
export const receiptIn = (answer: Answer): Receipt | undefined => receipt.safeParse(bodyOf(answer)).data;

/** Undefined: it is not an error of the API. */
export const problemIn = (answer: Answer): Problem | undefined => problem.safeParse(bodyOf(answer)).data;

function bodyOf({ text }: Answer): unknown {
  try {
    return parse(text, undefined, (digits) => digits);
  } catch {
    return undefined;
  }
}

const HINTS: Readonly<Record<number, string>> = {
  401: ': it needs a credential, in BANK_API_KEY',
  403: ': the credential needs the scopes accounts:read, transactions:read and withdrawals:write',
};

/** An answer that is an error, in a few words. */
export function describe(answer: Answer): string {
  const { error } = problemIn(answer) ?? {};
  const words = error === undefined ? 'with something that this API does not answer' : error;
  return `${answer.status} ${words}${HINTS[answer.status] ?? ''}`;
}
