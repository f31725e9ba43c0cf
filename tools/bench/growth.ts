import type { Client } from 'pg';
import { migrate } from '../../src/storage/migrate.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { tablesOf } from '../../src/storage/tables.js';
import { encodeCursor } from '../../src/http/validation/cursor.js';
import { createChainHash, GENESIS, LINE } from './chained.js';
import type { Figures, Goal } from './figures.js';
import { databaseMeters, serviceMeter } from './meters.js';
import { withClient, withService, wrk, type Accounts } from './tools.js';

/** A bank with a history. */
export interface Size {
  readonly accounts: number;
  /** The same number for each account. */
  readonly transactions: number;
}

export interface GrowthLengths {
  readonly seconds: number;
  /**
   * Load before each measurement, long enough that the pages it touches are in memory, and in the log since the last
   * checkpoint.
   */
  readonly warmUpSeconds: number;
}

/** Accounts filled by one statement. */
const CHUNK = 50_000;
const PAGE_ROWS = 100;
const LISTING_CONNECTIONS = 16;

export function sizeName({ accounts, transactions }: Size): string {
  return `POST, ${accounts.toLocaleString('en')} accounts, ${transactions.toLocaleString('en')} transactions`;
}

export function growthGoals(sizes: readonly Size[]): Goal[] {
  const [smallest, largest] = [sizes[0], sizes.at(-1)];
  const goals: Goal[] = [{ figure: 'listing, last page', base: 'listing, first page', least: 0.8, aim: 1 }];
  if (smallest && largest && smallest !== largest) {
    goals.unshift({ figure: sizeName(largest), base: sizeName(smallest), least: 0.7, aim: 0.95 });
  }
  return goals;
}

/** Builds a bank of each size, each in a schema of its own on one server. */
export async function buildBanks(url: string, sizes: readonly Size[]): Promise<ShardAddress[]> {
  const shards: ShardAddress[] = [];
  for (const size of sizes) {
    const shard = { url, schema: `grown_${size.accounts}_${size.transactions}` };
    console.error(`building ${size.accounts} accounts with ${size.transactions} transactions`);
    await migrate(shard, { index: 0, count: 1 });
    await withClient(url, (client) => fill(client, shard, size));
    shards.push(shard);
  }
  return shards;
}

/** One round: each size in turn. */
export async function measureGrowth(
  shards: readonly ShardAddress[],
  sizes: readonly Size[],
  figures: Figures,
  { seconds, warmUpSeconds }: GrowthLengths,
): Promise<void> {
  for (const [index, shard] of shards.entries()) {
    const size = sizes[index] as Size;
    // Account 1 is reserved for the listings.
    const accounts: Accounts = { first: 2, last: size.accounts };
    const database = await databaseMeters(shard.url);
    await withService({ DATABASE_URL: shard.url, DATABASE_SCHEMA: shard.schema }, async ({ url, pid }) => {
      const run = { url, script: 'post.lua', accounts } as const;
      await wrk({ ...run, seconds: warmUpSeconds });
      const meters = { ...serviceMeter(pid), ...database };
      await figures.noteLoad(sizeName(size), meters, () => wrk({ ...run, seconds }));
    });
  }
}

/** Measures the first and the last page of an account with a long history. */
export async function measureListings(
  shard: ShardAddress,
  history: number,
  figures: Figures,
  seconds: number,
): Promise<void> {
  const path = `/accounts/1/transactions?limit=${PAGE_ROWS}`;
  const last = encodeCursor('transactions/1', PAGE_ROWS + 2);
  const database = await databaseMeters(shard.url);
  await withService({ DATABASE_URL: shard.url, DATABASE_SCHEMA: shard.schema }, async ({ url, pid }) => {
    const run = { url, script: 'path.lua', accounts: { first: 1, last: 1 } } as const;
    const each = { ...run, connections: LISTING_CONNECTIONS, seconds };
    const meters = { ...serviceMeter(pid), ...database };
    await wrk({ ...each, path });
    await figures.noteLoad('listing, first page', meters, () => wrk({ ...each, path }));
    console.error(`  the last page is number ${Math.ceil(history / PAGE_ROWS)}`);
    await figures.noteLoad('listing, last page', meters, () =>
      wrk({ ...each, path: `${path}&cursor=${last}` }),
    );
  });
}

/** Gives an account of the bank a long history. */
export async function lengthen(shard: ShardAddress, history: number): Promise<void> {
  const { accounts, transactions } = tablesOf(shard.schema);
  await withClient(shard.url, async (client) => {
    await createChainHash(client);
    await client.query(
      `WITH a AS (SELECT balance, version, encode(head_hash, 'hex') AS head FROM ${accounts} WHERE account_id = 1), posted AS (
         INSERT INTO ${transactions}
           (transaction_id, account_id, type, amount, balance_after, version_after, timestamp, hash)
         SELECT transaction_id, account_id, type, amount, balance_after, version_after, timestamp,
                decode(pg_temp.chain_hash(head, ${LINE}) OVER (ORDER BY version_after ROWS UNBOUNDED PRECEDING), 'hex')
         FROM (SELECT nextval(pg_get_serial_sequence($2, 'transaction_id')) AS transaction_id, 1 AS account_id,
                      'credit' AS type, 1.00 AS amount, a.balance + n AS balance_after, a.version + n AS version_after,
                      date_trunc('milliseconds', now()) AS timestamp, NULL AS idempotency_key, a.head
               FROM a, generate_series(1, $1::int) n) t
         RETURNING version_after, hash
       )
       UPDATE ${accounts} SET balance = balance + $1, version = version + $1,
         head_hash = (SELECT hash FROM posted ORDER BY version_after DESC LIMIT 1)
       WHERE account_id = 1`,
      [history, transactions],
    );
    await client.query(`VACUUM ANALYZE ${transactions}`);
  });
}

/**
 * Writes by SQL the history that posting would have left: postings of 100.00, each with a key. Account by account, so
 * that the indexes are filled in order; a constraint's trigger per row would take longer than everything else.
 */
async function fill(client: Client, shard: ShardAddress, size: Size): Promise<void> {
  const { accounts, transactions } = tablesOf(shard.schema);
  const each = size.transactions / size.accounts;
  await client.query('SET session_replication_role = replica; SET synchronous_commit = off');
  await createChainHash(client);
  for (let first = 1; first <= size.accounts; first += CHUNK) {
    const range = [first, Math.min(first + CHUNK - 1, size.accounts), each];
    await client.query(
      `WITH posted AS (
         INSERT INTO ${transactions}
           (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, timestamp, hash)
         SELECT transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, timestamp,
                decode(pg_temp.chain_hash(${GENESIS}, ${LINE})
                  OVER (PARTITION BY account_id ORDER BY version_after ROWS UNBOUNDED PRECEDING), 'hex')
         FROM (SELECT (a - 1) * $3::int + n AS transaction_id, a AS account_id, 'credit' AS type, 100.00 AS amount,
                      100.00 * n AS balance_after, 1 + n AS version_after, gen_random_uuid()::text AS idempotency_key,
                      date_trunc('milliseconds', now()) - interval '1 day' AS timestamp
               FROM generate_series($1::bigint, $2::bigint) a, generate_series(1, $3::int) n) t
         RETURNING account_id, version_after, hash
       )
       INSERT INTO ${accounts} (account_id, balance, version, head_hash)
       SELECT a, 100 * $3::int, 1 + $3::int, coalesce(hash, decode(${GENESIS}, 'hex'))
       FROM generate_series($1::bigint, $2::bigint) a
       LEFT JOIN posted ON account_id = a AND version_after = 1 + $3::int`,
      range,
    );
  }
  await client.query(`
    ALTER TABLE ${accounts} ALTER COLUMN account_id RESTART WITH ${size.accounts + 1};
    ALTER TABLE ${transactions} ALTER COLUMN transaction_id RESTART WITH ${size.transactions + 1}`);
  await client.query(`VACUUM ANALYZE ${accounts}, ${transactions}`);
  await client.query('CHECKPOINT');
}
