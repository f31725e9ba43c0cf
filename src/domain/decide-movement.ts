import type { LedgerAccount } from './account.js';
import type { Books } from './books.js';
import {
  checkRoom,
  checkStatus,
  checkVersion,
  debitsFirst,
  firstAbout,
  secure,
  type KeyedLinks,
  type Outcome,
} from './checks.js';
import type { InMinorUnits, Leg, PostingCommand, TransferCommand } from './command.js';
import { Draft } from './draft.js';
import type { Rejection } from './errors.js';

export function decidePosting(
  command: InMinorUnits<PostingCommand>,
  account: LedgerAccount,
  books: Books,
  links: KeyedLinks,
): Outcome {
  const { accountId, type, amount } = command;
  const draft = new Draft(books);
  const problem =
    checkVersion(account, command) ??
    checkStatus(account, type) ??
    (type === 'credit' ? checkRoom(account, amount) : secure(draft, accountId, amount, books));
  if (problem) return problem;
  draft.post(accountId, type, amount, links);
  return draft.effects;
}

export function decideTransfer(
  { accountId, legs, details }: InMinorUnits<TransferCommand>,
  books: Books,
  keyed: KeyedLinks,
): Outcome {
  const draft = new Draft(books);
  const problem = checkLegs(draft, legs, books);
  if (problem) return problem;
  const transferId = draft.nextId;
  for (const leg of legs) {
    const carriesKey = leg.accountId === accountId;
    draft.post(leg.accountId, leg.type, leg.amount, { ...(carriesKey ? keyed : { details }), transferId });
  }
  return draft.effects;
}

/** All versions, then all statuses, then all amounts: like the order of checks of one account. */
function checkLegs(draft: Draft, legs: readonly InMinorUnits<Leg>[], books: Books): Rejection | undefined {
  return (
    firstAbout(legs, (leg) => checkVersion(draft.account(leg.accountId), leg)) ??
    firstAbout(legs, (leg) => checkStatus(draft.account(leg.accountId), leg.type)) ??
    firstAbout(debitsFirst(legs), ({ accountId, type, amount }) =>
      type === 'credit'
        ? checkRoom(draft.account(accountId), amount)
        : secure(draft, accountId, amount, books),
    )
  );
}
