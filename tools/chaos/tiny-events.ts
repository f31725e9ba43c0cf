import type { Posting, Rows } from './checker/books.js';
import type { Arrival } from './checker/check-events.js';
import { decimal } from './checker/history.js';
import { wordFor } from './checker/parts.js';

type Hold = Rows['holds'][number];

/**
 * What the tiny bank tells others of the transactions of one command.
 *
 * @param holds as they are after it
 * @param between the legs of the transfer to another shard that it completes, or none
 */
export function announce(
  posted: readonly Posting[],
  holds: ReadonlyMap<string, Hold>,
  between?: readonly Posting[],
): Arrival[] {
  const told = posted.flatMap((posting, place) => {
    const transaction = transactionEvent(posting);
    const hold = holds.get(posting.holdId ?? '');
    const isReleaseOfCapture = posting.type === 'release' && posted[place + 1] !== undefined;
    return hold && !isReleaseOfCapture ? [transaction, stepEvent(posting, hold)] : [transaction];
  });
  const own = posted.filter(({ transferId, type }) => transferId !== undefined && type !== 'hold');
  const legs = between ?? own;
  return legs.length === 0 ? told : [...told, transferEvent(legs)];
}

export function changeEvent(
  accountId: number,
  revision: number,
  { status, overdraftLimit }: { readonly status?: string; readonly overdraftLimit?: number },
): Arrival {
  const changes = {
    ...(status !== undefined && { status }),
    ...(overdraftLimit !== undefined && { overdraftLimit: decimal(overdraftLimit) }),
  };
  const data = { accountId, revision, changes };
  return { id: `account${accountId}/${revision}`, type: 'account.changed.v1', data };
}

function transactionEvent({ id, type, amount, balance, held, key, ...posting }: Posting): Arrival {
  const { accountId, version, transferId, holdId, reverses } = posting;
  const isPlain = type === 'credit' || type === 'debit';
  const data = {
    ...{ transactionId: id, accountId, type: wordFor(type), version, idempotencyKey: key },
    ...{ amount: decimal(amount), balance: decimal(balance), transferId, holdId, reverses },
  };
  return isPlain && balance >= 0
    ? { id, type: 'transaction.posted.v1', data }
    : { id, type: 'transaction.posted.v2', data: { ...data, held: decimal(held) } };
}

function stepEvent({ id, accountId, type, amount, version, op, transferId }: Posting, hold: Hold): Arrival {
  const data = { holdId: hold.id, accountId, transactionId: id, version, amount: decimal(amount) };
  const event = (step: string, more: object = {}): Arrival => ({
    ...{ id: `${hold.id}/${version}`, type: `hold.${step}.v1`, data: { ...data, ...more } },
  });
  if (type === 'release') return event(op === undefined ? 'expired' : 'voided');
  if (type === 'debit') return event('captured', { remaining: decimal(hold.remaining), transferId });
  const { expiresAt } = hold;
  return event('placed', expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).toISOString() });
}

function transferEvent(legs: readonly Posting[]): Arrival {
  const [{ transferId = '', holdId }] = legs as [Posting];
  const told = legs.map(({ id, accountId, type, amount, version, reverses }) => ({
    ...{ transactionId: id, accountId, type: wordFor(type), amount: decimal(amount), version, reverses },
  }));
  return { id: transferId, type: 'transfer.completed.v1', data: { transferId, legs: told, holdId } };
}
