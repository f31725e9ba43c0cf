import type { ClientBase } from 'pg';
import { tablesOf } from '../database/tables.js';
import { GENESIS_HASH, nextHash } from '../domain/chain.js';
import { lineOfEvent, type AuditEvent } from './audit-log.js';

export interface ChainedEvent extends AuditEvent {
  readonly hash: string;
}

/** The whole audit log, checked. */
export interface AuditLog {
  readonly events: readonly ChainedEvent[];
  /** The first event whose hash is not that of the one before and its own: it was changed, or what was before it. */
  readonly firstBroken: number | undefined;
}

interface EventRow {
  event_id: string;
  happened_at: Date;
  action: string;
  actor: string;
  details: string;
  hash: string;
}

/** Reads and checks the audit log, which people write by hand: it stays short. @param schema of the first shard */
export async function readAuditLog(client: Pick<ClientBase, 'query'>, schema: string): Promise<AuditLog> {
  const { rows } = await client.query<EventRow>(
    `SELECT event_id, happened_at, action, actor, details, encode(hash, 'hex') AS hash
     FROM ${tablesOf(schema).auditEvents} ORDER BY event_id`,
  );
  const events = rows.map((row) => ({
    eventId: Number(row.event_id),
    happenedAt: row.happened_at,
    action: row.action,
    actor: row.actor,
    details: row.details,
    hash: row.hash,
  }));
  const broken = events.find((event, index) => {
    const previous = events[index - 1]?.hash ?? GENESIS_HASH;
    return event.hash !== nextHash(previous, lineOfEvent(event));
  });
  return { events, firstBroken: broken?.eventId };
}
