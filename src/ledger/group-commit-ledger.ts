import type { Account } from '../domain/account.js';
import type { Money } from '../domain/money.js';
import { LedgerError } from '../domain/errors.js';
import { Ledger } from '../domain/ports.js';
import type { PostingCommand, Transaction } from '../domain/transaction.js';
import type { AccountOpener } from './account-opener.js';
import type { GroupCommit } from './group-commit.js';
import type { ShardRouter } from './shard-router.js';

/** The write side of one shard. */
export interface ShardWriter {
  readonly groupCommit: GroupCommit;
  readonly opener: AccountOpener;
}

/** The ledger over all shards: each command goes to the group commit of its account's shard. */
export class GroupCommitLedger extends Ledger {
  constructor(private readonly router: ShardRouter<ShardWriter>) {
    super();
  }

  post(command: PostingCommand): Promise<Transaction> {
    return this.router.of(command.accountId).groupCommit.submit(command);
  }

  /** In the shard whose turn it is, or in the next one when that has failed with nothing applied. */
  async openAccount(openingDeposit: Money | undefined): Promise<Account> {
    try {
      return await this.router.forNewAccount().opener.open(openingDeposit);
    } catch (error) {
      if (this.router.shards.length === 1 || !leftNothing(error)) throw error;
      return this.router.forNewAccount().opener.open(openingDeposit);
    }
  }

  /** Waits until every command that was taken in is answered. */
  async close(): Promise<void> {
    await Promise.all(this.router.shards.map((shard) => shard.groupCommit.close()));
  }
}

function leftNothing(error: unknown): boolean {
  return error instanceof LedgerError && ['DATABASE_FAILED', 'OVERLOADED'].includes(error.refusal.code);
}
