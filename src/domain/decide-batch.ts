import type { LedgerAccount } from './account.js';
import { transferKey, type IncomingTransfer, type OutgoingTransfer } from './between-shards.js';
import { Books, type AccountChange, type Decision, type Knowledge } from './books.js';
import { accountsOf, fingerprintOfRequest, type Command, type PostingCommand } from './command.js';
import { decide } from './decide.js';
import type { Hold } from './hold.js';
import type { Refusal } from './refusal.js';
import type { Transaction } from './transaction.js';

/** The outcome of a batch: what to write, and what to answer each caller. */
export interface BatchDecision {
  /** One per command, in the same order; undefined: one of its accounts was skipped. */
  readonly decisions: readonly (Decision | undefined)[];
  /** The accepted transactions, in the order in which they were decided. */
  readonly transactions: readonly Transaction[];
  /** Every account after the batch, including unchanged ones. */
  readonly accounts: ReadonlyMap<number, LedgerAccount>;
  /** The new and changed holds, each once, as they are afterwards. */
  readonly holds: readonly Hold[];
  readonly changes: readonly AccountChange[];
  /** The transfers to other shards that are new or settled, each once, as they are afterwards. */
  readonly outgoing: readonly OutgoingTransfer[];
  /** Decisions about transfers from other shards. */
  readonly incoming: readonly IncomingTransfer[];
  /** To be recorded. */
  readonly refusals: readonly Refusal[];
  /** Accounts whose expired holds must be known for these decisions: look them up, and decide again. */
  readonly lacking: ReadonlySet<number>;
}

/**
 * Decides commands one after the other, in memory: a later one sees the effect of an earlier one; a rejection and a dry
 * run have no effect. The result is the same as deciding and applying each on its own. Pure.
 *
 * @param skipped accounts that exist but are not locked: the commands on them are not decided
 */
export function decideBatch(
  commands: readonly Command[],
  known: Knowledge,
  skipped: ReadonlySet<number>,
): BatchDecision {
  const books = new Books(known);
  const transactions: Transaction[] = [];
  const changes: AccountChange[] = [];
  const refusals: Refusal[] = [];
  const holds = new Map<number, Hold>();
  const outgoing = new Map<number, OutgoingTransfer>();
  const incoming = new Map<string, IncomingTransfer>();
  const decisions = commands.map((command): Decision | undefined => {
    if (skipped.size > 0 && accountsOf(command).some((accountId) => skipped.has(accountId))) return undefined;
    const decision = decide(command, books);
    if (!decision.accepted) {
      const refusal = command.submitted === true ? refusalToRecord(command, decision, books) : undefined;
      if (refusal) {
        books.refuse(refusal);
        refusals.push(refusal);
      }
      return decision;
    }
    if (command.dryRun === true) return decision;
    const { effects } = decision;
    books.apply(effects);
    for (const transaction of effects.transactions) transactions.push(transaction);
    for (const change of effects.changes) changes.push(change);
    for (const hold of effects.holds) holds.set(hold.holdId, hold);
    // A command may also return what it found done.
    for (const transfer of effects.outgoing)
      if (transfer !== known.outgoing.get(transfer.transferId)) outgoing.set(transfer.transferId, transfer);
    for (const transfer of effects.incoming)
      if (transfer !== known.incoming.get(transferKey(transfer)))
        incoming.set(transferKey(transfer), transfer);
    return decision;
  });
  const { accounts, lacking } = books;
  return {
    ...{ decisions, transactions, accounts, holds: [...holds.values()], changes, refusals, lacking },
    ...{ outgoing: [...outgoing.values()], incoming: [...incoming.values()] },
  };
}

/**
 * Undefined: there is nothing to record. A key that was used before has its outcome. And an account that does not exist
 * has no keys to spend: it could be opened later.
 */
function refusalToRecord(
  command: Command,
  { rejection, repeated }: Extract<Decision, { readonly accepted: false }>,
  books: Books,
): Refusal | undefined {
  const { accountId, idempotencyKey } = command;
  if (repeated === true || idempotencyKey === undefined || !books.accounts.has(accountId)) return undefined;
  const fingerprint =
    command.type === 'refusal' ? command.fingerprint : fingerprintOfRequest(command as PostingCommand);
  return { accountId, idempotencyKey, rejection, fingerprint };
}

/**
 * Decides commands like {@link decideBatch}, but what is not decided keeps back every later command on any of its
 * accounts. So nothing takes effect before what came earlier, also where a command over several accounts meets a locked
 * row.
 */
export function decideInOrder(
  commands: readonly Command[],
  known: Knowledge,
  skipped: ReadonlySet<number>,
): BatchDecision {
  if (skipped.size === 0) return decideBatch(commands, known, skipped);
  const waitedFor = new Set(skipped);
  const isFree = commands.map((command) => {
    const accountIds = accountsOf(command);
    if (!accountIds.some((accountId) => waitedFor.has(accountId))) return true;
    for (const accountId of accountIds) waitedFor.add(accountId);
    return false;
  });
  const batch = decideBatch(
    commands.filter((_, index) => isFree[index]),
    known,
    skipped,
  );
  const decided = batch.decisions.values();
  return { ...batch, decisions: isFree.map((free) => (free ? decided.next().value : undefined)) };
}

const NOT_APPLIED: Decision = { accepted: false, rejection: { code: 'NOT_APPLIED' } };

/**
 * Decides commands that are applied together or not at all: the first rejection stops all of them. The command that
 * caused it keeps its rejection, and so does every duplicate, so that a repeated batch learns of each command that it
 * was applied before. All others get NOT_APPLIED: they were decided on a state that is never committed.
 *
 * A dry run is decided as if each command were applied, so that the next one sees its effect; then none of it is.
 *
 * @param commands no two with the same key for the same account: the second would refer to a transaction that may not
 *   exist; all of them dry runs, or none
 */
export function decideAtomically(
  commands: readonly Command[],
  known: Knowledge,
  skipped: ReadonlySet<number>,
): BatchDecision {
  const isDryRun = commands.some(({ dryRun }) => dryRun === true);
  const decided = isDryRun ? commands.map((command) => ({ ...command, dryRun: false })) : commands;
  const decision = decideBatch(decided, known, skipped);
  const rejected = decision.decisions.find((other) => other?.accepted === false);
  if (!rejected && !isDryRun) return decision;
  return {
    decisions: decision.decisions.map((other) =>
      !rejected || other === rejected || isDuplicate(other) ? other : NOT_APPLIED,
    ),
    transactions: [],
    accounts: known.accounts,
    holds: [],
    changes: [],
    refusals: [],
    outgoing: [],
    incoming: [],
    lacking: decision.lacking,
  };
}

function isDuplicate(decision: Decision | undefined): boolean {
  return decision?.accepted === false && decision.rejection.code.startsWith('DUPLICATE_');
}
