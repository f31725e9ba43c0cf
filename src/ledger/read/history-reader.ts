import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { FIRST_VERSION, type Account } from '../../domain/account.js';
import { LedgerError } from '../../domain/errors.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import { allInOrder, send } from '../../storage/connection.js';
import { decimalsOf } from '../../config/currencies.js';
import type { Money } from '../../domain/money.js';
import { moneyFromColumn } from '../../storage/rows.js';
import type { SchemaTables } from '../../storage/tables.js';
import { READERS, type ShardReader } from './shard-reader.js';

/** What an account had after one of its transactions, or when it was new. It never changes. */
export interface PastBalance extends Account {
  readonly held: Money;
}

/** What an account had at several times. */
export interface PastBalances {
  /** The time of the database. */
  readonly now: Date;
  /** Undefined: opened before this was recorded. */
  readonly openedAt: Date | undefined;
  /** In the order of the times. Before its opening an account counts as empty. */
  readonly balances: readonly PastBalance[];
}

interface PastRow {
  current_version: string;
  created_at: Date | null;
  now: Date;
  version: string;
  currency: string | null;
  balance: string | null;
  held: string | null;
}

/** Longer than any transaction takes (LEDGER_TRANSACTION_TIMEOUT_MS), and clocks may differ. */
const RECENT_MS = 15 * 60_000;

/** Reads what accounts had in the past, from the rows of both tables of transactions. */
@Injectable()
export class HistoryReader {
  constructor(@Inject(READERS) private readonly router: ShardRouter<ShardReader>) {}

  /**
   * {@link balancesAt} one time.
   *
   * @throws LedgerError NOT_YET_OPENED, too
   */
  async balanceAt(accountId: number, atMs: number, user: string): Promise<PastBalance> {
    const { openedAt, balances } = await this.balancesAt(accountId, [atMs], user);
    // Accounts that were opened before this was recorded count as old as the world.
    if (openedAt && atMs < openedAt.getTime()) throw new LedgerError({ code: 'NOT_YET_OPENED' });
    return balances[0] as PastBalance;
  }

  /**
   * What an account had at some times, each of which includes the transactions of that very millisecond.
   *
   * The answer is final. An account's transactions draw their times while they hold its row lock, so a later version
   * never has an earlier time. Three cases follow for the last of the times:
   * - A later transaction is visible. Whatever is still to be committed comes after it, and has no earlier time.
   * - The time is so long ago that whatever drew an earlier one has been committed or never will be.
   * - Otherwise one may have drawn an earlier time and not be committed yet. It holds the row's lock until it is, so we
   *   wait for the lock, and read the clock behind it. Once the clock has passed the requested time, every later holder
   *   of the lock draws a later time.
   *
   * (This needs a clock that is not set back below that time. Versions always ascend.)
   *
   * @param timesMs ascending, in whole milliseconds since 1970
   * @throws LedgerError ACCOUNT_NOT_FOUND; TIME_IN_FUTURE, by the clock of the account's database; DATABASE_FAILED;
   *   OVERLOADED
   */
  async balancesAt(accountId: number, timesMs: readonly number[], user: string): Promise<PastBalances> {
    const lastMs = timesMs.at(-1) ?? 0;
    const found = await this.search(accountId, timesMs, user);
    const last = found.balances.at(-1)?.version;
    if (last !== found.currentVersion || lastMs < found.now.getTime() - RECENT_MS) return found;
    const version = await this.settledVersion(accountId, lastMs, user);
    return version === last ? found : this.search(accountId, timesMs, user);
  }

  /**
   * What an account had when it reached a version.
   *
   * @throws LedgerError ACCOUNT_NOT_FOUND, VERSION_NOT_REACHED, DATABASE_FAILED, OVERLOADED
   */
  async balanceOfVersion(accountId: number, version: number, user: string): Promise<PastBalance> {
    const shard = this.router.of(accountId);
    const [row] = await shard.query<PastRow>(
      selectPast(
        `SELECT version, balance, held, created_at, currency, $2::bigint AS wanted FROM ${shard.tables.accounts}
         WHERE account_id = $1`,
        shard.tables,
      ),
      [accountId, version],
      user,
      accountId,
    );
    if (!row) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND' });
    if (version > Number(row.current_version)) throw new LedgerError({ code: 'VERSION_NOT_REACHED' });
    return pastFromRow(accountId, row);
  }

  private async search(
    accountId: number,
    timesMs: readonly number[],
    user: string,
  ): Promise<PastBalances & { readonly currentVersion: number }> {
    const shard = this.router.of(accountId);
    const rows = await shard.query<PastRow>(
      selectFound(shard.tables),
      [accountId, timesMs.map((timeMs) => new Date(timeMs))],
      user,
      accountId,
    );
    const [row] = rows;
    if (!row) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND' });
    return {
      now: row.now,
      openedAt: row.created_at ?? undefined,
      balances: rows.map((each) => pastFromRow(accountId, each)),
      currentVersion: Number(row.current_version),
    };
  }

  /** The version of an account once no transaction can get this time, or an earlier one, any more. */
  private async settledVersion(accountId: number, atMs: number, user: string): Promise<number> {
    const shard = this.router.of(accountId);
    const [locked, clock] = await shard.transact(
      (_, client) =>
        allInOrder([
          // The lock is all that it writes, so its COMMIT need not wait for the disk.
          send(client, 'SET LOCAL synchronous_commit = off'),
          send<{ version: string }>(
            client,
            `SELECT version FROM ${shard.tables.accounts} WHERE account_id = $1 FOR SHARE`,
            [accountId],
          ),
          // Without a table, as transactions draw their times: on Citus that is another node's clock.
          send<{ now: Date }>(client, `SELECT date_trunc('milliseconds', clock_timestamp()) AS now`),
        ]).then(([, versions, times]) => [versions.rows[0], times.rows[0]?.now.getTime() ?? 0] as const),
      user,
      accountId,
    );
    if (!locked) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND' });
    if (atMs > clock) throw new LedgerError({ code: 'TIME_IN_FUTURE' });
    if (atMs < clock) return Number(locked.version);
    await sleep(1);
    return this.settledVersion(accountId, atMs, user);
  }
}

/**
 * Finds the last version that is not later than each of the times ($2) of an account ($1), by a binary search: versions
 * have no gaps. Each step reads one transaction by the index of versions: 20 of them for a million. Between `low` and
 * `high` are the versions that it may be; `low` is not later than the time.
 */
function selectFound(tables: SchemaTables): string {
  const { accounts, transactions, archivedTransactions } = tables;
  // A statement sees a row in one of the two tables, and looks into the archive for what the other one lacks.
  const [time, archivedTime] = [transactions, archivedTransactions].map(
    (table) => `(SELECT timestamp FROM ${table} WHERE account_id = $1 AND version_after = middle)`,
  );
  return `WITH RECURSIVE account AS (
      SELECT version, balance, held, created_at, currency, posted_at FROM ${accounts} WHERE account_id = $1
    ), search (at, low, high) AS (
      SELECT at, CASE WHEN posted_at <= at THEN version ELSE ${FIRST_VERSION} END, version + 1
      FROM account, unnest($2::timestamptz[]) AS t (at)
      UNION ALL
      SELECT at, CASE WHEN is_later THEN low ELSE middle END, CASE WHEN is_later THEN middle ELSE high END
      FROM (
        SELECT at, low, middle, high, coalesce(${time}, ${archivedTime}) > at AS is_later
        FROM (SELECT *, (low + high) / 2 AS middle FROM search WHERE high - low > 1) halved
        OFFSET 0 -- lest the comparison be made once for each CASE
      ) compared
    )
    ${selectPast('SELECT account.*, low AS wanted FROM account, search WHERE high - low = 1', tables)}`;
}

/** @param wanted a SELECT of an account, $1, with the versions that are wanted */
function selectPast(wanted: string, { allTransactions }: SchemaTables): string {
  return `SELECT a.version AS current_version, a.created_at, a.currency, a.wanted AS version, clock_timestamp() AS now,
      CASE WHEN a.wanted = a.version THEN a.balance ELSE t.balance_after END AS balance,
      CASE WHEN a.wanted = a.version THEN a.held ELSE t.held_after END AS held
    FROM (${wanted}) a LEFT JOIN LATERAL (
      SELECT balance_after, held_after FROM ${allTransactions} t
      WHERE account_id = $1 AND version_after = a.wanted AND a.wanted <> a.version LIMIT 1) t ON true
    ORDER BY a.wanted`;
}

function pastFromRow(accountId: number, { version, currency, balance, held }: PastRow): PastBalance {
  if (balance === null && Number(version) !== FIRST_VERSION) {
    throw new Error(`account ${accountId} has gaps in its history`);
  }
  const decimals = decimalsOf(currency);
  return {
    accountId,
    version: Number(version),
    decimals,
    balance: balance === null ? 0n : moneyFromColumn(balance, decimals),
    held: held === null ? 0n : moneyFromColumn(held, decimals),
  };
}
