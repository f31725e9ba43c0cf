import { availableOf, type LedgerAccount } from './account.js';
import {
  isCapture,
  MAX_PENDING_OF_ACCOUNT,
  MAX_PENDING_TRANSFERS,
  transferKey,
  type OutgoingTransfer,
} from './between-shards.js';
import type { Books, Effects, Original } from './books.js';
import {
  checkRoom,
  checkStatus,
  checkVersion,
  firstAbout,
  secure,
  type KeyedLinks,
  type Outcome,
} from './checks.js';
import type { IncomingCommand, InMinorUnits, OutgoingCommand, SettlementCommand } from './command.js';
import { capturableHold, capturableOf, checkRoomForHold } from './decide-hold.js';
import { checkReversible, leftOf, securePayback } from './decide-reversal.js';
import { Draft } from './draft.js';
import type { Rejection } from './errors.js';
import { MAX_CAPTURES, type Hold } from './hold.js';
import type { Money } from './money.js';

type Outgoing = InMinorUnits<OutgoingCommand>;

/** Step 1: puts the money on hold, or marks it in the hold that is captured. */
export function decideOutgoing(
  command: Outgoing,
  account: LedgerAccount,
  books: Books,
  keyed: KeyedLinks,
): Outcome {
  const { accountId, nonce, to, toVersion, reversal: reverses } = command;
  if (command.toCurrency === null) return { code: 'ACCOUNT_NOT_FOUND', accountId: to };
  const draft = new Draft(books);
  const captured = command.capture && holdToCapture(command, command.capture, account, books);
  const source = captured ?? moneyToHold(draft, command, account, books);
  if ('code' in source) return source;
  const { ofAccount, inShard } = books.pendingTransfers(accountId);
  if (ofAccount >= MAX_PENDING_OF_ACCOUNT || inShard >= MAX_PENDING_TRANSFERS)
    return { code: 'TOO_MANY_PENDING_TRANSFERS' };
  const { amount } = source;
  const transferId = draft.nextId;
  const hold = source.hold ?? placeHold(draft, command, amount, books, keyed);
  // What is final ends the hold, so nothing else of it can be captured meanwhile.
  const final = command.capture?.final ?? true;
  const held = { ...hold, capturing: final ? hold.remaining : hold.capturing + amount };
  draft.setHold(held);
  const { idempotencyKey, fingerprint, details } = keyed;
  const { currency, decimals } = account;
  const raised = draft.account(accountId).overdraftLimit - account.overdraftLimit;
  const transfer: OutgoingTransfer = {
    ...{ transferId, nonce, accountId, to, toVersion, amount, currency, decimals, reverses, details },
    ...{ holdId: hold.holdId, final, raised: raised === 0n ? undefined : raised },
    ...{ status: 'pending', createdAt: books.now, debit: undefined, credit: undefined, rejection: undefined },
    key: source.hold && idempotencyKey !== undefined ? { idempotencyKey, fingerprint } : undefined,
  };
  draft.setOutgoing(transfer);
  if (command.dryRun === true) carryOut(draft, transfer, held);
  return draft.effects;
}

/** Where the money of a transfer comes from. */
interface Source {
  readonly amount: Money;
  /** Undefined: a hold of its own is placed. */
  readonly hold?: Hold;
}

function holdToCapture(
  command: Outgoing,
  capture: NonNullable<Outgoing['capture']>,
  account: LedgerAccount,
  books: Books,
): Source | Rejection {
  const hold = capturableHold(capture, command.accountId, books);
  if ('code' in hold) return hold;
  const amount = command.amount ?? capturableOf(hold);
  if (amount > capturableOf(hold)) return { code: 'HOLD_EXCEEDED' };
  const isLast = capture.final || amount === hold.remaining;
  if (!isLast && books.capturesOf(hold.holdId) >= MAX_CAPTURES) return { code: 'TOO_MANY_CAPTURES' };
  return checkStatus(account, 'capture') ?? checkCurrency(command, account) ?? { amount, hold };
}

function moneyToHold(
  draft: Draft,
  command: Outgoing,
  account: LedgerAccount,
  books: Books,
): Source | Rejection {
  const { accountId, reversal } = command;
  const original = reversal && originalOf(reversal.creditId, account, books);
  if (original && 'code' in original) return original;
  const amount = command.amount ?? (original ? leftOf(original) : 0n);
  const by = { actor: command.details?.actor, force: reversal?.force };
  const problem =
    (original && checkReversible(original, amount)) ??
    firstAbout([{ accountId }], () => checkVersion(account, command) ?? checkStatus(account, 'debit')) ??
    checkCurrency(command, account) ??
    firstAbout(
      [{ accountId }],
      () =>
        (original
          ? securePayback(draft, original, amount, by, books)
          : secure(draft, accountId, amount, books)) ?? checkRoomForHold(draft, accountId, amount, books),
    );
  return problem ?? { amount };
}

/** What a reversal pays back lies in the shard of the account that pays, like all earlier claims to it. */
function originalOf(creditId: number, { accountId }: LedgerAccount, books: Books): Original | Rejection {
  const original = books.original(creditId);
  return original?.transaction.accountId === accountId ? original : { code: 'TRANSFER_NOT_FOUND' };
}

/** Nothing is converted silently. */
function checkCurrency({ to, toCurrency, foreign }: Outgoing, { currency }: LedgerAccount) {
  if (toCurrency === currency) return undefined;
  return foreign
    ? ({ code: 'COUNTERPARTY_REFUSED', accountId: to } as const)
    : ({ code: 'CURRENCY_MISMATCH' } as const);
}

/** Posts the hold; its caller sets it. */
function placeHold(
  draft: Draft,
  { accountId, reversal }: Outgoing,
  amount: Money,
  { now }: Books,
  keyed: KeyedLinks,
): Hold {
  const holdId = draft.nextId;
  const links = { ...keyed, holdId, transferId: holdId, reversesId: reversal?.creditId };
  draft.post(accountId, 'hold', amount, links);
  const { decimals } = draft.account(accountId);
  const parts = { remaining: amount, captured: 0n, capturing: 0n };
  return {
    ...{ holdId, accountId, amount, ...parts, decimals, createdAt: now },
    ...{ status: 'active', expiresAt: undefined },
  };
}

/**
 * Step 2: credits the target or refuses to. The first decision stands, so this returns it if there is one. A refusal is
 * recorded, too: otherwise a later driver could credit money that the source has already given back.
 */
export function decideIncoming(
  { transfer, cancelled, accountId }: IncomingCommand,
  account: LedgerAccount | undefined,
  books: Books,
): Effects {
  const draft = new Draft(books);
  const earlier = books.incoming.get(transferKey(transfer));
  if (earlier) {
    draft.setIncoming(earlier);
    return draft.effects;
  }
  const { transferId, nonce, accountId: from, amount, currency, decimals, reverses, details } = transfer;
  const rejection: Rejection | undefined = cancelled
    ? { code: 'TRANSFER_CANCELLED' }
    : arrivalProblem(accountId, account, { currency, amount, version: transfer.toVersion });
  if (!rejection)
    draft.post(accountId, 'credit', amount, { transferId, details, reversesId: reverses?.debitId });
  const common = { transferId, nonce, accountId, from, amount, decimals, decidedAt: books.now };
  draft.setIncoming({ ...common, rejection, credit: rejection ? undefined : draft.last });
  return draft.effects;
}

/** What a credit asks of its account. */
export interface Arrival {
  readonly currency: string | undefined;
  readonly amount: Money;
  /** The version that the account must have. */
  readonly version: number | undefined;
}

/** Why the target of a transfer refuses it; undefined: it does not. */
export function arrivalProblem(
  accountId: number,
  account: LedgerAccount | undefined,
  { currency, amount, version }: Arrival,
): Rejection | undefined {
  if (!account) return { code: 'ACCOUNT_NOT_FOUND', accountId };
  if (account.currency !== currency) return { code: 'CURRENCY_MISMATCH' };
  return firstAbout(
    [{ accountId }],
    () =>
      checkVersion(account, { expectedVersion: version }) ??
      checkStatus(account, 'credit') ??
      checkRoom(account, amount),
  );
}

/**
 * Step 3: carries out what the target has decided, whatever has become of the source's status or limit since: it was
 * promised by step 1. Done before, it returns what was done.
 */
export function decideSettlement({ decision }: Pick<SettlementCommand, 'decision'>, books: Books): Outcome {
  const transfer = books.outgoing.get(decision.transferId);
  if (transfer?.nonce !== decision.nonce) return { code: 'TRANSFER_NOT_FOUND' };
  const draft = new Draft(books);
  if (transfer.status !== 'pending') {
    draft.setOutgoing(transfer);
    return draft.effects;
  }
  const hold = books.holds.get(transfer.holdId);
  if (!hold) throw new Error(`transfer ${transfer.transferId} has no hold`);
  const { credit, rejection } = decision;
  if (!credit) {
    giveBack(draft, transfer, hold);
    draft.setOutgoing({ ...transfer, status: 'failed', rejection });
    return draft.effects;
  }
  carryOut(draft, transfer, hold);
  draft.setOutgoing({ ...transfer, status: 'completed', debit: draft.last, credit });
  return draft.effects;
}

function carryOut(
  draft: Draft,
  { accountId, transferId, amount, final, reverses, details }: OutgoingTransfer,
  hold: Hold,
): void {
  const { holdId } = hold;
  const reversesId = reverses?.creditId;
  const capturing = final ? 0n : hold.capturing - amount;
  const released = final ? hold.remaining : amount;
  const remaining = hold.remaining - released;
  draft.post(accountId, 'release', released, { holdId, reversesId });
  draft.post(accountId, 'debit', amount, { holdId, transferId, reversesId, details });
  const status = remaining === 0n ? 'captured' : 'active';
  draft.setHold({ ...hold, remaining, captured: hold.captured + amount, capturing, status });
}

function giveBack(draft: Draft, transfer: OutgoingTransfer, hold: Hold): void {
  const { accountId, amount, holdId, reverses, raised, details } = transfer;
  if (isCapture(transfer)) {
    draft.setHold({ ...hold, capturing: transfer.final ? 0n : hold.capturing - amount });
    return;
  }
  draft.post(accountId, 'release', amount, { holdId, reversesId: reverses?.creditId });
  draft.setHold({ ...hold, remaining: 0n, capturing: 0n, status: 'voided' });
  if (raised === undefined) return;
  // No further than what is used of it meanwhile.
  const account = draft.account(accountId);
  const unused = [raised, availableOf(account), account.overdraftLimit].reduce((a, b) => (a < b ? a : b));
  if (unused > 0n)
    draft.change(accountId, { overdraftLimit: account.overdraftLimit - unused }, details?.actor);
}
