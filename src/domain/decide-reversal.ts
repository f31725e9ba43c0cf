import { availableOf, type LedgerAccount } from './account.js';
import type { Books, Original } from './books.js';
import {
  checkRoom,
  checkStatus,
  debitsFirst,
  firstAbout,
  secure,
  type KeyedLinks,
  type Outcome,
} from './checks.js';
import type { InMinorUnits, Leg, ReversalCommand, TransferReversalCommand } from './command.js';
import { Draft } from './draft.js';
import type { Rejection } from './errors.js';
import { maxMoney, type Money } from './money.js';
import type { MovementType, TransactionLinks } from './transaction.js';

export function decideReversal(
  { accountId, transactionId, amount: wanted, force }: InMinorUnits<ReversalCommand>,
  account: LedgerAccount,
  books: Books,
  links: KeyedLinks,
): Outcome {
  const original = books.original(transactionId);
  if (original?.transaction.accountId !== accountId) return { code: 'TRANSACTION_NOT_FOUND' };
  const { type, transferId } = original.transaction;
  if (transferId !== undefined) return { code: 'PART_OF_TRANSFER', transferId };
  const amount = wanted ?? leftOf(original);
  const problem = checkReversible(original, amount) ?? checkStatus(account, oppositeOf(type as MovementType));
  if (problem) return problem;
  const draft = new Draft(books);
  const refused = securePayback(draft, original, amount, { actor: links.details?.actor, force }, books);
  if (refused) return refused;
  postOpposite(draft, original, amount, links);
  return draft.effects;
}

export function decideTransferReversal(
  {
    accountId,
    transferId: reversed,
    accountIds,
    amount: wanted,
    force,
    foreign,
    details,
  }: InMinorUnits<TransferReversalCommand>,
  books: Books,
  keyed: KeyedLinks,
): Outcome {
  const originals = books.legsOf(reversed);
  const [first] = originals;
  if (!first) return { code: 'TRANSFER_NOT_FOUND' };
  // The others are in another shard.
  if (originals.length < accountIds.length) return { code: 'DIFFERENT_SHARDS' };
  if (originals.length > 2 && wanted !== undefined) return { code: 'NOT_REVERSIBLE_IN_PART' };
  const draft = new Draft(books);
  const amountOf = (original: Original) => wanted ?? leftOf(original);
  const legs = originals.map((original): InMinorUnits<Leg> & { original: Original } => {
    const { accountId: of, type } = original.transaction;
    const isForeign = foreign?.includes(of);
    return {
      ...{ accountId: of, type: oppositeOf(type as MovementType), amount: amountOf(original) },
      ...{ foreign: isForeign, original },
    };
  });
  const impossible = originals
    .map((original) => checkReversible(original, amountOf(original)))
    .find((problem) => problem);
  if (impossible) return impossible;
  const by = { actor: details?.actor, force };
  const refused =
    firstAbout(legs, (leg) => checkStatus(draft.account(leg.accountId), leg.type)) ??
    firstAbout(debitsFirst(legs), (leg) => securePayback(draft, leg.original, leg.amount, by, books));
  if (refused) return refused;
  const transferId = draft.nextId;
  for (const { original, amount } of legs) {
    const links = original.transaction.accountId === accountId ? keyed : { details };
    postOpposite(draft, original, amount, { ...links, transferId });
  }
  return draft.effects;
}

const oppositeOf = (type: MovementType): MovementType => (type === 'credit' ? 'debit' : 'credit');

export const leftOf = ({ transaction, reversed }: Original): Money => transaction.amount - reversed;

export function checkReversible(original: Original, amount: Money): Rejection | undefined {
  const { type, reversesId } = original.transaction;
  if (reversesId !== undefined || (type !== 'credit' && type !== 'debit')) return { code: 'NOT_REVERSIBLE' };
  const left = leftOf(original);
  return left === 0n || amount > left ? { code: 'REVERSAL_EXCEEDED' } : undefined;
}

/** Money that is gone is a rejection, or with `force` an overdraft, whose limit is raised as far as needed and possible. */
export function securePayback(
  draft: Draft,
  { transaction: { accountId, type } }: Original,
  amount: Money,
  { actor, force }: { readonly actor: string | undefined; readonly force: boolean | undefined },
  books: Books,
): Rejection | undefined {
  if (type === 'debit') return checkRoom(draft.account(accountId), amount);
  const problem = secure(draft, accountId, amount, books);
  if (!problem || force !== true) return problem;
  const account = draft.account(accountId);
  const overdraftLimit = account.overdraftLimit + amount - availableOf(account);
  if (overdraftLimit > maxMoney(account.decimals)) return problem;
  draft.change(accountId, { overdraftLimit }, actor);
  return undefined;
}

function postOpposite(draft: Draft, { transaction }: Original, amount: Money, links: TransactionLinks): void {
  const { accountId, type, transactionId } = transaction;
  draft.post(accountId, oppositeOf(type as MovementType), amount, { ...links, reversesId: transactionId });
}
