import { Inject, Injectable } from '@nestjs/common';
import { FIRST_VERSION } from '../../domain/account.js';
import { LedgerError } from '../../domain/errors.js';
import type { Money } from '../../domain/money.js';
import type { MovementType, Transaction } from '../../domain/transaction.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import {
  detailedFromRow,
  moneyFromColumn,
  TRANSACTION_COLUMNS,
  withDetails,
  type DetailedRow,
} from '../../storage/rows.js';
import { READERS, type ShardReader } from './shard-reader.js';

/** An account at the beginning or the end of an interval. */
interface Bound {
  readonly version: number;
  readonly balance: Money;
}

/** What an interval of an account's history covers: its transactions after one version, up to another one. */
export interface Span {
  readonly accountId: number;
  readonly opening: Bound;
  readonly closing: Bound;
}

export interface Turnover {
  readonly count: number;
  readonly sum: Money;
}

/** A transaction that moved the balance. */
export interface Movement extends Transaction {
  readonly type: MovementType;
}

/** An account's history around an interval, as a statement shows it. */
export interface BoundsReading {
  /** The time of the database. */
  readonly now: Date;
  readonly span: Span;
}

/** Versions that are read at once: a chunk takes a few milliseconds, and so does what is made of it. */
const CHUNK = 500;

/** Longer than any transaction may take (LEDGER_TRANSACTION_TIMEOUT_MS), and clocks may differ. */
const RECENT_MS = 15 * 60_000;

interface BoundRow {
  at: Date;
  now: Date;
  version: string;
  balance: string;
}

/**
 * Reads an interval of an account's history. No snapshot is kept open: the versions at both ends are found first, and
 * the transactions between them never change, whether or not they are archived meanwhile.
 */
@Injectable()
export class StatementReader {
  constructor(@Inject(READERS) private readonly router: ShardRouter<ShardReader>) {}

  /**
   * The versions and balances just before two times. Before its opening an account counts as empty.
   *
   * @throws LedgerError ACCOUNT_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  async bounds(accountId: number, from: Date, to: Date, user: string): Promise<BoundsReading> {
    const shard = this.router.of(accountId);
    const sql = boundsSql(shard);
    const parameters = [accountId, from, to];
    let rows = await shard.queryLong<BoundRow>(sql, parameters, user, accountId);
    const now = rows[0]?.now;
    // What is being committed may have an earlier time; it holds the account's lock.
    if (now && to.getTime() > now.getTime() - RECENT_MS) {
      rows = await shard.queryBehindLock<BoundRow>(sql, parameters, user, accountId);
    }
    const [opening, closing] = rows.map(({ version, balance }) => ({
      version: Number(version),
      balance: moneyFromColumn(balance),
    }));
    if (!opening) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND' });
    if (!closing || rows.length !== 2) throw new Error(`account ${accountId} has gaps in its history`);
    return { now: rows[0]?.now as Date, span: { accountId, opening, closing } };
  }

  /** What the movements of a span come to. */
  async turnover(
    { accountId, opening, closing }: Span,
    user: string,
  ): Promise<Readonly<Record<MovementType, Turnover>>> {
    const shard = this.router.of(accountId);
    const rows = await shard.queryLong<{ type: MovementType; count: number; sum: string }>(
      `SELECT type, count(*)::int AS count, replace(sum(amount)::text, '.', '') AS sum
       FROM ${shard.tables.allTransactions} t
       WHERE account_id = $1 AND version_after > $2 AND version_after <= $3 AND type IN ('credit', 'debit')
       GROUP BY type`,
      [accountId, opening.version, closing.version],
      user,
      accountId,
    );
    const of = (type: MovementType): Turnover => {
      const row = rows.find((each) => each.type === type);
      return { count: row?.count ?? 0, sum: BigInt(row?.sum ?? 0) };
    };
    return { credit: of('credit'), debit: of('debit') };
  }

  /** The movements of a span with their details, oldest first, in chunks. */
  async *movements({ accountId, opening, closing }: Span, user: string): AsyncGenerator<readonly Movement[]> {
    for (let after = opening.version; after < closing.version; after += CHUNK) {
      const shard = this.router.of(accountId);
      const chunk = `SELECT ${TRANSACTION_COLUMNS} FROM ${shard.tables.allTransactions} t
         WHERE account_id = $1 AND version_after > $2 AND version_after <= $3 AND type IN ('credit', 'debit')`;
      const rows = await shard.queryLong<DetailedRow>(
        `${withDetails(chunk, shard.tables.transactionDetails)} ORDER BY version_after`,
        [accountId, after, Math.min(after + CHUNK, closing.version)],
        user,
        accountId,
      );
      yield rows.map((row) => detailedFromRow(row) as Movement);
    }
  }
}

/**
 * Finds the last version before each of two times by bisection: versions have no gaps, and their times never run
 * backwards. No index of times is needed, and a long history takes a few steps more.
 */
function boundsSql({ tables: { accounts, allTransactions } }: ShardReader): string {
  return `WITH RECURSIVE search (at, low, high) AS (
      SELECT w.at, ${FIRST_VERSION}::bigint, a.version
      FROM ${accounts} a, (VALUES ($2::timestamptz), ($3::timestamptz)) w (at) WHERE a.account_id = $1
      UNION ALL
      SELECT s.at, CASE WHEN t.timestamp < s.at THEN s.middle ELSE s.low END,
             CASE WHEN t.timestamp < s.at THEN s.high ELSE s.middle - 1 END
      FROM (SELECT *, (low + high + 1) / 2 AS middle FROM search WHERE low < high) s,
        LATERAL (SELECT timestamp FROM ${allTransactions} t
                 WHERE account_id = $1 AND version_after = s.middle LIMIT 1) t
    )
    SELECT s.at, clock_timestamp() AS now, s.low AS version,
      CASE WHEN s.low = ${FIRST_VERSION} THEN 0 ELSE (SELECT balance_after FROM ${allTransactions} t
        WHERE account_id = $1 AND version_after = s.low) END AS balance
    FROM search s WHERE s.low = s.high ORDER BY s.at`;
}
