import { readFile } from 'node:fs/promises';
import { isThisMachine } from '../config/values.js';
import { bytesOfDistributed, isCitus } from '../storage/citus.js';
import { describeServer, type ShardAddress } from '../config/shard-address.js';
import { locateShard } from '../sharding/shard-locator.js';
import { messageOf } from '../domain/error-message.js';
import { CommandError } from './command-error.js';
import { asService, withSession } from './shards.js';

export interface ShardStatus {
  readonly shard: number;
  /** `host:port/database` */
  readonly server: string;
  readonly schema: string;
  /** Why it can't be reached; undefined: it is up, and the rest is known. */
  readonly problem?: string;
  readonly accounts?: number;
  readonly bytes?: number;
  /** Transactions whose events have not been published yet. */
  readonly outbox?: number;
  /** Commands queued in the running service; undefined: not known. */
  readonly queue?: number;
}

const TIMEOUT_MS = 10_000;
const SERVICE_TIMEOUT_MS = 1_000;

/** The running service whose queues are shown. */
export interface ServiceAddress {
  readonly url: string;
  /** File with an API key that has the scope admin; undefined: no key is sent. */
  readonly keyFile?: string;
}

export interface ShardList {
  readonly shards: readonly ShardStatus[];
  /** Why the queues are unknown; undefined: they are known. */
  readonly noQueues: string | undefined;
}

/** The current state of every shard. @throws CommandError when the key can't be read, or would be sent unencrypted */
export async function listShards(
  shards: readonly ShardAddress[],
  service: ServiceAddress,
): Promise<ShardList> {
  const asked = await askForQueues(service);
  const queues = typeof asked === 'string' ? new Map<number, number>() : asked;
  const statuses = await Promise.all(
    shards.map(async (configured, shard) => ({
      shard,
      server: describeServer(configured.url),
      schema: configured.schema,
      ...(await readShard(configured).catch((error: unknown) => ({ problem: messageOf(error) }))),
      queue: queues.get(shard),
    })),
  );
  return { shards: statuses, noQueues: typeof asked === 'string' ? asked : undefined };
}

async function readShard(configured: ShardAddress) {
  const { address } = await locateShard(configured);
  return withSession(asService(address), 'bank-shards', async ({ client, tables }) => {
    await client.query(`BEGIN; SET LOCAL statement_timeout = ${TIMEOUT_MS}`);
    const query = async (sql: string, values?: unknown[]) => (await client.query<object>(sql, values)).rows;
    const distributed = (await isCitus(query)) ? await bytesOfDistributed(query, address.schema) : undefined;
    const { rows } = await client.query<{ accounts: string; bytes: string; outbox: string }>(
      `SELECT (SELECT count(*) FROM ${tables.accounts}) AS accounts,
              (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r') AS bytes,
              (SELECT coalesce(sum(cardinality(transaction_ids)), 0) FROM ${tables.outbox}) AS outbox`,
      [address.schema],
    );
    const [row] = rows;
    return {
      server: describeServer(address.url),
      accounts: Number(row?.accounts),
      bytes: distributed ?? Number(row?.bytes),
      outbox: Number(row?.outbox),
    };
  });
}

/** @returns the depth of each shard's queue, from the metrics of a running service; or why it is unknown */
async function askForQueues(service: ServiceAddress): Promise<ReadonlyMap<number, number> | string> {
  const { url } = service;
  const headers = await credentialFor(service);
  let response: Response;
  let text: string;
  try {
    const signal = AbortSignal.timeout(SERVICE_TIMEOUT_MS);
    // Following a redirect could hand the key to somebody else.
    response = await fetch(`${url}/metrics`, { headers, redirect: 'error', signal });
    text = await response.text();
  } catch {
    return `no service answers at ${url}`;
  }
  if (!response.ok) return `${url} answers ${response.status}${HINTS[response.status] ?? ''}`;
  const found = text.matchAll(/^bank_ledger_queue_depth\{shard="(\d{1,4})"\} (\d{1,9})$/gm);
  return new Map([...found].map(([, shard, depth]) => [Number(shard), Number(depth)]));
}

const HINTS: Readonly<Record<number, string>> = {
  401: ': name a file with an API key with the scope admin (--key-file), or set MANAGEMENT_PORT',
  403: ': the key needs the scope admin',
  404: ': if it has a MANAGEMENT_PORT, use that (--service)',
};

async function credentialFor({ url, keyFile }: ServiceAddress): Promise<Record<string, string>> {
  if (keyFile === undefined) return {};
  const { protocol, hostname } = new URL(url);
  if (protocol !== 'https:' && !isThisMachine(hostname.replace(/^\[|\]$/g, ''))) {
    throw new CommandError(`a key is sent only over TLS or to this machine, not to ${url}`);
  }
  const key = (
    await readFile(keyFile, 'utf8').catch((error: unknown) => {
      throw new CommandError(`the key can't be read: ${messageOf(error)}`, { cause: error });
    })
  ).trim();
  if (!/^[\x21-\x7e]{1,4096}$/.test(key))
    throw new CommandError(`${keyFile} must hold a key on a single line`);
  return { authorization: `Bearer ${key}` };
}
