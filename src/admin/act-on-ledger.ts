import { randomBytes } from 'node:crypto';
import { recordActOn, userOfSystem, type AdministrativeAct } from '../audit/audit-log.js';
import type { AccountStatus, LedgerAccount } from '../domain/account.js';
import type { Effects } from '../domain/books.js';
import type { Command } from '../domain/command.js';
import { digestOf } from '../domain/hash-chain.js';
import { formatDecimal, type Decimal } from '../domain/money.js';
import { THE_SERVICE } from '../domain/sender.js';
import type { TransactionDetails } from '../domain/transaction.js';
import { reversalCommand } from '../domain/transfer.js';
import { CommandError } from './command-error.js';
import { inSentences, withLedger, type BankSession, type LedgerAccess } from './with-ledger.js';

/** What an operator may say about a posting of any kind. */
export interface PostingOptions {
  readonly key?: string;
  readonly description?: string;
  readonly reference?: string;
  /** True: it is decided, but not applied. */
  readonly dryRun?: boolean;
}

export interface TransferRequest extends PostingOptions {
  readonly from: number;
  readonly to: number;
  readonly amount: Decimal;
}

/** @throws CommandError, like all of these, when the ledger refuses it or fails */
export function transfer(
  session: BankSession,
  { from, to, amount, ...options }: TransferRequest,
): Promise<Effects> {
  const details = { from, to, amount: formatDecimal(amount) };
  const legs = [
    { accountId: from, type: 'debit', amount },
    { accountId: to, type: 'credit', amount },
  ] as const;
  return act(session, { action: 'transfer.made', details }, () =>
    Promise.resolve({ type: 'transfer', accountId: from, legs, ...common(options) }),
  );
}

export interface HoldRequest extends PostingOptions {
  readonly amount: Decimal;
  /** Undefined: it stays until it is captured or voided. */
  readonly expires?: { readonly expiresAt: Date } | { readonly expiresInMs: number };
}

export function placeHold(
  session: BankSession,
  accountId: number,
  { amount, expires, ...options }: HoldRequest,
): Promise<Effects> {
  const details = { account: accountId, amount: formatDecimal(amount), ...expires };
  return act(session, { action: 'hold.placed', details }, () =>
    Promise.resolve({ type: 'hold', accountId, amount, ...expires, ...common(options) }),
  );
}

export interface CaptureRequest extends PostingOptions {
  /** Undefined: all that remains. */
  readonly amount?: Decimal;
  /** Undefined: out of the bank. */
  readonly to?: number;
  /** True: the rest stays on hold. */
  readonly keepRest?: boolean;
}

export function captureHold(
  session: BankSession,
  holdId: number,
  { amount, to, keepRest, ...options }: CaptureRequest,
): Promise<Effects> {
  const details = { hold: `hold${holdId}`, amount: amount && formatDecimal(amount), to };
  return act(session, { action: 'hold.captured', details }, async ({ holds }) => {
    const accountId = await holds.accountOf(holdId, undefined, THE_SERVICE);
    if (to === accountId) throw new CommandError(`hold${holdId} is of account ${to} itself`);
    return {
      ...{ type: 'capture', accountId, holdId, amount, final: keepRest !== true },
      ...{ to: to === undefined ? undefined : { accountId: to }, ...common(options) },
    };
  });
}

export function voidHold(session: BankSession, holdId: number, options: PostingOptions): Promise<Effects> {
  const details = { hold: `hold${holdId}` };
  return act(session, { action: 'hold.voided', details }, async ({ holds }) => ({
    ...{ type: 'void', accountId: await holds.accountOf(holdId, undefined, THE_SERVICE), holdId },
    ...common(options),
  }));
}

export interface ReversalRequest extends PostingOptions {
  /** Undefined: all that is left. */
  readonly amount?: Decimal;
  /** True: even if the money is gone; the overdraft limit is raised as far as needed. */
  readonly force?: true;
}

export function reverse(
  session: BankSession,
  original: { readonly transactionId: number } | { readonly transferId: number },
  { amount, force, ...options }: ReversalRequest,
): Promise<Effects> {
  const asked = { amount: amount && formatDecimal(amount), force };
  if ('transferId' in original) {
    const { transferId } = original;
    const details = { transfer: `tr${transferId}`, ...asked };
    return act(session, { action: 'transfer.reversed', details }, async ({ transfers }) => {
      const original = await transfers.transfer(transferId, undefined, THE_SERVICE);
      const reversal = { type: 'transfer-reversal', transferId, amount, force, ...common(options) } as const;
      return reversalCommand(reversal, original);
    });
  }
  const { transactionId } = original;
  const details = { transaction: `txn${transactionId}`, ...asked };
  return act(session, { action: 'transaction.reversed', details }, async ({ reader }) => {
    const { accountId } = await reader.transaction(transactionId, undefined, THE_SERVICE);
    return { type: 'reversal', accountId, transactionId, amount, force, ...common(options) };
  });
}

export interface StatusReport {
  readonly account: LedgerAccount;
  /** False: it had this status already. */
  readonly changed: boolean;
}

/** Sets what an account lets happen. */
export async function setStatus(
  session: BankSession,
  accountId: number,
  status: AccountStatus,
): Promise<StatusReport> {
  const recorded = { action: 'account.status_set', details: { account: accountId, status } };
  return withLedger(session, async (access) => {
    const before = await inSentences(accountId, () => access.reader.account(accountId, THE_SERVICE));
    if (before.status === status) return { account: before, changed: false };
    const command = { type: 'change', accountId, changes: { status }, actor: userOfSystem() } as const;
    const { accounts } = await onRecord(session, access, command, recorded);
    return { account: accounts[0] ?? before, changed: true };
  });
}

function act(
  session: BankSession,
  recorded: AdministrativeAct,
  commandOf: (access: LedgerAccess) => Promise<Command>,
): Promise<Effects> {
  return withLedger(session, async (access) => onRecord(session, access, await commandOf(access), recorded));
}

/**
 * Carries out a command and records it. Recorded first, since the audit log may be in another shard: a record of an act
 * that then failed is better than an act without a record. Decided before that, so that what is refused leaves none.
 */
async function onRecord(
  { bank }: BankSession,
  { ledger }: LedgerAccess,
  command: Command,
  recorded: AdministrativeAct,
): Promise<Effects> {
  return inSentences(command.accountId, async () => {
    const foreseen = await ledger.execute({ ...command, dryRun: true });
    if (command.dryRun === true) return foreseen;
    await recordActOn(bank.shards, recorded);
    return ledger.execute(command);
  });
}

function common({ key, description, reference, dryRun }: PostingOptions) {
  return { idempotencyKey: key, dryRun, details: detailsOf({ description, reference }) };
}

/** Signed even if the operator says nothing: what is posted past the API should say by whom. */
function detailsOf(said: Pick<TransactionDetails, 'description' | 'reference'>): TransactionDetails {
  const actor = userOfSystem();
  if (said.description === undefined) return { ...said, actor };
  const salt = randomBytes(16).toString('hex');
  return { ...said, actor, salt, digest: digestOf(salt, said) };
}
