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

interface PastRow {
  current_version: string;
  created_at: Date | null;
  version: string;
  currency: string | null;
  balance_after: string | null;
  held_after: string | null;
}

/** Reads what accounts had in the past, from the rows of both tables of transactions. */
@Injectable()
export class HistoryReader {
  constructor(@Inject(READERS) private readonly router: ShardRouter<ShardReader>) {}

  /**
   * What an account had at a time, which includes its transactions of that very millisecond.
   *
   * The answer is final. An account's transactions draw their times while they hold its row lock, so a later version
   * never has an earlier time. Two cases follow:
   * - A later transaction is visible. Whatever is still to be committed comes after it, and has no earlier time.
   * - None is. One may have drawn an earlier time and not be committed yet. It holds the row's lock until it is, so we
   *   wait for the lock, and read the clock behind it. Once the clock has passed the requested time, every later holder
   *   of the lock draws a later time.
   *
   * (This needs a clock that is not set back below that time. Versions always ascend.)
   *
   * @param atMs in whole milliseconds since 1970
   * @throws LedgerError ACCOUNT_NOT_FOUND; NOT_YET_OPENED; TIME_IN_FUTURE, by the clock of the account's database;
   *   DATABASE_FAILED; OVERLOADED
   */
  async balanceAt(accountId: number, atMs: number, user: string): Promise<PastBalance> {
    const found = await this.search(accountId, atMs, user);
    if (!found.isCurrent) return found.past;
    const version = await this.settledVersion(accountId, atMs, user);
    return version === found.past.version ? found.past : (await this.search(accountId, atMs, user)).past;
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
        `SELECT version, created_at, currency, $2::bigint AS wanted FROM ${shard.tables.accounts}
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

  /** Finds the last version that is not later than a time, by a binary search: versions have no gaps. */
  private async search(
    accountId: number,
    atMs: number,
    user: string,
  ): Promise<{ readonly past: PastBalance; readonly isCurrent: boolean }> {
    const shard = this.router.of(accountId);
    const [row] = await shard.query<PastRow>(
      selectFound(shard.tables),
      [accountId, new Date(atMs)],
      user,
      accountId,
    );
    if (!row) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND' });
    // Accounts that were opened before this was recorded count as old as the world.
    if (row.created_at && atMs < row.created_at.getTime()) throw new LedgerError({ code: 'NOT_YET_OPENED' });
    return { past: pastFromRow(accountId, row), isCurrent: row.version === row.current_version };
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
 * $1 is the account, $2 the time. Each step reads one transaction by the index of versions: 20 of them for a million.
 * Between `low` and `high` are the versions that it may be; `low` is not later than the time.
 */
function selectFound(tables: SchemaTables): string {
  const { accounts, allTransactions } = tables;
  return `WITH RECURSIVE account AS (
      SELECT version, created_at, currency, posted_at FROM ${accounts} WHERE account_id = $1
    ), search (low, high) AS (
      SELECT CASE WHEN posted_at <= $2::timestamptz THEN version ELSE ${FIRST_VERSION} END, version + 1 FROM account
      UNION ALL
      SELECT CASE WHEN is_later THEN low ELSE middle END, CASE WHEN is_later THEN middle ELSE high END
      FROM search,
        LATERAL (SELECT (low + high) / 2 AS middle) m,
        LATERAL (
          SELECT timestamp > $2::timestamptz AS is_later FROM ${allTransactions} t
          WHERE account_id = $1 AND version_after = middle LIMIT 1) t
      WHERE high - low > 1
    )
    ${selectPast('SELECT version, created_at, currency, low AS wanted FROM account, search WHERE high - low = 1', tables)}`;
}

/** @param wanted a SELECT of an account, $1, with the version that is wanted */
function selectPast(wanted: string, { allTransactions }: SchemaTables): string {
  return `SELECT a.version AS current_version, a.created_at, a.currency, a.wanted AS version, t.balance_after, t.held_after
    FROM (${wanted}) a LEFT JOIN LATERAL (
      SELECT balance_after, held_after FROM ${allTransactions} t
      WHERE account_id = $1 AND version_after = a.wanted LIMIT 1) t ON true`;
}

function pastFromRow(
  accountId: number,
  { version, currency, balance_after, held_after }: PastRow,
): PastBalance {
  const decimals = decimalsOf(currency);
  return {
    accountId,
    version: Number(version),
    decimals,
    balance: balance_after === null ? 0n : moneyFromColumn(balance_after, decimals),
    held: held_after === null ? 0n : moneyFromColumn(held_after, decimals),
  };
}
