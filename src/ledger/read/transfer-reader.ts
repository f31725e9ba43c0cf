import { Inject, Injectable } from '@nestjs/common';
import { FIRST_VERSION } from '../../domain/account.js';
import { LedgerError } from '../../domain/errors.js';
import type { Transfer } from '../../domain/transfer.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import {
  detailedFromRow,
  idFromColumn,
  TRANSACTION_COLUMNS,
  withDetails,
  type DetailedRow,
} from '../../storage/rows.js';
import { plainArray } from '../../storage/array-literal.js';
import type { SchemaTables } from '../../storage/tables.js';
import { LedgerReader, MAX_EXAMINED } from './ledger-reader.js';
import { readEach } from './read-each.js';
import { READERS, type ShardReader } from './shard-reader.js';

/** A leg of a transfer. */
interface LegRow extends DetailedRow {
  transfer_id: string;
  /** The transfer of the transaction that it reverses. */
  reversed_id: string | null;
  is_foreign: boolean;
}

/** A page of an account's transfers, newest first. */
export interface TransferPage {
  readonly transfers: readonly Transfer[];
  /** The next page is below this version; undefined: there is none. */
  readonly nextBelow: number | undefined;
}

/** Reads transfers, which have no row of their own: one is what its legs say. */
@Injectable()
export class TransferReader {
  constructor(
    @Inject(READERS) private readonly router: ShardRouter<ShardReader>,
    private readonly accounts: LedgerReader,
  ) {}

  /**
   * @param owner one of its accounts must be this owner's, and the others are foreign; undefined: none is foreign
   * @throws LedgerError TRANSFER_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  async transfer(transferId: number, owner: string | undefined, user: string): Promise<Transfer> {
    const shard = this.router.of(transferId);
    // Decided in the database, so that another owner's transfer is answered like one that does not exist.
    const rows = await shard.query<LegRow>(
      selectLegs(
        `SELECT * FROM (SELECT *, bool_and(is_foreign) OVER () AS is_hidden FROM (${legs(shard.tables)}
           WHERE t.transfer_id = $2) l) l WHERE NOT is_hidden`,
        shard.tables,
      ),
      [owner ?? null, transferId],
      user,
    );
    const [transfer] = transfersFrom(rows);
    if (!transfer) throw new LedgerError({ code: 'TRANSFER_NOT_FOUND' });
    return transfer;
  }

  /** {@link transfer} for several: each, or why it can't be read. */
  transfers(
    transferIds: Iterable<number>,
    owner: string | undefined,
    user: string,
  ): Promise<ReadonlyMap<number, Transfer | Error>> {
    const read = async (shard: ShardReader, ids: readonly number[]) => {
      const visible = `SELECT * FROM
        (SELECT *, bool_and(is_foreign) OVER (PARTITION BY transfer_id) AS is_hidden FROM (${legs(shard.tables)}
           WHERE t.transfer_id = ANY($2::bigint[])) l) l WHERE NOT is_hidden`;
      const sql = selectLegs(visible, shard.tables);
      const rows = await shard.query<LegRow>(sql, [owner ?? null, plainArray(ids)], user);
      return new Map(transfersFrom(rows).map((transfer) => [transfer.transferId, transfer]));
    };
    return readEach(this.router, transferIds, read, () => new LedgerError({ code: 'TRANSFER_NOT_FOUND' }));
  }

  /**
   * An account's transfers below a version, newest first. A page covers at most {@link MAX_EXAMINED} transactions of the
   * account, so it may hold few or none.
   *
   * @param owner of the account; the other accounts that are not this owner's are foreign; undefined: none is
   * @throws LedgerError ACCOUNT_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  async transfersBelow(
    accountId: number,
    version: number,
    limit: number,
    owner: string | undefined,
    user: string,
  ): Promise<TransferPage> {
    // An account's versions have no gaps, so this many versions are this many transactions.
    const below = Math.min(version, (await this.accounts.account(accountId, user)).version + 1);
    const lowest = Math.max(below - MAX_EXAMINED, FIRST_VERSION);
    const shard = this.router.of(accountId);
    // An account has one leg of a transfer, so a page of its legs is a page of its transfers.
    const rows = await shard.queryLong<LegRow>(
      selectLegs(
        `${legs(shard.tables)} WHERE t.transfer_id IN (
           SELECT transfer_id FROM ${shard.tables.allTransactions} p
           WHERE account_id = $2 AND version_after < $3 AND version_after >= $4 AND transfer_id IS NOT NULL
           ORDER BY version_after DESC LIMIT $5)`,
        shard.tables,
      ),
      [owner ?? null, accountId, below, lowest, limit + 1],
      user,
      accountId,
    );
    const all = transfersFrom(rows).sort((a, b) => versionOf(b, accountId) - versionOf(a, accountId));
    const transfers = all.slice(0, limit);
    const last = transfers.at(-1);
    if (last && all.length > limit) return { transfers, nextBelow: versionOf(last, accountId) };
    return { transfers, nextBelow: lowest > FIRST_VERSION + 1 ? lowest : undefined };
  }
}

/**
 * Legs for a WHERE on `t`; $1 is the owner for whom they are read. Owners and reversed transactions are looked up one by
 * one: the planner expects so many legs that it would rather read all accounts.
 */
function legs({ allTransactions, accounts }: SchemaTables): string {
  const columns = TRANSACTION_COLUMNS.split(', ').map((column) => `t.${column}`);
  return `SELECT ${columns.join(', ')},
            $1::text IS NOT NULL AND
              (SELECT a.owner FROM ${accounts} a WHERE a.account_id = t.account_id) IS DISTINCT FROM $1 AS is_foreign,
            CASE WHEN t.reverses_id IS NOT NULL THEN
              (SELECT o.transfer_id FROM ${allTransactions} o WHERE o.transaction_id = t.reverses_id)
            END AS reversed_id
          FROM ${allTransactions} t`;
}

/** All legs have the same details, so only the first one is joined with them. */
function selectLegs(select: string, { transactionDetails }: SchemaTables): string {
  return `${withDetails(select, transactionDetails, 't.transaction_id = t.transfer_id')} ORDER BY t.transaction_id`;
}

function transfersFrom(rows: readonly LegRow[]): Transfer[] {
  return [...Map.groupBy(rows, (row) => Number(row.transfer_id))].map(([transferId, ofTransfer]) => ({
    transferId,
    legs: ofTransfer.map(detailedFromRow),
    reversedId: idFromColumn(ofTransfer[0]?.reversed_id ?? null),
    foreign: new Set(ofTransfer.filter((row) => row.is_foreign).map((row) => Number(row.account_id))),
  }));
}

const versionOf = ({ legs: ofTransfer }: Transfer, accountId: number): number =>
  ofTransfer.find((leg) => leg.accountId === accountId)?.versionAfter ?? 0;
