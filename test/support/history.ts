import { Client } from 'pg';
import { chainAll, UNCHAINED } from '../../tools/bench/chained.js';
import { LedgerReader, type TransactionFilter } from '../../src/ledger/read/ledger-reader.js';
import { ShardReader } from '../../src/ledger/read/shard-reader.js';
import { ShardRouter } from '../../src/sharding/shard-router.js';
import { ShardPool } from '../../src/storage/shard-pool.js';
import { tablesOf } from '../../src/storage/tables.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import type { TestLedger } from './ledger.js';

/** When histories begin. */
const OLD = new Date('2025-01-01');

/**
 * Opens an account with a history of one-cent credits, a minute apart; every other one has the key `key-<version>`.
 *
 * @returns its id
 */
export async function openWithHistory(client: Client, length: number): Promise<number> {
  const opened = await client.query<{ id: number }>(
    `INSERT INTO bank.accounts (balance, version, created_at, posted_at)
     VALUES ($1::int * 0.01, $1 + 1, $2::timestamptz, $2::timestamptz + $1 * interval '1 minute') RETURNING account_id::int AS id`,
    [length, OLD],
  );
  const accountId = opened.rows[0]?.id as number;
  await client.query(
    `INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after, idempotency_key, timestamp, hash)
     SELECT $1::int, 'credit', 0.01, n * 0.01, n + 1, CASE n % 2 WHEN 1 THEN 'key-' || n + 1 END,
            $2::timestamptz + n * interval '1 minute', ${UNCHAINED}
     FROM generate_series(1, $3::int) n`,
    [accountId, OLD, length],
  );
  await chainAll(client, 'bank');
  return accountId;
}

/** When such an account reached a version. */
export const timeOf = (version: number) => new Date(OLD.getTime() + (version - 1) * 60_000);

/** from, from - 1, …, to */
export const countdown = (from: number, to: number) =>
  Array.from({ length: from - to + 1 }, (_, index) => from - index);

export function openReader(ledger: TestLedger): LedgerReader {
  return new LedgerReader(openShards(ledger), ledger.balances);
}

/** The read side of a ledger with one shard. */
export function openShards({ dataSource, runner, balances }: TestLedger): ShardRouter<ShardReader> {
  return new ShardRouter([
    new ShardReader(new ShardPool(dataSource), runner, tablesOf('bank'), balances, 5_000),
  ]);
}

/** The versions that a listing returns, page by page. */
export async function walk(
  reader: LedgerReader,
  accountId: number,
  limit: number,
  filter: TransactionFilter = {},
): Promise<number[][]> {
  const pages: number[][] = [];
  for (let below: number | undefined = Number.MAX_SAFE_INTEGER; below !== undefined;) {
    const page = await reader.transactionsBelow(accountId, below, limit, filter, THE_SERVICE);
    pages.push(page.transactions.map(({ versionAfter }) => versionAfter));
    below = page.nextBelow;
  }
  return pages;
}
