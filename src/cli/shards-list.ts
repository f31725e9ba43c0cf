import { Client } from 'pg';
import { bytesOfDistributed, isCitus } from '../database/citus.js';
import { describeServer, type ShardAddress } from '../database/shard-address.js';
import { locateShard } from '../database/shard-locator.js';
import { tablesOf } from '../database/tables.js';
import { messageOf } from '../error-message.js';

export interface ShardStatus {
  readonly shard: number;
  /** `host:port/database` */
  readonly server: string;
  readonly schema: string;
  /** Why it can't be asked; undefined: it is up, and the rest is known. */
  readonly problem?: string;
  readonly accounts?: number;
  readonly bytes?: number;
  /** Transactions whose events are still to be published. */
  readonly outbox?: number;
  /** Commands that wait in the running service; undefined: no service was asked. */
  readonly queue?: number;
}

const TIMEOUT_MS = 10_000;
const SERVICE_TIMEOUT_MS = 1_000;

/** Every shard as it is just now. @param serviceUrl whose queues are shown, if it runs */
export async function listShards(
  shards: readonly ShardAddress[],
  serviceUrl: string,
): Promise<ShardStatus[]> {
  const queues = await readQueues(serviceUrl);
  return Promise.all(
    shards.map(async (configured, shard) => ({
      shard,
      server: describeServer(configured.url),
      schema: configured.schema,
      ...(await readShard(configured).catch((error: unknown) => ({ problem: messageOf(error) }))),
      queue: queues.get(shard),
    })),
  );
}

async function readShard(configured: ShardAddress) {
  const { url, schema } = (await locateShard(configured)).address;
  const client = new Client({
    connectionString: url,
    application_name: 'bank-shards',
    connectionTimeoutMillis: TIMEOUT_MS,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const tables = tablesOf(schema);
    await client.query(`BEGIN; SET LOCAL statement_timeout = ${TIMEOUT_MS}`);
    const query = async (sql: string, values?: unknown[]) => (await client.query<object>(sql, values)).rows;
    const distributed = (await isCitus(query)) ? await bytesOfDistributed(query, schema) : undefined;
    const { rows } = await client.query<{ accounts: string; bytes: string; outbox: string }>(
      `SELECT (SELECT count(*) FROM ${tables.accounts}) AS accounts,
              (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r') AS bytes,
              (SELECT coalesce(sum(cardinality(transaction_ids)), 0) FROM ${tables.outbox}) AS outbox`,
      [schema],
    );
    const [row] = rows;
    return {
      server: describeServer(url),
      accounts: Number(row?.accounts),
      bytes: distributed ?? Number(row?.bytes),
      outbox: Number(row?.outbox),
    };
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** The depth of each shard's queue, from the metrics of a running service; empty when none answers. */
async function readQueues(serviceUrl: string): Promise<ReadonlyMap<number, number>> {
  try {
    const response = await fetch(`${serviceUrl}/metrics`, {
      signal: AbortSignal.timeout(SERVICE_TIMEOUT_MS),
    });
    const found = (await response.text()).matchAll(/^bank_ledger_queue_depth\{shard="(\d+)"\} (\d+)$/gm);
    return new Map([...found].map(([, shard, depth]) => [Number(shard), Number(depth)]));
  } catch {
    return new Map();
  }
}

/** The report for people: one line a shard. */
export function shardsText(shards: readonly ShardStatus[]): string {
  const head = ['shard', 'server', 'schema', 'accounts', 'size', 'outbox', 'queue', 'state'];
  const lines = shards.map(({ shard, server, schema, accounts, bytes, outbox, queue, problem }) => [
    String(shard),
    server,
    schema,
    String(accounts ?? '–'),
    bytes === undefined ? '–' : sizeText(bytes),
    String(outbox ?? '–'),
    String(queue ?? '–'),
    problem === undefined ? 'up' : `down: ${problem}`,
  ]);
  const widths = head.map((_, column) =>
    Math.max(...[head, ...lines].map((line) => line[column]?.length ?? 0)),
  );
  return [head, ...lines]
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 2 ** (10 * unit)).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}
