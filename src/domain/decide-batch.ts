import type { Account } from './account.js';
import {
  decide,
  type Decision,
  type KeyedTransaction,
  type PostingCommand,
  type Transaction,
} from './transaction.js';

/** The outcome of a batch: what to write, and what to tell each caller. */
export interface BatchDecision {
  /** One for each command, in the same order. */
  readonly decisions: readonly Decision[];
  /** What was accepted, in the order in which it was decided. */
  readonly transactions: readonly Transaction[];
  /** Every account of the batch as it is afterwards, the unchanged ones included. */
  readonly accounts: ReadonlyMap<number, Account>;
}

/** The transactions that hold keys, by {@link keyOf}. */
export type KeyedTransactions = ReadonlyMap<string, KeyedTransaction>;

/** A name for (account, idempotency key): the scope of a key is its account. */
export function keyOf(accountId: number, idempotencyKey: string): string {
  return `${accountId}:${idempotencyKey}`;
}

/**
 * Decides commands one after the other, in memory: a later one sees the effect of an earlier one, and a rejection leaves
 * no trace. The result is that of deciding and applying each on its own. Pure, except that a duplicate of a neighbour
 * refers to that neighbour's transaction, whose id is filled in later.
 *
 * @param opening the locked accounts; a command of any other account is rejected as not found
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
 * Decides commands that are applied together or not at all: the first rejection stops all of them. It keeps its
 * rejection, and so does each that was applied before: a batch that is sent again is told so of every one. (What else comes
 * after it rested on a state that never comes to be.)
 *
 * @param commands no two of them with the same key of the same account: a repeat would refer to what is not applied
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
