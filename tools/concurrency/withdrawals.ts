import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { formatMoney, type Money } from '../../src/domain/money.js';
import { describe, problemIn, receiptIn, type Account, type Receipt } from './account.js';
import { exchange, NoAnswerError, open, type Answer } from './connection.js';

/** A withdrawal, and what its answers say. */
export interface Withdrawal {
  /** From 1, in the order of sending. */
  readonly number: number;
  /** Its Idempotency-Key. */
  readonly key: string;
  /** How often it was sent: more than once if an answer left open what became of it. */
  readonly sent: number;
  /** From the first sending to the last answer. */
  readonly ms: number;
  readonly outcome: Outcome;
}

export interface Outcome {
  /** It was accepted or refused, or it is not known which. */
  readonly kind: 'accepted' | 'refused' | 'unknown';
  /** Of the last answer; undefined: there was none. */
  readonly status?: number;
  /** What the last answer says, or why there was none; undefined: it was a 201. */
  readonly error?: string;
  /** Of an accepted one. */
  readonly receipt?: Receipt;
}

const MAX_SENDINGS = 5;
/** Longer after each sending. */
const PAUSE_MS = 500;
/** Certainly not applied, by the contract. */
const REFUSALS = [408, 422, 429, 503];

/**
 * Posts withdrawals at one moment, each on a connection of its own that is already open.
 *
 * @throws NoAnswerError, CheckError
 */
export async function withdrawTogether(
  account: Account,
  count: number,
  amount: Money,
): Promise<Withdrawal[]> {
  const run = randomUUID();
  const connections = await Promise.all(Array.from({ length: count }, () => open(account.target)));
  return Promise.all(
    connections.map(async (connection, index) => {
      const key = `concurrency-${run}-${index + 1}`;
      const call = {
        method: 'POST' as const,
        path: `/accounts/${account.accountId}/transactions`,
        headers: { 'idempotency-key': key },
        body: `{"moneyWithdraw/Deposit":${formatMoney(amount, 2)},"typeOfTransaction":"Withdraw"}`,
      };
      const startedAt = performance.now();
      const { sent, outcome } = await settle(account, async (again) =>
        exchange(account.target, call, again ? await open(account.target) : connection),
      );
      return { number: index + 1, key, sent, ms: performance.now() - startedAt, outcome };
    }),
  );
}

/** Sends a request until an answer says what became of it. Its key makes that safe. */
async function settle(
  account: Account,
  send: (again: boolean) => Promise<Answer>,
): Promise<Pick<Withdrawal, 'sent' | 'outcome'>> {
  for (let sent = 1; ; sent++) {
    const outcome = await send(sent > 1).then(
      (answer) => outcomeOf(answer, account, sent > 1),
      (error: unknown): Outcome => {
        if (error instanceof NoAnswerError) return { kind: 'unknown', error: error.message };
        throw error;
      },
    );
    const leavesOpen = outcome.status === undefined || outcome.status === 408 || outcome.status >= 429;
    if (outcome.kind !== 'unknown' || !leavesOpen || sent === MAX_SENDINGS) return { sent, outcome };
    await pause(sent * PAUSE_MS);
  }
}

async function outcomeOf(answer: Answer, account: Account, again: boolean): Promise<Outcome> {
  const { status } = answer;
  const receipt = status === 201 ? receiptIn(answer) : undefined;
  if (receipt) return { kind: 'accepted', status, receipt };
  const { error = describe(answer), transactionId } = problemIn(answer) ?? {};
  if (again && status === 409 && transactionId !== undefined) {
    return { kind: 'accepted', status, error, receipt: await account.transaction(transactionId) };
  }
  // After an answer that was lost, a busy service says nothing of the request that it belonged to.
  const isRefused = again ? status === 422 : REFUSALS.includes(status) && error !== 'Outcome unknown';
  return { kind: isRefused ? 'refused' : 'unknown', status, error };
}
