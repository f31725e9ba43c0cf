import type { AccountBook, Books } from './books.js';
import type { Violations } from './rules.js';

/** An event as it arrived. Amounts are in minor units. */
export interface Arrival {
  readonly transactionId: string;
  readonly accountId: number;
  readonly type: string;
  readonly amount: number;
  readonly balance: number;
  readonly version: number;
}

/** Checks the books of each account by themselves. */
export function checkBooks(books: Books, violations: Violations): void {
  for (const [accountId, book] of books.accounts) {
    const fault = faultOf(book);
    if (fault) violations.add('books-unsound', `account ${accountId}: ${fault}`);
  }
}

function faultOf(book: AccountBook): string | undefined {
  let balance = 0;
  let version = 1;
  for (const posting of book.postings) {
    version += 1;
    balance += posting.type === 'credit' ? posting.amount : -posting.amount;
    if (posting.version !== version)
      return `version ${posting.version} stands where ${version} should (${posting.id})`;
    if (posting.balance !== balance)
      return `balance ${posting.balance} stands where ${balance} should (${posting.id})`;
    if (balance < 0) return `the balance was ${balance} at version ${version}`;
  }
  if (book.version !== version) return `its version is ${book.version}, its last transaction's ${version}`;
  return book.balance === balance
    ? undefined
    : `its balance is ${book.balance}, its transactions' ${balance}`;
}

/**
 * Checks the events in the order of their arrival, by the rule for consumers: an account's next event is the one with
 * the next version, and any other is ignored.
 */
export function checkEvents(books: Books, arrivals: readonly Arrival[], violations: Violations): void {
  const versions = new Map<number, number>();
  for (const arrival of arrivals) {
    const posting = books.byId.get(arrival.transactionId);
    const same =
      posting !== undefined &&
      posting.accountId === arrival.accountId &&
      (posting.type === 'credit' ? 'Deposit' : 'Withdraw') === arrival.type &&
      posting.amount === arrival.amount &&
      posting.balance === arrival.balance &&
      posting.version === arrival.version;
    if (!same)
      violations.add('event-wrong', `${JSON.stringify(arrival)}; in the books: ${describe(posting)}`);
    const version = versions.get(arrival.accountId) ?? 1;
    if (arrival.version === version + 1) versions.set(arrival.accountId, arrival.version);
  }
  for (const [accountId, { version }] of books.accounts) {
    const arrived = versions.get(accountId) ?? 1;
    if (arrived < version)
      violations.add(
        'event-missing',
        `account ${accountId}: version ${arrived + 1} of ${version} never came`,
      );
  }
}

function describe(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
