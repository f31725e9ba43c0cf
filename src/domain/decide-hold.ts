import type { LedgerAccount } from './account.js';
import type { Books } from './books.js';
import {
  checkRoom,
  checkSameCurrency,
  checkStatus,
  checkVersion,
  expireDue,
  firstAbout,
  secure,
  type KeyedLinks,
  type Outcome,
} from './checks.js';
import type { CaptureCommand, ExpiryCommand, HoldCommand, InMinorUnits, VoidCommand } from './command.js';
import { Draft } from './draft.js';
import type { Rejection } from './errors.js';
import { MAX_ACTIVE_HOLDS, MAX_CAPTURES, statusAt, type Hold } from './hold.js';
import { maxMoney, type Money } from './money.js';

export function decideHold(
  command: InMinorUnits<HoldCommand>,
  account: LedgerAccount,
  books: Books,
  links: KeyedLinks,
): Outcome {
  const { accountId, amount, expiresAt, expiresInMs } = command;
  const draft = new Draft(books);
  const problem =
    checkVersion(account, command) ?? checkStatus(account, 'hold') ?? secure(draft, accountId, amount, books);
  if (problem) return problem;
  const full = checkRoomForHold(draft, accountId, amount, books);
  if (full) return full;
  const holdId = draft.nextId;
  draft.post(accountId, 'hold', amount, { ...links, holdId });
  const until = expiresInMs === undefined ? expiresAt : new Date(books.now.getTime() + expiresInMs);
  draft.setHold({
    ...{ holdId, accountId, amount, remaining: amount, captured: 0n, capturing: 0n },
    ...{ status: 'active', expiresAt: until, createdAt: books.now, decimals: account.decimals },
  });
  return draft.effects;
}

export function checkRoomForHold(
  draft: Draft,
  accountId: number,
  amount: Money,
  books: Books,
): Rejection | undefined {
  // Those that have expired make room. None has ended yet: one would have made some.
  if (draft.account(accountId).activeHolds >= MAX_ACTIVE_HOLDS) expireDue(draft, accountId, books);
  const { held, decimals, activeHolds } = draft.account(accountId);
  if (held + amount > maxMoney(decimals)) return { code: 'BALANCE_LIMIT_EXCEEDED' };
  return activeHolds >= MAX_ACTIVE_HOLDS ? { code: 'TOO_MANY_HOLDS' } : undefined;
}

/** A hold that can still be captured or voided, or why it can't. */
export function activeHold(holdId: number, accountId: number, books: Books): Hold | Rejection {
  const hold = books.holds.get(holdId);
  if (hold?.accountId !== accountId) return { code: 'HOLD_NOT_FOUND' };
  const status = statusAt(hold, books.now);
  return status === 'active' ? hold : { code: 'HOLD_NOT_ACTIVE', status };
}

/** What of a hold may still be captured. */
export const capturableOf = ({ remaining, capturing }: Hold): Money => remaining - capturing;

/** The same, for a capture: while a part is on its way to another shard, no other capture can end the hold. */
export function capturableHold(
  { holdId, final }: Pick<CaptureCommand, 'holdId' | 'final'>,
  accountId: number,
  books: Books,
): Hold | Rejection {
  const hold = activeHold(holdId, accountId, books);
  if ('code' in hold || hold.capturing === 0n) return hold;
  return final || capturableOf(hold) === 0n ? { code: 'HOLD_BEING_CAPTURED' } : hold;
}

export function decideCapture(
  { accountId, holdId, amount: wanted, final, to, details }: InMinorUnits<CaptureCommand>,
  account: LedgerAccount,
  books: Books,
  keyed: KeyedLinks,
): Outcome {
  const hold = capturableHold({ holdId, final }, accountId, books);
  if ('code' in hold) return hold;
  const amount = wanted ?? capturableOf(hold);
  if (amount > capturableOf(hold)) return { code: 'HOLD_EXCEEDED' };
  const released = final ? hold.remaining : amount;
  const isLast = released === hold.remaining;
  if (!isLast && books.capturesOf(holdId) >= MAX_CAPTURES) return { code: 'TOO_MANY_CAPTURES' };
  // A caller that takes requests says so in its own words. Here it would be a transfer from an account to itself.
  if (to?.accountId === accountId) throw new Error('a hold is captured for another account than its own');
  const draft = new Draft(books);
  const target = to && books.accounts.get(to.accountId);
  if (to && !target) return { code: 'ACCOUNT_NOT_FOUND', accountId: to.accountId };
  const problem =
    checkStatus(account, 'capture') ??
    (to &&
      target &&
      firstAbout(
        [to],
        () =>
          checkSameCurrency(account, target) ?? checkStatus(target, 'credit') ?? checkRoom(target, amount),
      ));
  if (problem) return problem;
  draft.post(accountId, 'release', released, { holdId, details });
  const transferId = to && draft.nextId;
  draft.post(accountId, 'debit', amount, { ...keyed, holdId, transferId });
  if (to) draft.post(to.accountId, 'credit', amount, { details, transferId });
  draft.setHold({
    ...hold,
    remaining: hold.remaining - released,
    captured: hold.captured + amount,
    status: isLast ? 'captured' : 'active',
  });
  return draft.effects;
}

export function decideVoid({ accountId, holdId }: VoidCommand, books: Books, links: KeyedLinks): Outcome {
  const hold = activeHold(holdId, accountId, books);
  if ('code' in hold) return hold;
  if (hold.capturing > 0n) return { code: 'HOLD_BEING_CAPTURED' };
  const draft = new Draft(books);
  draft.post(accountId, 'release', hold.remaining, { ...links, holdId });
  draft.setHold({ ...hold, remaining: 0n, status: 'voided' });
  return draft.effects;
}

export function decideExpiry({ accountId }: ExpiryCommand, books: Books): Outcome {
  const draft = new Draft(books);
  expireDue(draft, accountId, books);
  return draft.effects;
}
