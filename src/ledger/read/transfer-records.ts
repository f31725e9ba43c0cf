import { setImmediate as nextTurn } from 'node:timers/promises';
import type { LedgerAccount } from '../../domain/account.js';
import type { OutgoingTransfer } from '../../domain/between-shards.js';
import { THE_SERVICE } from '../../domain/sender.js';
import { plainArray } from '../../storage/array-literal.js';
import {
  ledgerAccountFromRow,
  outgoingFromRow,
  selectOutgoing,
  type LedgerAccountRow,
  type OutgoingRow,
} from '../../storage/rows.js';
import type { ShardReader } from './shard-reader.js';

/** The records of each shard. */
export const TRANSFER_RECORDS = Symbol('TRANSFER_RECORDS');

type Answer = PromiseWithResolvers<LedgerAccount | undefined>;

/** Reads what transfers between shards need to know of one shard. */
export class TransferRecords {
  /** Accounts to be read by the next statement. */
  private waiting = new Map<number, Answer>();
  private reading = false;

  constructor(private readonly shard: ShardReader) {}

  /**
   * An account as it is now, without a lock: a hint. Accounts that are asked for at the same time share a statement.
   *
   * @returns undefined: there is no such account
   * @throws LedgerError DATABASE_FAILED, OVERLOADED
   */
  account(accountId: number): Promise<LedgerAccount | undefined> {
    const answer = this.waiting.get(accountId) ?? Promise.withResolvers<LedgerAccount | undefined>();
    this.waiting.set(accountId, answer);
    if (!this.reading) void this.readAll();
    return answer.promise;
  }

  /**
   * Transfers to other shards, by id.
   *
   * @throws LedgerError DATABASE_FAILED, OVERLOADED
   */
  async outgoing(transferIds: readonly number[]): Promise<ReadonlyMap<number, OutgoingTransfer>> {
    const { shard } = this;
    const rows = await shard.query<OutgoingRow>(
      `${selectOutgoing(shard.tables)} WHERE o.transfer_id = ANY($1::bigint[])`,
      [plainArray(transferIds)],
      THE_SERVICE,
    );
    return new Map(rows.map((row) => [Number(row.transfer_id), outgoingFromRow(row)]));
  }

  /** One statement at a time. */
  private async readAll(): Promise<void> {
    this.reading = true;
    await nextTurn();
    while (this.waiting.size > 0) {
      const asked = this.waiting;
      this.waiting = new Map();
      try {
        const found = await this.read([...asked.keys()]);
        for (const [accountId, { resolve }] of asked) resolve(found.get(accountId));
      } catch (error) {
        for (const { reject } of asked.values()) reject(error);
      }
    }
    this.reading = false;
  }

  private async read(accountIds: readonly number[]): Promise<ReadonlyMap<number, LedgerAccount>> {
    const rows = await this.shard.query<LedgerAccountRow>(
      `SELECT account_id, balance, version, held, active_holds, overdraft_limit, status, revision, currency
       FROM ${this.shard.tables.accounts} WHERE account_id = ANY($1::bigint[])`,
      [plainArray(accountIds)],
      THE_SERVICE,
    );
    return new Map(rows.map(ledgerAccountFromRow).map((account) => [account.accountId, account]));
  }
}
