import type { Account } from './account.js';
import {
  decide,
  type Decision,
  type KeyedTransaction,
  type PostingCommand,
  type Transaction,
} from './transaction.js';

/** The outcome of a batch: what to write, and what to answer each caller. */
export interface BatchDecision {
  /** One per command, in the same order. */
  readonly decisions: readonly Decision[];
  /** The accepted transactions, in the order in which they were decided. */
  readonly transactions: readonly Transaction[];
  /** Every account after the batch, including unchanged ones. */
  readonly accounts: ReadonlyMap<number, Account>;
}

/** The transactions that used idempotency keys, by {@link keyOf}. */
export type KeyedTransactions = ReadonlyMap<string, KeyedTransaction>;

/** A name for (account, idempotency key): the scope of a key is its account. */
export function keyOf(accountId: number, idempotencyKey: string): string {
  return `${accountId}:${idempotencyKey}`;
}

/**
 * Decides commands one after the other, in memory: a later one sees the effect of an earlier one, and a rejection has
 * no effect. The result is the same as deciding and applying each on its own. Pure, except that a duplicate of a
 * command in the same batch refers to that command's transaction, whose id is filled in later.
 *
 * @param opening the locked accounts; a command for any other account is rejected as not found
 */
export function decideBatch(
  commands: readonly PostingCommand[],
  opening: ReadonlyMap<number, Account>,
  earlier: KeyedTransactions,
): BatchDecision {
  const accounts = new Map(opening);
  const keyed = new Map(earlier);
  const transactions: Transaction[] = [];
  const decisions = commands.map((command): Decision => {
    const account = accounts.get(command.accountId);
    if (!account) return { accepted: false, rejection: { code: 'ACCOUNT_NOT_FOUND' } };
    const key =
      command.idempotencyKey === undefined ? undefined : keyOf(command.accountId, command.idempotencyKey);
    const decision = decide(account, command, key === undefined ? undefined : keyed.get(key));
    if (decision.accepted) {
      const { transaction } = decision;
      transactions.push(transaction);
      if (key !== undefined) keyed.set(key, transaction);
      accounts.set(account.accountId, {
        accountId: account.accountId,
        balance: transaction.balanceAfter,
        version: transaction.versionAfter,
      });
    }
    return decision;
  });
  return { decisions, transactions, accounts };
}

const NOT_APPLIED: Decision = { accepted: false, rejection: { code: 'NOT_APPLIED' } };

/**
 * Decides commands that are applied together or not at all: the first rejection stops all of them. The command that
 * caused it keeps its rejection, and so does every duplicate, so that a repeated batch learns of each command that it
 * was applied before. All others get NOT_APPLIED: they were decided on a state that is never committed.
 *
 * @param commands no two with the same key for the same account: the second would refer to a transaction that may not
 *   exist
 */
export function decideAtomically(
  commands: readonly PostingCommand[],
  opening: ReadonlyMap<number, Account>,
  earlier: KeyedTransactions,
): BatchDecision {
  const decision = decideBatch(commands, opening, earlier);
  const rejected = decision.decisions.find(({ accepted }) => !accepted);
  if (!rejected) return decision;
  return {
    decisions: decision.decisions.map((other) =>
      other === rejected || isDuplicate(other) ? other : NOT_APPLIED,
    ),
    transactions: [],
    accounts: opening,
  };
}

function isDuplicate(decision: Decision): boolean {
  return !decision.accepted && decision.rejection.code === 'DUPLICATE_TRANSACTION';
}
