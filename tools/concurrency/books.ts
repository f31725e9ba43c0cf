import { isDeepStrictEqual } from 'node:util';
import { formatMoney, type Money } from '../../src/domain/money.js';
import type { Balance, Receipt } from './account.js';
import type { Withdrawal } from './withdrawals.js';

/** What the API says of an account, before and after some withdrawals. Amounts are cents. */
export interface Books {
  readonly before: Balance;
  readonly after: Balance;
  /** The transactions in between. */
  readonly listed: readonly Receipt[];
  /** By version: the keys of transactions after `before`. */
  readonly keys: ReadonlyMap<number, string>;
}

/** The versions in between that belong to transactions of others. */
export function versionsOfOthers(
  { before, after, keys }: Books,
  withdrawals: readonly Withdrawal[],
): number[] {
  const ours = new Set(withdrawals.map(({ key }) => key));
  return versionsBetween(before, after).filter((version) => !ours.has(keys.get(version) ?? ''));
}

/**
 * Where the books contradict the answers, or themselves; empty: nowhere.
 *
 * @param amount of each withdrawal, in cents
 */
export function problemsOf(books: Books, withdrawals: readonly Withdrawal[], amount: Money): string[] {
  return [
    ...sumProblems(books, withdrawals, amount),
    ...historyProblems(books),
    ...withdrawals.flatMap((withdrawal) => withdrawalProblems(books, withdrawal, amount)),
  ];
}

const versionsBetween = (before: Balance, after: Balance) =>
  Array.from(
    { length: Math.max(0, after.version - before.version) },
    (_, index) => before.version + 1 + index,
  );

const changeBy = ({ type, amount }: Receipt): Money => (type === 'Withdraw' ? -amount : amount);

/** What was accepted is deducted to the cent, and nothing else but what others posted. */
function sumProblems(books: Books, withdrawals: readonly Withdrawal[], amount: Money): string[] {
  const { before, after, listed } = books;
  const accepted = withdrawals.filter(({ outcome }) => outcome.kind === 'accepted').length;
  const others = versionsOfOthers(books, withdrawals);
  const byOthers = listed
    .filter(({ newVersion }) => others.includes(newVersion))
    .reduce((sum, transaction) => sum + changeBy(transaction), 0n);
  const expected = before.balance - BigInt(accepted) * amount + byOthers;
  if (after.balance === expected) return [];
  const also = others.length > 0 ? `, with ${formatMoney(byOthers, 2)} from others,` : '';
  return [
    `The balance is ${formatMoney(after.balance, 2)}. ${formatMoney(before.balance, 2)} less ${accepted} accepted ` +
      `withdrawals of ${formatMoney(amount, 2)}${also} is ${formatMoney(expected, 2)}.`,
  ];
}

/** Every version is listed once, and every balance follows from the one before. */
function historyProblems({ before, after, listed }: Books): string[] {
  const problems: string[] = [];
  const byVersion = Map.groupBy(listed, ({ newVersion }) => newVersion);
  let { balance } = before;
  for (const version of versionsBetween(before, after)) {
    const [transaction, ...more] = byVersion.get(version) ?? [];
    if (!transaction || more.length > 0) {
      return [...problems, `Version ${version} is listed ${transaction ? more.length + 1 : 0} times.`];
    }
    const { id, type, amount, newBalance } = transaction;
    balance += changeBy(transaction);
    if (newBalance !== balance) {
      problems.push(
        `${id} is listed with the balance ${formatMoney(newBalance, 2)}. After version ${version - 1}, ` +
          `a ${type} of ${formatMoney(amount, 2)} leaves ${formatMoney(balance, 2)}.`,
      );
    }
    if (newBalance < 0n) problems.push(`${id} leaves a balance below zero: ${formatMoney(newBalance, 2)}.`);
    balance = newBalance;
  }
  if (balance !== after.balance) {
    problems.push(
      `The last transaction left ${formatMoney(balance, 2)}, but the balance is ${formatMoney(after.balance, 2)}.`,
    );
  }
  return problems;
}

/** An accepted withdrawal is posted once, as its answer says; a refused one is not, and was refused with reason. */
function withdrawalProblems(books: Books, { number, key, outcome }: Withdrawal, amount: Money): string[] {
  const { kind, status, error, receipt } = outcome;
  const versions = [...books.keys].filter(([, of]) => of === key).map(([version]) => version);
  const posted = versions.length > 0 ? `posted with version ${versions.join(' and ')}` : 'not posted';
  const name = `Request ${number}`;
  if (receipt) {
    const listed = books.listed.filter(({ id }) => id === receipt.id);
    const isAsAsked = receipt.type === 'Withdraw' && receipt.amount === amount;
    return [
      ...(isAsAsked ? [] : [`${name} was answered with ${receipt.id}, a transaction of another kind.`]),
      ...(isDeepStrictEqual(versions, [receipt.newVersion])
        ? []
        : [`${name} was accepted with version ${receipt.newVersion}, but ${posted}.`]),
      ...(isDeepStrictEqual(listed, [receipt])
        ? []
        : [`${name} was accepted as ${receipt.id}, but is not listed once and as it was answered.`]),
    ];
  }
  const answer = [status, error].join(' ').trim();
  if (kind === 'unknown')
    return [`${name} has the answer "${answer}", which leaves open what became of it: it was ${posted}.`];
  if (versions.length > 0) return [`${name} was refused (${answer}), but ${posted}.`];
  const lowest = books.listed.reduce(
    (least, { newBalance }) => (newBalance < least ? newBalance : least),
    books.before.balance,
  );
  return status === 422 && lowest >= amount
    ? [`${name} was refused (${answer}), but the balance never was less than ${formatMoney(lowest, 2)}.`]
    : [];
}
