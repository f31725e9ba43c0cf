import { Inject, Injectable } from '@nestjs/common';
import { FIRST_VERSION } from '../../domain/account.js';
import { LedgerError } from '../../domain/errors.js';
import type { OutgoingTransfer } from '../../domain/between-shards.js';
import { transferBetween, transferOf, type Transfer } from '../../domain/transfer.js';
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
import { AccountOwners } from './account-owners.js';
import { LedgerReader, MAX_EXAMINED } from './ledger-reader.js';
import { readEach } from './read-each.js';
import { READERS, type ShardReader } from './shard-reader.js';
import { TRANSFER_RECORDS, type TransferRecords } from './transfer-records.js';

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

/** Reads transfers. One within a shard has no row of its own: it is what its legs say. */
@Injectable()
export class TransferReader {
  constructor(
    @Inject(READERS) private readonly router: ShardRouter<ShardReader>,
    @Inject(TRANSFER_RECORDS) private readonly records: ShardRouter<TransferRecords>,
    private readonly accounts: LedgerReader,
    private readonly owners: AccountOwners,
  ) {}

  /**
   * @param owner one of its accounts must be this owner's, and the others are foreign; undefined: none is foreign
   * @throws LedgerError TRANSFER_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  async transfer(transferId: number, owner: string | undefined, user: string): Promise<Transfer> {
    const found = (await this.transfers([transferId], owner, user)).get(transferId);
    if (found instanceof Error || !found) throw found ?? notFound();
    return found;
  }

  /** {@link transfer} for several: each, or why it can't be read. */
  async transfers(
    transferIds: Iterable<number>,
    owner: string | undefined,
    user: string,
  ): Promise<ReadonlyMap<number, Transfer | Error>> {
    const read = async (shard: ShardReader, ids: readonly number[]) => {
      // Decided in the database, so that another owner's transfer is answered like one that does not exist.
      const visible = `SELECT * FROM
        (SELECT *, bool_and(is_foreign) OVER (PARTITION BY transfer_id) AS is_hidden FROM (${legs(shard.tables)}
           WHERE t.transfer_id = ANY($2::bigint[]) AND t.type IN ('debit', 'credit')) l) l WHERE NOT is_hidden`;
      const sql = selectLegs(visible, shard.tables);
      const rows = await shard.query<LegRow>(sql, [owner ?? null, plainArray(ids)], user);
      const whole = [...groupedById(rows)].filter(([, ofTransfer]) => !isApart(ofTransfer));
      return new Map(whole.map(([transferId, ofTransfer]) => [transferId, transferFrom(ofTransfer)]));
    };
    const found = new Map(await readEach<Transfer>(this.router, transferIds, read, notFound));
    const others = [...found].flatMap(([id, outcome]) => (isNotFound(outcome) ? [id] : []));
    for (const [id, transfer] of await this.betweenShards(others, owner, user)) found.set(id, transfer);
    return found;
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
    // An account has one leg of a transfer, so a page of its legs is a page of its transfers. One to another shard is
    // where it began, with a hold that has its id.
    const rows = await shard.queryLong<LegRow>(
      selectLegs(
        `${legs(shard.tables)} WHERE t.type <> 'release' AND t.transfer_id IN (
           SELECT transfer_id FROM ${shard.tables.allTransactions} p
           WHERE account_id = $2 AND version_after < $3 AND version_after >= $4 AND transfer_id IS NOT NULL
             AND (type <> 'debit' OR hold_id IS NULL OR hold_id <> transfer_id)
           ORDER BY version_after DESC LIMIT $5)`,
        shard.tables,
      ),
      [owner ?? null, accountId, below, lowest, limit + 1],
      user,
      accountId,
    );
    const listed = [...groupedById(rows)]
      .map(([transferId, ofTransfer]) => ({
        transferId,
        ofTransfer,
        at: firstVersion(ofTransfer, accountId),
      }))
      .sort((a, b) => b.at - a.at);
    const page = listed.slice(0, limit);
    const apart = page.filter(({ ofTransfer }) => isApart(ofTransfer)).map(({ transferId }) => transferId);
    const between = await this.betweenShards(apart, owner, user);
    const transfers = page.map(({ transferId, ofTransfer }) => {
      const other = between.get(transferId);
      if (!other) return transferFrom(ofTransfer);
      if (!(other instanceof Error)) return other;
      // Of one from another shard that can't be read now, its credit is known.
      if (ofTransfer.every(({ type }) => type === 'credit')) return transferFrom(ofTransfer.slice(0, 1));
      throw other;
    });
    const last = page.at(-1);
    if (last && listed.length > limit) return { transfers, nextBelow: last.at };
    return { transfers, nextBelow: lowest > FIRST_VERSION + 1 ? lowest : undefined };
  }

  /** Transfers to other shards, which have a row in the source's shard. */
  private async betweenShards(
    transferIds: readonly number[],
    owner: string | undefined,
    user: string,
  ): Promise<ReadonlyMap<number, Transfer | Error>> {
    if (transferIds.length === 0) return new Map();
    const read = (_: ShardReader, ids: readonly number[]) => this.records.of(ids[0] ?? 0).outgoing(ids);
    const records = await readEach(this.router, transferIds, read, notFound);
    const accountIds = [...records.values()].flatMap((record) =>
      record instanceof Error ? [] : [record.accountId, record.to],
    );
    const problems = await this.owners.problems(owner, accountIds, user);
    return new Map([...records].map(([id, record]) => [id, seenBy(problems, record)]));
  }
}

const notFound = () => new LedgerError({ code: 'TRANSFER_NOT_FOUND' });

const isNotFound = (outcome: object) =>
  outcome instanceof LedgerError && outcome.failure.code === 'TRANSFER_NOT_FOUND';

/**
 * A transfer between shards for a reader, unless the reader may see neither of its accounts. One whose owner can't be
 * told now is not shown.
 *
 * @param problems why the reader can't use accounts
 */
function seenBy(problems: ReadonlyMap<number, Error>, record: OutgoingTransfer | Error): Transfer | Error {
  if (record instanceof Error) return record;
  const foreign = [record.accountId, record.to].filter((accountId) => problems.has(accountId));
  const fault = foreign.map((accountId) => problems.get(accountId)).find(isFault);
  if (foreign.length < 2) return { ...transferBetween(record, new Set(foreign)), problem: fault };
  return fault ?? notFound();
}

const isFault = (problem: Error | undefined) =>
  !(problem instanceof LedgerError && problem.failure.code === 'ACCOUNT_NOT_FOUND');

const groupedById = (rows: readonly LegRow[]) => Map.groupBy(rows, (row) => Number(row.transfer_id));

/** Whether a leg of the transfer with these rows is in another shard. */
const isApart = (rows: readonly LegRow[]) =>
  !['debit', 'credit'].every((type) => rows.some((row) => row.type === type));

const firstVersion = (rows: readonly LegRow[], accountId: number): number =>
  Number(rows.find((row) => Number(row.account_id) === accountId)?.version_after ?? 0);

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

function transferFrom(rows: readonly LegRow[]): Transfer {
  return transferOf(rows.map(detailedFromRow), {
    reversedId: idFromColumn(rows[0]?.reversed_id ?? null),
    foreign: new Set(rows.filter((row) => row.is_foreign).map((row) => Number(row.account_id))),
  });
}
