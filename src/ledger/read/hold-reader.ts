import { Inject, Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { LedgerError } from '../../domain/errors.js';
import { statusAt, type Hold, type HoldStatus } from '../../domain/hold.js';
import type { TransactionDetails } from '../../domain/transaction.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import {
  detailsFromRow,
  HOLD_COLUMNS,
  holdFromRow,
  type DetailsRow,
  type HoldRow,
} from '../../storage/rows.js';
import { plainArray } from '../../storage/array-literal.js';
import type { SchemaTables } from '../../storage/tables.js';
import { AccountOwners } from './account-owners.js';
import { LedgerReader } from './ledger-reader.js';
import { readEach } from './read-each.js';
import { READERS, type ShardReader } from './shard-reader.js';

/** A hold with what its client said about it. */
export interface DescribedHold extends Hold {
  readonly details: TransactionDetails | undefined;
}

/** A page of an account's holds, newest first. */
export interface HoldPage {
  readonly holds: readonly DescribedHold[];
  /** The next page is below this id; undefined: there is none. */
  readonly nextBelow: number | undefined;
}

/** Holds whose account is remembered: it never changes. The least recently used is forgotten first. */
const REMEMBERED = 100_000;

interface DescribedHoldRow extends HoldRow, DetailsRow {
  details_of: string | null;
  read_at: Date;
}

/** Reads holds from the database. One that is due is shown as expired, whether or not that is written down yet. */
@Injectable()
export class HoldReader {
  private readonly accounts = new LRUCache<number, number>({ max: REMEMBERED });

  constructor(
    @Inject(READERS) private readonly router: ShardRouter<ShardReader>,
    private readonly reader: LedgerReader,
    private readonly owners: AccountOwners,
  ) {}

  /** Saves the next request for the hold a look-up of its account. */
  remember({ holdId, accountId }: Hold): void {
    this.accounts.set(holdId, accountId);
  }

  /**
   * The account of a hold.
   *
   * @param owner the account must be this owner's; undefined: anybody's
   * @throws LedgerError HOLD_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  async accountOf(holdId: number, owner: string | undefined, user: string): Promise<number> {
    const known = this.accounts.get(holdId);
    if (known === undefined) {
      const { sql, parameters } = wanted(
        this.router.of(holdId).tables,
        'h.hold_id, h.account_id',
        holdId,
        owner,
      );
      const [row] = await this.router.of(holdId).query<{ account_id: string }>(sql, parameters, user);
      if (!row) throw new LedgerError({ code: 'HOLD_NOT_FOUND' });
      const accountId = Number(row.account_id);
      this.accounts.set(holdId, accountId);
      return accountId;
    }
    if (owner !== undefined) await this.checkOwner(owner, known, user);
    return known;
  }

  /** As for {@link accountOf}. */
  async hold(holdId: number, owner: string | undefined, user: string): Promise<DescribedHold> {
    const shard = this.router.of(holdId);
    const { sql, parameters } = wanted(shard.tables, HOLD_COLUMNS, holdId, owner);
    const [row] = await shard.query<DescribedHoldRow>(described(sql, shard.tables), parameters, user);
    if (!row) throw new LedgerError({ code: 'HOLD_NOT_FOUND' });
    return describedFromRow(row);
  }

  /** {@link hold} for several: each, or why it can't be read. */
  holdsOf(
    holdIds: Iterable<number>,
    owner: string | undefined,
    user: string,
  ): Promise<ReadonlyMap<number, DescribedHold | Error>> {
    const read = async (shard: ShardReader, ids: readonly number[]) => {
      const { accounts, holds } = shard.tables;
      const select = `SELECT ${HOLD_COLUMNS} FROM ${holds} h WHERE hold_id = ANY($1::bigint[])
        AND ($2::text IS NULL OR EXISTS
          (SELECT FROM ${accounts} a WHERE a.account_id = h.account_id AND a.owner = $2))`;
      const rows = await shard.query<DescribedHoldRow>(
        described(select, shard.tables),
        [plainArray(ids), owner ?? null],
        user,
      );
      return new Map(rows.map((row) => [Number(row.hold_id), describedFromRow(row)]));
    };
    return readEach(this.router, holdIds, read, () => new LedgerError({ code: 'HOLD_NOT_FOUND' }));
  }

  /**
   * An account's holds below an id, newest first.
   *
   * @throws LedgerError ACCOUNT_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  async holdsBelow(
    accountId: number,
    holdId: number,
    limit: number,
    status: HoldStatus | undefined,
    user: string,
  ): Promise<HoldPage> {
    const shard = this.router.of(accountId);
    // Of each status the newest ones are read from the index. As a row of unnest, the account is unknown to the planner:
    // of one with many holds it would read the primary key backwards, and the holds of all other accounts with it.
    const page = `SELECT page.* FROM unnest(ARRAY[$1::bigint]) AS a (id), unnest($4::text[]) AS s (status), LATERAL (
         SELECT ${HOLD_COLUMNS} FROM ${shard.tables.holds} h
         WHERE account_id = a.id AND h.status = s.status AND hold_id < $2
           AND ($5::text IS NULL
             OR $5 = CASE WHEN h.status = 'active' AND expires_at <= now() THEN 'expired' ELSE h.status END)
         ORDER BY hold_id DESC LIMIT $3) page
       ORDER BY hold_id DESC LIMIT $3`;
    const rows = await shard.queryLong<DescribedHoldRow>(
      `${described(page, shard.tables)} ORDER BY h.hold_id DESC`,
      [accountId, holdId, limit + 1, writtenAs(status), status ?? null],
      user,
      accountId,
    );
    if (rows.length === 0) await this.reader.account(accountId, user);
    const holds = rows.slice(0, limit).map(describedFromRow);
    return { holds, nextBelow: rows.length > limit ? holds.at(-1)?.holdId : undefined };
  }

  /** A foreign hold gets the same answer as one that does not exist. */
  private async checkOwner(owner: string, accountId: number, user: string): Promise<void> {
    try {
      await this.owners.check(owner, accountId, user);
    } catch (error) {
      const isForeign = error instanceof LedgerError && error.failure.code === 'ACCOUNT_NOT_FOUND';
      throw isForeign ? new LedgerError({ code: 'HOLD_NOT_FOUND' }) : error;
    }
  }
}

/** The statuses in the rows of holds that are shown with a status: the expiry of some is not written down yet. */
function writtenAs(status: HoldStatus | undefined): readonly HoldStatus[] {
  if (status === undefined) return ['active', 'captured', 'voided', 'expired'];
  return status === 'expired' ? ['expired', 'active'] : [status];
}

function wanted(
  { holds, accounts }: SchemaTables,
  columns: string,
  holdId: number,
  owner: string | undefined,
): { sql: string; parameters: unknown[] } {
  const isOwn = `AND EXISTS (SELECT FROM ${accounts} a WHERE a.account_id = h.account_id AND a.owner = $2)`;
  return {
    sql: `SELECT ${columns} FROM ${holds} h WHERE hold_id = $1 ${owner === undefined ? '' : isOwn}`,
    parameters: owner === undefined ? [holdId] : [holdId, owner],
  };
}

/** Adds the details of the transaction that placed each hold, and the time. */
function described(select: string, { transactionDetails }: SchemaTables): string {
  return `SELECT h.*, now() AS read_at, d.transaction_id AS details_of, d.reference,
            d.effective_date::text AS effective_date, d.actor,
            d.description, d.metadata, NULL AS salt, NULL AS digest
          FROM (${select}) h LEFT JOIN ${transactionDetails} d ON d.transaction_id = h.hold_id`;
}

function describedFromRow(row: DescribedHoldRow): DescribedHold {
  const hold = holdFromRow(row);
  const status = statusAt(hold, row.read_at);
  // Of one whose expiry is not written down, what is on its way to another shard remains.
  const remaining = status === hold.status ? hold.remaining : hold.capturing;
  return { ...hold, status, remaining, details: row.details_of === null ? undefined : detailsFromRow(row) };
}
