import type { Client } from 'pg';
import {
  describeShard,
  forwarded,
  type ForwardingAddress,
  type ShardAddress,
} from '../config/shard-address.js';
import { USD } from '../config/currencies.js';
import { MAX_SILENCE_MS, withClient } from '../storage/connection.js';
import { tablesOf } from '../storage/tables.js';

/** Which shard of which bank it is, according to the shard's own row. */
export interface ShardIdentity {
  readonly bankId: string;
  readonly index: number;
  readonly count: number;
}

export interface LocatedShard {
  /** Where the shard is now: one that was moved has left its new address at the old place. */
  readonly address: ShardAddress;
  /** Undefined: the shard is not part of a bank yet. */
  readonly identity: ShardIdentity | undefined;
  /** The code of its bank's currency; undefined: it is not part of a bank yet. */
  readonly currency: string | undefined;
  /** Whether it holds any account. */
  readonly inUse: boolean;
}

/** The server can't be used at all, and waiting does not help. */
export class ServerTooOldError extends Error {}

const OLDEST_SERVER = 140_000;
const CONNECT_TIMEOUT_MS = 5_000;
const MAX_MOVES = 16;

/** The shard has left its old place and its new one is not ready: a move is about to end, or was interrupted there. */
export class ShardMovingError extends Error {
  constructor(readonly address: ShardAddress) {
    super(
      `${describeShard(address)} is not ready yet: the shard is being moved there. If no move is at work, ` +
        'run `shards move` to there again, and it will finish.',
    );
    this.name = 'ShardMovingError';
  }
}

/**
 * Finds a shard by following the addresses that its moves have left behind.
 *
 * @throws ShardMovingError; any error of connecting or of a query
 */
export async function locateShard(configured: ShardAddress): Promise<LocatedShard> {
  let address = configured;
  for (let moves = 0; moves <= MAX_MOVES; moves++) {
    const seen = await lookAt(address);
    if (!seen.movedTo) {
      if (moves > 0 && !seen.identity) throw new ShardMovingError(address);
      const { identity, currency, inUse } = seen;
      return { address, identity, currency, inUse };
    }
    address = forwarded(address, seen.movedTo);
  }
  throw new Error(`${describeShard(configured)}: the addresses that its moves left behind lead nowhere`);
}

interface Sight {
  readonly movedTo: ForwardingAddress | undefined;
  readonly identity: ShardIdentity | undefined;
  readonly currency: string | undefined;
  readonly inUse: boolean;
}

function lookAt({ url, migrationUrl = url, schema }: ShardAddress): Promise<Sight> {
  const options = { connectTimeoutMs: CONNECT_TIMEOUT_MS, timeoutMs: MAX_SILENCE_MS };
  return withClient(migrationUrl, options, async (client) => {
    await checkVersion(client);
    return readSchema(client, schema);
  });
}

async function checkVersion(client: Client): Promise<void> {
  const { rows } = await client.query<{ version: string }>(
    `SELECT current_setting('server_version_num') AS version`,
  );
  const version = Number(rows[0]?.version);
  if (version >= OLDEST_SERVER) return;
  throw new ServerTooOldError(
    `PostgreSQL 14 or later is needed; the server is ${Math.floor(version / 10_000)}`,
  );
}

async function readSchema(client: Client, schema: string): Promise<Sight> {
  const found = await client.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
     WHERE nspname = $1 AND relname IN ('accounts', 'shard_identity', 'shard_moved')`,
    [schema],
  );
  const has = (name: string) => found.rows.some((row) => row.name === name);
  const tables = tablesOf(schema);
  const moved = has('shard_moved')
    ? await client.query<ForwardingAddress>(`SELECT host, port, database FROM ${tables.shardMoved}`)
    : undefined;
  if (moved?.rows[0]) {
    return { movedTo: moved.rows[0], identity: undefined, currency: undefined, inUse: false };
  }
  // The schema of an older release has no currency.
  const recorded = has('shard_identity')
    ? await client.query<ShardIdentity & { currency: string }>(
        `SELECT bank_id AS "bankId", shard_index AS index, shard_count AS count,
                coalesce(to_jsonb(i) ->> 'currency', '${USD.code}') AS currency
         FROM ${tables.shardIdentity} i`,
      )
    : undefined;
  const used = has('accounts') ? await client.query(`SELECT FROM ${tables.accounts} LIMIT 1`) : undefined;
  const inUse = (used?.rowCount ?? 0) > 0;
  const row = recorded?.rows[0];
  if (!row) return { movedTo: undefined, identity: undefined, currency: undefined, inUse };
  const { currency, ...identity } = row;
  return { movedTo: undefined, identity, currency, inUse };
}
