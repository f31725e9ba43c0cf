import { createHash } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { resolve } from 'node:path';
import { readAuditLog, recordActOn } from '../../audit/audit-log.js';
import type { ShardAddress } from '../../config/shard-address.js';
import { GENESIS_HASH } from '../../domain/hash-chain.js';
import { messageOf } from '../../domain/error-message.js';
import { CommandError } from '../command-error.js';
import type { Control } from '../control.js';
import { withSessions, type ShardSession } from '../shards.js';
import { FORMAT, FORMAT_VERSION, readHeads, type EventsHead, type Head } from './heads-file.js';

export interface ExportReport {
  readonly accounts: number;
  /**
   * SHA-256 of all lines before the last, which holds it. Keep it where nobody who can write to the database can change
   * it.
   */
  readonly sha256: string;
}

/** Accounts per statement. */
const PAGE = 10_000;
/** How many differing heads a report names. */
const MAX_DIFFERENT = 100;

/**
 * Writes the head of every account's chain, and of the audit log's, into a new file, as lines of JSON. Each shard is
 * read in one snapshot, while the service goes on. An incomplete file is removed.
 *
 * @throws CommandError when the file exists already, or can't be created
 */
export async function exportHeads(
  shards: readonly ShardAddress[],
  bankId: string,
  path: string,
  control: Control = {},
): Promise<ExportReport> {
  const file = await open(path, 'wx', 0o600).catch((error: unknown) => {
    throw new CommandError(`${path} can't be made: ${messageOf(error)}`, { cause: error });
  });
  try {
    // Recorded before anything is copied, so that the exported head of the log includes this event.
    await recordActOn(shards, { action: 'heads.exported', details: { to: resolve(path) } });
    const report = await withSessions(shards, 'bank-audit', (sessions) =>
      writeHeads(sessions, bankId, file, control),
    );
    await file.sync();
    return report;
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

async function writeHeads(
  sessions: readonly ShardSession[],
  bankId: string,
  file: FileHandle,
  { onProgress, signal }: Control,
): Promise<ExportReport> {
  const digest = createHash('sha256');
  const write = async (...lines: readonly object[]) => {
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    digest.update(text);
    await file.writeFile(text);
  };
  for (const { client } of sessions) await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  const total = await countAccounts(sessions);
  await write({ format: FORMAT, formatVersion: FORMAT_VERSION, bankId, takenAt: new Date().toISOString() });
  let accounts = 0;
  for (const session of sessions) {
    for await (const heads of headsOf(session)) {
      signal?.throwIfAborted();
      await write(...heads);
      accounts += heads.length;
      onProgress?.(accounts, total);
    }
  }
  const [{ queryRunner }] = sessions as [ShardSession];
  const last = (await readAuditLog(queryRunner.manager)).events.at(-1);
  if (last) await write({ lastEventId: last.eventId, hash: last.hash });
  const sha256 = digest.copy().digest('hex');
  await write({ accounts, sha256 });
  return { accounts, sha256 };
}

async function countAccounts(sessions: readonly ShardSession[]): Promise<number> {
  const counts = await Promise.all(
    sessions.map(async ({ client, tables }) => {
      const { rows } = await client.query<{ accounts: string }>(
        `SELECT count(*) AS accounts FROM ${tables.accounts}`,
      );
      return Number(rows[0]?.accounts);
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

interface HeadRow {
  account_id: string;
  version: string;
  hash: string;
  /** NULL, like the hash, without an event. */
  revision: number | null;
  events_hash: string | null;
}

async function* headsOf({ client, tables }: ShardSession): AsyncGenerator<Head[]> {
  for (let after = 0; ;) {
    const { rows } = await client.query<HeadRow>(
      `SELECT a.account_id, a.version, encode(a.head_hash, 'hex') AS hash, e.revision,
              encode(e.hash, 'hex') AS events_hash
       FROM ${tables.accounts} a LEFT JOIN ${tables.accountEvents} e USING (account_id, revision)
       WHERE a.account_id > $1 ORDER BY a.account_id LIMIT ${PAGE}`,
      [after],
    );
    yield rows.map(({ account_id, version, hash, revision, events_hash }) => ({
      accountId: Number(account_id),
      version: Number(version),
      hash,
      ...(revision !== null && events_hash !== null && { events: { revision, hash: events_hash } }),
    }));
    if (rows.length < PAGE) return;
    after = Number(rows.at(-1)?.account_id);
  }
}

export interface CheckReport {
  readonly takenAt: string;
  readonly accounts: number;
  /** The first {@link MAX_DIFFERENT} accounts whose history no longer contains the exported head. */
  readonly different: readonly number[];
  readonly differing: number;
  /** Whether the audit log no longer contains its exported head. */
  readonly eventsDiffer: boolean;
}

/**
 * Compares an earlier export with the bank: each exported head must still be the hash of its account's transaction with
 * that version, or of its change with that revision. `verify` checks that the rest of the history leads there.
 *
 * @throws CommandError when the file is damaged, or of another bank
 */
export async function checkHeads(
  shards: readonly ShardAddress[],
  bankId: string,
  path: string,
  { onProgress, signal }: Control = {},
): Promise<CheckReport> {
  return withSessions(shards, 'bank-audit', async (sessions) => {
    const total = await countAccounts(sessions);
    const different: number[] = [];
    let [takenAt, differing, done] = ['', 0, 0];
    let exported: EventsHead | undefined;
    const { accounts } = await readHeads(
      path,
      {
        onFirst: (first) => {
          takenAt = first.takenAt;
          if (first.bankId === bankId) return;
          throw new CommandError(`${path} is of another bank (${first.bankId}; this one is ${bankId})`);
        },
        onHeads: async (heads) => {
          const missing = (
            await Promise.all(sessions.map((session) => missingOf(session, heads, sessions.length)))
          ).flat();
          differing += missing.length;
          different.push(...missing.slice(0, MAX_DIFFERENT - different.length));
          done += heads.length;
          onProgress?.(Math.min(done, total), total);
        },
        onEvents: (events) => (exported = events),
      },
      signal,
    );
    const eventsDiffer = exported !== undefined && !(await hasEvent(sessions[0] as ShardSession, exported));
    return { takenAt, accounts, different, differing, eventsDiffer };
  });
}

/** Those heads of the shard's accounts that are not in its history. */
async function missingOf(
  { client, tables, index }: ShardSession,
  heads: readonly Head[],
  count: number,
): Promise<number[]> {
  const mine = heads.filter(({ accountId }) => (accountId - 1) % count === index);
  const { rows } = await client.query<{ account_id: string }>(
    `SELECT k.account_id
     FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::int[], $5::text[])
       AS k (account_id, version, hash, revision, events_hash)
     LEFT JOIN ${tables.accounts} a USING (account_id)
     LEFT JOIN ${tables.allTransactions} t ON t.account_id = k.account_id AND t.version_after = k.version
     LEFT JOIN ${tables.accountEvents} e ON e.account_id = k.account_id AND e.revision = k.revision
     WHERE a.account_id IS NULL OR a.version < k.version OR a.revision < k.revision
        OR k.events_hash IS DISTINCT FROM encode(e.hash, 'hex')
        OR k.hash IS DISTINCT FROM CASE k.version WHEN 1 THEN '${GENESIS_HASH}' ELSE encode(t.hash, 'hex') END
     ORDER BY k.account_id`,
    [
      mine.map(({ accountId }) => accountId),
      mine.map(({ version }) => version),
      mine.map(({ hash }) => hash),
      mine.map(({ events }) => events?.revision ?? null),
      mine.map(({ events }) => events?.hash ?? null),
    ],
  );
  return rows.map((row) => Number(row.account_id));
}

async function hasEvent({ queryRunner }: ShardSession, { lastEventId, hash }: EventsHead): Promise<boolean> {
  const { events } = await readAuditLog(queryRunner.manager);
  return events.some((event) => event.eventId === lastEventId && event.hash === hash);
}
