import { userInfo } from 'node:os';
import type { ClientBase } from 'pg';
import type { EntityManager } from 'typeorm';
import { withClient } from '../storage/connection.js';
import { AuditEventEntity } from '../storage/entities/audit-event.entity.js';
import type { ShardAddress } from '../config/shard-address.js';
import { tablesOf } from '../storage/tables.js';
import { GENESIS_HASH, nextHash } from '../domain/hash-chain.js';

/** What a start records by itself. A bank with nothing else in its log has no history yet. */
export const START_ACTIONS = ['bank.migrated', 'bank.handed_over'] as const;

const CONNECT_TIMEOUT_MS = 10_000;

/** A change to the bank from outside the ledger, or a copy of it, by an operator or by a start. */
export interface AdministrativeAct {
  /** Object and verb, like `key.revoked`. At most 50 characters. */
  readonly action: string;
  /** What it was done to, and how. Never a secret. */
  readonly details: Readonly<Record<string, unknown>>;
}

export interface AuditEvent {
  readonly eventId: number;
  readonly happenedAt: Date;
  readonly action: string;
  readonly actor: string;
  /** JSON, as it was hashed. */
  readonly details: string;
}

/** An event as its hash sees it; the details are last, for they may hold any character. */
export function lineOfEvent({ eventId, happenedAt, action, actor, details }: AuditEvent): string {
  return `${eventId}:${happenedAt.getTime()}:${action}:${JSON.stringify(actor)}:${details}`;
}

/**
 * Adds an act to the audit log, chained to the one before. To be called in the transaction that carries the act out,
 * so that neither is there without the other.
 *
 * Races: one at a time, by an advisory lock that ends with the transaction.
 *
 * @param schema of the bank's first shard
 */
export async function recordAct(
  client: Pick<ClientBase, 'query'>,
  schema: string,
  { action, details }: AdministrativeAct,
): Promise<AuditEvent> {
  const { auditEvents } = tablesOf(schema);
  await client.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`bank-audit:${schema}`]);
  const { rows: drawn } = await client.query<{ event_id: string; happened_at: Date }>(
    `SELECT nextval(pg_get_serial_sequence($1, 'event_id')) AS event_id,
            date_trunc('milliseconds', clock_timestamp()) AS happened_at`,
    [auditEvents],
  );
  const { rows: last } = await client.query<{ hash: string }>(
    `SELECT encode(hash, 'hex') AS hash FROM ${auditEvents} ORDER BY event_id DESC LIMIT 1`,
  );
  const [{ event_id, happened_at }] = drawn as [{ event_id: string; happened_at: Date }];
  const event = {
    eventId: Number(event_id),
    happenedAt: happened_at,
    action,
    actor: userOfSystem(),
    details: JSON.stringify(details),
  };
  await client.query(
    `INSERT INTO ${auditEvents} (event_id, happened_at, action, actor, details, hash)
     VALUES ($1, $2, $3, $4, $5, decode($6, 'hex'))`,
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
 * Records an act in a transaction of its own, where it can't be recorded in the one that carries it out.
 *
 * @param shards the bank's; the first holds the audit log
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

/** The whole audit log, checked. */
export interface AuditLog {
  readonly events: readonly ChainedEvent[];
  /** The first event whose hash is not that of the one before and its own: it was changed, or what was before it. */
  readonly firstBroken: number | undefined;
}

/** Reads and checks the audit log, which people write by hand: it stays short. @param manager of the first shard */
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

/** In a container the user may be a number that has no name. */
function userOfSystem(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.()}`;
  }
}
