import { hash } from 'node:crypto';
import type { AccountOpening, AccountStatus } from './account.js';
import type { IncomingTransfer, OutgoingTransfer, ReversedTransfer } from './between-shards.js';
import type { Rejection } from './errors.js';
import { formatMoney, inMinorUnits, MAX_DECIMALS, type Decimal, type Money } from './money.js';
import type { KeyedTransaction, MovementType, TransactionDetails } from './transaction.js';

/** The most legs of a transfer. */
export const MAX_LEGS = 100;

/** An amount that is asked for: in minor units of the account's currency, or as a client wrote it. */
export type Asked = Money | Decimal;

/** A command, or a part of one, whose amounts are all in minor units. */
export type InMinorUnits<T> = {
  [K in keyof T]: K extends 'legs'
    ? readonly InMinorUnits<Leg>[]
    : K extends 'changes'
      ? InMinorUnits<T[K]>
      : Exclude<T[K], Decimal>;
};

/** What all commands have in common. */
interface CommandBase {
  /** The account to which the idempotency key belongs: the one from which money leaves, if there is one. */
  readonly accountId: number;
  /** Unique per account, for as long as the transaction exists. */
  readonly idempotencyKey?: string;
  readonly details?: TransactionDetails;
  /** True: decided like any other, but not applied, and its key stays free. */
  readonly dryRun?: boolean;
  /** True: if it is refused, that is recorded under its key, which is spent then. */
  readonly submitted?: boolean;
}

/** The version of its account that a command depends on. */
interface Conditions {
  /** The version that the account must have. */
  readonly expectedVersion?: number;
  /** The versions that an If-Match header allows; empty: none that an account can have. */
  readonly allowedVersions?: readonly number[];
}

/** Posts one transaction to one account. */
export interface PostingCommand extends CommandBase, Conditions {
  readonly type: MovementType;
  /** Greater than zero. */
  readonly amount: Asked;
  /** What the client calls the amount; undefined: `amount`. */
  readonly amountName?: string;
}

export interface Leg {
  readonly accountId: number;
  readonly type: MovementType;
  /** Greater than zero. */
  readonly amount: Asked;
  /** What the client calls the amount; undefined: `amount`. */
  readonly amountName?: string;
  /** The version that the account must have. */
  readonly expectedVersion?: number;
  /** True: the sender may not see the account, so what is refused about it is told by one answer. */
  readonly foreign?: boolean;
}

/** Moves money between accounts of one shard. Its account is that of the first debit. */
export interface TransferCommand extends CommandBase {
  readonly type: 'transfer';
  /** 2 to {@link MAX_LEGS}, each with another account. */
  readonly legs: readonly Leg[];
}

/** Reserves money of an account. */
export interface HoldCommand extends CommandBase, Conditions {
  readonly type: 'hold';
  /** Greater than zero. */
  readonly amount: Asked;
  /** At most one of the two; neither: it never expires. */
  readonly expiresAt?: Date;
  readonly expiresInMs?: number;
}

/** Takes reserved money: out of the bank, or to another account of the shard. Its account is that of the hold. */
export interface CaptureCommand extends CommandBase {
  readonly type: 'capture';
  readonly holdId: number;
  /** Undefined: all that remains. */
  readonly amount?: Asked;
  /** Whether the rest of the hold ends with it. */
  readonly final: boolean;
  /** Another account than that of the hold. */
  readonly to?: Pick<Leg, 'accountId' | 'foreign'>;
}

/** Ends a hold. Its account is that of the hold. */
export interface VoidCommand extends CommandBase {
  readonly type: 'void';
  readonly holdId: number;
}

/** Writes down the holds of an account that have expired. */
export interface ExpiryCommand extends CommandBase {
  readonly type: 'expiry';
}

/** Posts the opposite of an earlier transaction, wholly or in part. Its account is that of the transaction. */
export interface ReversalCommand extends CommandBase {
  readonly type: 'reversal';
  readonly transactionId: number;
  /** Undefined: all that is left. */
  readonly amount?: Asked;
  /** True: even if the money is gone; the account's overdraft limit is raised as far as needed. */
  readonly force?: boolean;
}

/** Posts the opposite of a transfer, wholly or, with two legs, in part. Its account is that of the first credit. */
export interface TransferReversalCommand extends CommandBase {
  readonly type: 'transfer-reversal';
  readonly transferId: number;
  /** The accounts of its legs. */
  readonly accountIds: readonly number[];
  /** The transactions of its legs, in the same order; needed where they are in different shards. */
  readonly legIds?: readonly number[];
  /** Undefined: all that is left. */
  readonly amount?: Asked;
  readonly force?: boolean;
  /** The accounts that the sender may not see. */
  readonly foreign?: readonly number[];
}

/** New values of what no transaction changes. */
export interface AccountChanges {
  readonly status?: AccountStatus;
  /** Not below zero. */
  readonly overdraftLimit?: Asked;
  /** null: none. */
  readonly reference?: string | null;
  /** A JSON object, as text; null: none. */
  readonly metadata?: string | null;
  /** The code of a currency that is not the bank's. It is given with the opening, and never again. */
  readonly currency?: string;
}

/** Changes an account otherwise than by a transaction. It has no key: a repeat sets the same values again. */
export interface ChangeCommand extends CommandBase {
  readonly type: 'change';
  readonly changes: AccountChanges;
  /** The revisions that an If-Match header allows. */
  readonly allowedRevisions?: readonly number[];
  /** The principal or operator who makes the change. */
  readonly actor?: string;
}

/** Refuses a submission that is not to be decided, whatever it asks for, unless its key is used already. */
export interface RefusalCommand extends CommandBase {
  readonly type: 'refusal';
  readonly rejection: Rejection;
  /** The {@link requestFingerprint} of what was submitted; undefined: it could not be read. */
  readonly fingerprint: string | undefined;
}

/**
 * Step 1 of a transfer to another shard ({@link OutgoingTransfer}). Its account is the one that pays. Of a reversal,
 * that is the target of the original.
 */
export interface OutgoingCommand extends CommandBase, Pick<Conditions, 'expectedVersion'> {
  readonly type: 'outgoing';
  /** The request that it carries out, which its key stands for. */
  readonly request: TransferCommand | CaptureCommand | TransferReversalCommand;
  readonly nonce: string;
  readonly to: number;
  /** The version that the target must have. */
  readonly toVersion?: number;
  /** The currency of the target, as it was found; null: there is no such account. */
  readonly toCurrency: string | undefined | null;
  /** As for a {@link Leg}, of the target. */
  readonly foreign?: boolean;
  /** Undefined: all that remains of the hold, or is left of the original. */
  readonly amount?: Asked;
  /** What the client calls the amount; undefined: `amount`. */
  readonly amountName?: string;
  readonly capture?: Pick<CaptureCommand, 'holdId' | 'final'>;
  readonly reversal?: ReversedTransfer & { readonly force?: boolean };
}

/** Step 2, and its only decision: credits the account, or refuses to; whatever was decided before stands. */
export interface IncomingCommand extends CommandBase {
  readonly type: 'incoming';
  readonly transfer: Pick<
    OutgoingTransfer,
    | 'transferId'
    | 'nonce'
    | 'accountId'
    | 'toVersion'
    | 'amount'
    | 'currency'
    | 'decimals'
    | 'reverses'
    | 'details'
  >;
  /** True: it is refused, unless it was credited before. */
  readonly cancelled?: boolean;
}

/** Step 3: carries out what step 2 decided. Its account is that of the source. */
export interface SettlementCommand extends CommandBase {
  readonly type: 'settlement';
  /** As it was when it was pending. */
  readonly transfer: OutgoingTransfer;
  readonly decision: IncomingTransfer;
}

export type Command =
  | PostingCommand
  | TransferCommand
  | HoldCommand
  | CaptureCommand
  | VoidCommand
  | ExpiryCommand
  | ReversalCommand
  | TransferReversalCommand
  | ChangeCommand
  | RefusalCommand
  | OutgoingCommand
  | IncomingCommand
  | SettlementCommand;

/** The accounts that a command may change, each once. */
export function accountsOf(command: Command): readonly number[] {
  switch (command.type) {
    case 'transfer':
      return command.legs.map(({ accountId }) => accountId);
    case 'transfer-reversal':
      return command.accountIds;
    case 'capture':
      return command.to ? [command.accountId, command.to.accountId] : [command.accountId];
    case 'credit':
    case 'debit':
    case 'hold':
    case 'void':
    case 'expiry':
    case 'reversal':
    case 'change':
    case 'refusal':
    case 'outgoing':
    case 'incoming':
    case 'settlement':
      return [command.accountId];
  }
}

/**
 * Part of a hash of the request that a command with an idempotency key stands for. Undefined: type and amount are all
 * of it.
 */
export function fingerprintOf(command: Command): string | undefined {
  if (command.type === 'outgoing') return fingerprintOf(command.request);
  const parts = [...ownParts(command), ...detailParts(command.details)];
  if (parts.length === 0) return undefined;
  return fingerprint([command.type, ...parts]);
}

/** The same for a request that may be nothing but its type and amount. */
export function requestFingerprint({
  type,
  amount,
  decimals,
  fingerprint: ofMore,
}: Pick<KeyedTransaction, 'type' | 'amount' | 'decimals' | 'fingerprint'>): string {
  return ofMore ?? fingerprint([type, amountPart({ units: amount, decimals })]);
}

/** The {@link requestFingerprint} of a command. */
export const fingerprintOfRequest = (command: PostingCommand | TransferCommand | HoldCommand): string =>
  fingerprintOf(command) ?? fingerprint([command.type, amountPart((command as PostingCommand).amount)]);

/** The same for the opening of an account. Undefined: the deposit is all of it. */
export function openingFingerprint(opening: AccountOpening): string | undefined {
  const { near, reference, metadata, currency } = opening;
  const parts = [near, reference, metadata, ...(currency ? [currency.code] : [])];
  if (parts.every((part) => part === undefined)) return undefined;
  return fingerprint(parts.map((part) => part ?? null));
}

function fingerprint(parts: readonly unknown[]): string {
  return String(BigInt.asIntN(64, BigInt(`0x${hash('sha256', JSON.stringify(parts)).slice(0, 16)}`)));
}

/** The same text for the same amount, however it is written: its hundredths, which is how all amounts began. */
function amountPart(amount: Asked | undefined): string | null {
  if (amount === undefined) return null;
  if (typeof amount === 'bigint') return amount.toString();
  const hundredths = formatMoney(inMinorUnits(amount, MAX_DECIMALS) ?? 0n, 2);
  return hundredths.endsWith('.00') ? hundredths.slice(0, -3) : hundredths;
}

function ownParts(command: Command): unknown[] {
  switch (command.type) {
    case 'credit':
    case 'debit':
      return command.details && detailParts(command.details).length > 0 ? [amountPart(command.amount)] : [];
    case 'transfer':
      return command.legs.map(({ accountId, type, amount }) => [accountId, type, amountPart(amount)]);
    case 'hold':
      return [amountPart(command.amount), command.expiresAt ?? null, command.expiresInMs ?? null];
    case 'capture':
      return [command.holdId, amountPart(command.amount), command.final, command.to?.accountId ?? null];
    case 'void':
      return [command.holdId];
    case 'reversal':
      return [command.transactionId, amountPart(command.amount), command.force === true];
    case 'transfer-reversal':
      return [command.transferId, amountPart(command.amount), command.force === true];
    case 'expiry':
    case 'change':
    case 'refusal':
    case 'outgoing':
    case 'incoming':
    case 'settlement':
      return [];
  }
}

/** What the client said; not who the client is. */
function detailParts(details: TransactionDetails | undefined): unknown[] {
  if (!details) return [];
  const { reference, effectiveDate, description, metadata } = details;
  const parts = [reference, effectiveDate, description, metadata];
  return parts.every((part) => part === undefined) ? [] : parts.map((part) => part ?? null);
}

/** The most transactions that a command can make, except for those of holds that it finds expired. */
export function mostTransactions(command: Command): number {
  switch (command.type) {
    case 'transfer':
      return command.legs.length;
    case 'transfer-reversal':
      return command.accountIds.length;
    case 'capture':
      return 3;
    case 'settlement':
      return 2;
    case 'hold':
      // A command of the same batch may end one that has expired by the time it is placed.
      return command.expiresAt ? 2 : 1;
    case 'expiry':
    case 'change':
    case 'refusal':
      return 0;
    case 'credit':
    case 'debit':
    case 'void':
    case 'reversal':
    case 'incoming':
      return 1;
    case 'outgoing':
      // A rehearsal takes the third step, too.
      return command.dryRun === true ? 3 : 1;
  }
}
