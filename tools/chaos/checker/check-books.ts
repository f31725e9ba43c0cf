import { isExpiry, type AccountBook, type Books, type HoldBook, type Posting } from './books.js';
import type { Violations } from './rules.js';
import { claimOf, limitsIn, remainingAt, statusesIn } from './states.js';

/** Checks the books by themselves, without the history. */
export function checkBooks(books: Books, violations: Violations): void {
  for (const [accountId, book] of books.accounts) {
    const fault = faultOf(book);
    if (fault) violations.add('books-unsound', `account ${accountId}: ${fault}`);
    for (const overdrawn of overdrawnAt(book))
      violations.add('overdrawn', `account ${accountId}: ${overdrawn}`);
    for (const { id, version } of refusedByStatus(book, books))
      violations.add('status-ignored', `account ${accountId}: ${id} at version ${version}`);
    const closed = closureFaultOf(book);
    if (closed) violations.add('status-ignored', `account ${accountId}: ${closed}`);
  }
  for (const hold of books.holds.values()) {
    const fault =
      holdFaultOf(hold, books) ??
      (isDue(hold, books.readAt) ? 'it has expired, and nobody ended it' : undefined);
    if (fault) violations.add('hold-broken', `${hold.id}, ${hold.status}: ${fault}`);
  }
  for (const [id, reversals] of books.reversals) checkReversals(id, reversals, books, violations);
}

function faultOf(book: AccountBook): string | undefined {
  let [balance, held, version, time] = [0, 0, 1, -Infinity];
  for (const posting of book.postings) {
    const { id, type, amount } = posting;
    version += 1;
    if (type === 'credit' || type === 'debit') balance += type === 'credit' ? amount : -amount;
    else held += type === 'hold' ? amount : -amount;
    if (posting.version !== version)
      return `version ${posting.version} stands where ${version} should (${id})`;
    if (posting.balance !== balance)
      return `balance ${posting.balance} stands where ${balance} should (${id})`;
    if (posting.held !== held) return `${posting.held} are held where ${held} should be (${id})`;
    if (held < 0) return `${held} are held at version ${version}`;
    if (posting.time < time) return `version ${version} is older than the one before (${id})`;
    time = posting.time;
  }
  if (book.version !== version) return `its version is ${book.version}, its last transaction's ${version}`;
  const remaining = book.holds.reduce((sum, hold) => sum + hold.remaining, 0);
  if (book.held !== held || remaining !== held)
    return `${book.held} are held, its transactions say ${held}, its holds ${remaining}`;
  if (book.revision !== book.events.length)
    return `its revision is ${book.revision}, and it has ${book.events.length} events`;
  const { status = 'open' } = book.events.findLast((event) => event.status !== undefined) ?? {};
  const { overdraftLimit = 0 } = book.events.findLast((event) => event.overdraftLimit !== undefined) ?? {};
  if (book.status !== status || book.overdraftLimit !== overdraftLimit)
    return `it is ${book.status} with a limit of ${book.overdraftLimit}, its events say ${status} and ${overdraftLimit}`;
  return book.balance === balance
    ? undefined
    : `its balance is ${book.balance}, its transactions' ${balance}`;
}

/** A transaction must leave at least nothing available by the limit at its time. (Two changes may share it.) */
function overdrawnAt(book: AccountBook): string[] {
  return book.postings.flatMap(({ balance, held, version, time }) => {
    const limit = Math.max(...limitsIn(book, { from: time, to: time }));
    return balance - held + limit < 0
      ? [`${balance} less ${held} held with a limit of ${limit} at version ${version}`]
      : [];
  });
}

/**
 * Which statuses allow what. The debit of a capture is one that was promised; that of a transfer to another shard is,
 * whatever has become of the account since.
 */
function refusedByStatus(book: AccountBook, { sent }: Books): Posting[] {
  return book.postings.filter(({ type, holdId, transferId = '', time }) => {
    const isPromised = type === 'credit' || (type === 'debit' && holdId !== undefined);
    const allowed = isPromised || type === 'release' ? ['open', 'debits_blocked'] : ['open'];
    if (type === 'release' || (type === 'debit' && sent.has(transferId))) allowed.push('frozen');
    return !statusesIn(book, { from: time, to: time }).some((status) => allowed.includes(status));
  });
}

/** An account is empty when it is closed, and stays as it is. */
function closureFaultOf({ events, postings, balance, held }: AccountBook): string | undefined {
  const closing = events.findIndex(({ status }) => status === 'closed');
  const { time = Infinity } = events[closing] ?? {};
  if (closing < 0) return undefined;
  if (closing < events.length - 1) return `it was changed after it had been closed: ${describe(events)}`;
  if (postings.some((posting) => posting.time > time)) return 'it was used after it had been closed';
  return balance === 0 && held === 0
    ? undefined
    : `it was closed with a balance of ${balance}, and ${held} on hold`;
}

const isDue = ({ status, expiresAt = Infinity }: HoldBook, now: number) =>
  status === 'active' && expiresAt < now;

function holdFaultOf(hold: HoldBook, books: Books): string | undefined {
  const { amount, remaining, captured, capturing, status, expiresAt, postings } = hold;
  const [placed, ...others] = postings;
  if (placed?.type !== 'hold' || placed.amount !== amount) return `it begins with ${describe(placed)}`;
  const sum = (type: string) =>
    others.reduce((total, posting) => total + (posting.type === type ? posting.amount : 0), 0);
  if (sum('hold') > 0 || sum('credit') > 0) return 'it has transactions of other kinds';
  if (remaining !== amount - sum('release'))
    return `${remaining} remain of ${amount}, of which ${sum('release')} were released`;
  if (captured !== sum('debit')) return `${captured} were captured, by its transactions ${sum('debit')}`;
  if (captured > sum('release')) return `${captured} were captured, and ${sum('release')} released`;
  if ((status === 'active') !== remaining > 0) return `${remaining} remain`;
  const pending = pendingOf(hold, books);
  const underWay = pending.some(({ final }) => final) ? remaining : sumOf(pending);
  if (capturing !== underWay)
    return `${capturing} wait for the decision of another shard, of which ${underWay} are pending`;
  const beganAt = ({ op = 0, time }: Posting) =>
    books.sentBy.get(op)?.find(({ holdId }) => holdId === hold.id)?.createdAt ?? time;
  const late = others.find(
    (posting) => posting.op !== undefined && beganAt(posting) >= (expiresAt ?? Infinity),
  );
  if (late) return `${late.id} of operation ${late.op} came after it had expired`;
  const expiries = others.filter(isExpiry);
  const early = expiries.find((posting) => posting.time < (expiresAt ?? Infinity));
  if (early) return `${early.id} ended it before it expired`;
  if (expiries.length > 1 || (expiries.length === 1) !== (status === 'expired'))
    return `it expired ${expiries.length} times`;
  const beyond = others
    .slice(0, -1)
    .find((posting) => isExpiry(posting) || remainingAt(hold, posting.version) < 0);
  return beyond && `it goes on after ${beyond.id}`;
}

const pendingOf = ({ id }: HoldBook, { sent }: Books) =>
  [...sent.values()].filter(({ holdId, status }) => holdId === id && status === 'pending');

const sumOf = (items: readonly { readonly amount: number }[]) =>
  items.reduce((sum, { amount }) => sum + amount, 0);

/** A reversal between shards claims its amount with a hold, before it is debited. */
function checkReversals(
  id: string,
  reversals: readonly Posting[],
  { byId, sent }: Books,
  violations: Violations,
): void {
  const original = byId.get(id);
  const opposite = original?.type === 'credit' ? 'debit' : 'credit';
  const isStep = ({ type, holdId = '' }: Posting) =>
    (type === 'hold' || type === 'release') && sent.has(holdId.replace('hold', 'tr'));
  const isWrong = (one: Posting) =>
    one.accountId !== original?.accountId ||
    (one.type !== opposite && !(opposite === 'debit' && isStep(one)));
  let [claimed, most] = [0, 0];
  for (const reversal of reversals.toSorted((a, b) => a.version - b.version)) {
    claimed += claimOf(reversal);
    most = Math.max(most, claimed);
  }
  if (original?.reverses !== undefined || reversals.some(isWrong) || most > (original?.amount ?? 0))
    violations.add('over-reversed', `${describe(original)} is reversed by ${describe(reversals)}`);
}

function describe(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
