import { userInfo } from 'node:os';
import type { ClientBase } from 'pg';
import type { EntityManager } from 'typeorm';
import { withClient } from '../storage/connection.js';
import { AuditEventEntity } from '../storage/entities/audit-event.entity.js';
import type { ShardAddress } from '../config/shard-address.js';
import { tablesOf } from '../storage/tables.js';
import { GENESIS_HASH, nextHash } from '../domain/hash-chain.js';

/** The acts that starting the service records. A log with no others belongs to a bank without a history. */
export const START_ACTIONS = ['bank.migrated', 'bank.handed_over'] as const;

/**
 * Of the schema: an older release, which does not know the column, can't record an act, and so can't carry it out. The
 * schema of an older backup, or of a bank that is backed up before it is migrated, has another name for it or none.
 */
const EPOCH = 3;

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * A change to the bank outside the ledger, or a copy of the bank, made by an operator or by the service as it starts.
 */
export interface AdministrativeAct {
  /** Object and verb, like `key.revoked`; at most 50 characters. */
  readonly action: string;
  /** What was done, and to what. Never a secret. */
  readonly details: Readonly<Record<string, unknown>>;
}

export interface AuditEvent {
  readonly eventId: number;
  readonly happenedAt: Date;
  readonly action: string;
  readonly actor: string;
  /** The JSON text that was hashed. */
  readonly details: string;
}

interface Drawn {
  readonly event_id: string;
  readonly happened_at: Date;
  /** Null: there is none. */
  readonly epoch_column: string | null;
}

/** The text of an event that is hashed. The details are last, because they may contain any character. */
function lineOfEvent({ eventId, happenedAt, action, actor, details }: AuditEvent): string {
  return `${eventId}:${happenedAt.getTime()}:${action}:${JSON.stringify(actor)}:${details}`;
}

/**
 * Adds an act to the audit log, chained to the one before. Call it in the transaction that carries out the act, so that
 * neither exists without the other.
 *
 * Races: an advisory lock, which ends with the transaction, lets in one at a time.
 *
 * @param schema the schema of the bank's first shard
 */
export async function recordAct(
  client: Pick<ClientBase, 'query'>,
  schema: string,
  { action, details }: AdministrativeAct,
): Promise<AuditEvent> {
  const { auditEvents } = tablesOf(schema);
  await client.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`bank-audit:${schema}`]);
  const { rows: drawn } = await client.query<Drawn>(
    `SELECT nextval(pg_get_serial_sequence($1, 'event_id')) AS event_id,
            date_trunc('milliseconds', clock_timestamp()) AS happened_at,
            (SELECT attname::text FROM pg_attribute
             WHERE attrelid = to_regclass($1) AND attname IN ('epoch', 'schema_epoch', 'tables_epoch')) AS epoch_column`,
    [auditEvents],
  );
  const { rows: last } = await client.query<{ hash: string }>(
    `SELECT encode(hash, 'hex') AS hash FROM ${auditEvents} ORDER BY event_id DESC LIMIT 1`,
  );
  const [{ event_id, happened_at, epoch_column: epoch }] = drawn as [Drawn];
  const event = {
    eventId: Number(event_id),
    happenedAt: happened_at,
    action,
    actor: userOfSystem(),
    details: JSON.stringify(details),
  };
  await client.query(
    `INSERT INTO ${auditEvents} (event_id, happened_at, action, actor, details, hash${epoch === null ? '' : `, ${epoch}`})
     VALUES ($1, $2, $3, $4, $5, decode($6, 'hex')${epoch === null ? '' : `, ${EPOCH}`})`,
    [
      event.eventId,
      event.happenedAt,
      event.action,
      event.actor,
      event.details,
      nextHash(last[0]?.hash ?? GENESIS_HASH, lineOfEvent(event)),
    ],
  );
  return event;
}

/**
 * Records an act in a transaction of its own, for acts that are not carried out in one.
 *
 * @param shards the bank's shards; the first one holds the audit log
 */
export async function recordActOn(shards: readonly ShardAddress[], act: AdministrativeAct): Promise<void> {
  const [{ url, migrationUrl = url, schema }] = shards as [ShardAddress];
  const options = { name: 'bank-audit', connectTimeoutMs: CONNECT_TIMEOUT_MS };
  await withClient(migrationUrl, options, async (client) => {
    await client.query('BEGIN');
    await recordAct(client, schema, act);
    await client.query('COMMIT');
  });
}

export interface ChainedEvent extends AuditEvent {
  readonly hash: string;
}

/** The whole audit log and the result of checking it. */
export interface AuditLog {
  readonly events: readonly ChainedEvent[];
  /** The first event whose hash does not follow from the hash before and its own text; undefined: all do. */
  readonly firstBroken: number | undefined;
}

/**
 * Reads and checks the whole audit log: each entry is an operator's act, so it stays short.
 *
 * @param manager of the first shard
 */
export async function readAuditLog(manager: EntityManager): Promise<AuditLog> {
  const rows = await manager.find(AuditEventEntity, { order: { eventId: 'ASC' } });
  const events = rows.map(({ eventId, happenedAt, action, actor, details, hash }) => ({
    ...{ eventId, happenedAt, action, actor, details },
    hash: hash.toString('hex'),
  }));
  const broken = events.find((event, index) => {
    const previous = events[index - 1]?.hash ?? GENESIS_HASH;
    return event.hash !== nextHash(previous, lineOfEvent(event));
  });
  return { events, firstBroken: broken?.eventId };
}

/** The operating system's user; in a container it may be a number without a name. */
export function userOfSystem(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.()}`;
  }
}
