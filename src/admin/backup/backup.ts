import { createWriteStream } from 'node:fs';
import { lstat, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { syncFolder } from '@scalable-banking/embedded-postgres';
import type { Client } from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { recordAct } from '../../audit/audit-log.js';
import type { ShardAddress } from '../../config/shard-address.js';
import { LEASE_COLUMNS } from '../../storage/tables.js';
import { codeOf, messageOf } from '../../domain/error-message.js';
import {
  beginLocked,
  hasTable,
  readSequence,
  selectFrom,
  tablesToCopy,
  type ShardTable,
} from '../catalogue.js';
import { CommandError } from '../command-error.js';
import type { Control } from '../control.js';
import { withSessions, type ShardSession } from '../shards.js';
import { sumTotals, unpairedIn, verifyInSnapshot, type Totals } from '../verify/verify.js';
import { betweenSteps } from './between-steps.js';
import {
  checkFiles,
  fileOf,
  haveRowsOf,
  Measure,
  writeManifest,
  type BackupFile,
  type BackupShard,
  type Manifest,
} from './format.js';
import { someAtOnce } from './some-at-once.js';

/** Three times as fast as the default level on rows of the ledger, and no larger. */
const GZIP_LEVEL = 3;

/** Errors of the disk; the connection to the database never has them. */
const DISK_TROUBLE = /^(ENOSPC|EDQUOT|EFBIG|EACCES|EPERM|EROFS|EIO|ENOENT|EMFILE)$/;

export interface BackupOptions extends Omit<Control, 'onProgress'> {
  /** A folder that does not exist yet or is empty; its parent must exist. */
  readonly to: string;
}

export interface BackupReport {
  readonly folder: string;
  readonly manifest: Manifest;
  /** SHA-256 of manifest.json. */
  readonly sha256: string;
  readonly totals: Totals;
  readonly durationMs: number;
}

/**
 * Writes everything the bank holds into a folder, while the service goes on. Each shard is read in one snapshot, in
 * which its books are verified as well; all snapshots are taken before the first row is read, and between the steps of
 * all transfers between shards, so that none is credited and not debited. The files are then read back.
 *
 * The folder appears under its name once it is complete and on disk. Books with faults are backed up all the same,
 * unchanged: the manifest says so.
 *
 * @throws CommandError
 */
export async function backupBank(
  shards: readonly ShardAddress[],
  options: BackupOptions,
): Promise<BackupReport> {
  const startedMs = performance.now();
  const folder = resolve(options.to);
  const draft = await makeDraft(folder);
  try {
    const content = await exportAll(shards, draft, folder, options);
    options.onStep?.('reading the files again');
    await checkFiles(draft, content, options.signal);
    const sealed = await writeManifest(draft, content);
    await publish(draft, folder);
    const totals = sumTotals(content.shards.map(({ books }) => books));
    return { folder, ...sealed, totals, durationMs: performance.now() - startedMs };
  } catch (error) {
    await rm(draft, { recursive: true, force: true }).catch(() => undefined);
    if (!DISK_TROUBLE.test(codeOf(error) ?? '')) throw error;
    throw new CommandError(`the backup can't be written: ${messageOf(error)}`, { cause: error });
  }
}

/** Creates a folder next to the target, so that an interrupted backup never looks like a complete one. */
async function makeDraft(folder: string): Promise<string> {
  const taken = await isTaken(folder);
  const draft = await mkdtemp(join(dirname(folder), `${basename(folder)}.partial-`)).catch(
    (error: unknown) => {
      // Parents are not created: if a disk is not mounted, the backup would land on another one.
      throw new CommandError(`no folder can be made in ${dirname(folder)}: ${messageOf(error)}`);
    },
  );
  try {
    // Tries the final rename before the work: a mount point, for example, can't be replaced.
    await rename(draft, folder);
    await rename(folder, draft);
    if (taken) await mkdir(folder);
    return draft;
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw new CommandError(`${folder} can't be used: ${messageOf(error)}`);
  }
}

/** @returns whether there is an empty folder already. @throws CommandError for anything else */
async function isTaken(folder: string): Promise<boolean> {
  try {
    if ((await lstat(folder)).isSymbolicLink())
      throw new CommandError(`${folder} is a link; a backup needs a new folder`);
    if ((await readdir(folder)).length === 0) return true;
  } catch (error) {
    if (error instanceof CommandError) throw error;
    if (codeOf(error) === 'ENOENT') return false;
    if (codeOf(error) === 'ENOTDIR')
      throw new CommandError(`${folder} is a file; a backup needs a new folder`);
    throw new CommandError(`${folder} can't be used: ${messageOf(error)}`);
  }
  throw new CommandError(`${folder} is not empty; a backup needs a new folder`);
}

async function exportAll(
  shards: readonly ShardAddress[],
  draft: string,
  folder: string,
  { onStep, signal }: BackupOptions,
): Promise<Omit<Manifest, 'format' | 'formatVersion'>> {
  return withSessions(shards, 'bank-backup', async (sessions) => {
    await record(sessions[0] as ShardSession, folder);
    onStep?.('taking the snapshots');
    const snapshots = await takeSnapshots(shards, sessions, signal);
    const [{ migrations, identity }] = snapshots as [Snapshot];
    if (snapshots.some((other) => other.migrations.join() !== migrations.join())) {
      throw new CommandError('the shards are being migrated just now; try again later');
    }
    const unpaired = await unpairedIn(sessions, signal);
    const exported = await someAtOnce(snapshots, signal, async (snapshot, stop) => {
      const place = { index: snapshot.session.index, count: shards.length };
      onStep?.(`shard ${place.index}: verifying the books`);
      const books = await verifySnapshot(snapshot, place.count, unpaired[place.index], stop);
      onStep?.(`shard ${place.index}: writing`);
      return exportShard(snapshot, books, draft, stop);
    });
    return { bankId: identity.bank_id, shardCount: shards.length, migrations, shards: exported };
  });
}

/** Recorded before anything is copied, so that the backup contains the record of itself. */
async function record(session: ShardSession, folder: string): Promise<void> {
  const { client, tables, address } = session;
  if (!(await hasTable(client, tables.auditEvents))) return;
  await client.query('BEGIN');
  await recordAct(client, address.schema, { action: 'bank.backed_up', details: { to: folder } });
  await client.query('COMMIT');
}

/** A shard at one moment. */
interface Snapshot {
  readonly session: ShardSession;
  readonly copied: readonly ShardTable[];
  readonly takenAt: string;
  readonly migrations: string[];
  readonly identity: BackupShard['identity'];
}

/** All of one moment, as far as money is on its way from shard to shard. */
async function takeSnapshots(
  shards: readonly ShardAddress[],
  sessions: readonly ShardSession[],
  signal: AbortSignal | undefined,
): Promise<Snapshot[]> {
  const begin = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY';
  await Promise.all(sessions.map((session) => beginLocked(session, begin, 'ACCESS SHARE')));
  const begun = await betweenSteps(shards, signal, () => Promise.all(sessions.map(takeSnapshot)));
  return Promise.all(
    begun.map(async (snapshot) => ({ ...snapshot, copied: await tablesToCopy(snapshot.session) })),
  );
}

async function takeSnapshot(session: ShardSession): Promise<Omit<Snapshot, 'copied'>> {
  const { client, tables } = session;
  const { rows } = await client.query<Omit<Snapshot, 'session' | 'copied'> & { takenAt: Date }>(
    `SELECT clock_timestamp() AS "takenAt",
            (SELECT array_agg(name::text ORDER BY id) FROM ${tables.migrations}) AS migrations,
            to_jsonb(i) - $1::text[] AS identity
     FROM ${tables.shardIdentity} i`,
    [LEASE_COLUMNS],
  );
  const [row] = rows;
  if (!row) throw new CommandError(`shard ${session.index} is being moved just now; try again later`);
  return { session, ...row, takenAt: row.takenAt.toISOString() };
}

async function verifySnapshot(
  { session: { client, address, index } }: Snapshot,
  count: number,
  unpaired: ReadonlySet<string> | undefined,
  signal: AbortSignal,
): Promise<BackupShard['books']> {
  const report = await verifyInSnapshot(client, address.schema, index, count, { signal }, unpaired);
  const { accounts, transactions, balance, otherBalances, faulty } = report;
  return { accounts, transactions, balance, ...(otherBalances && { otherBalances }), faulty };
}

async function exportShard(
  { session, copied, takenAt, identity }: Snapshot,
  books: BackupShard['books'],
  draft: string,
  signal: AbortSignal,
): Promise<BackupShard> {
  const folder = dirname(join(draft, fileOf(session.index, 'accounts')));
  await mkdir(folder, { mode: 0o700 });
  const files: BackupFile[] = [];
  for (const table of copied)
    files.push(await exportTable(session.client, table, draft, fileOf(session.index, table.name), signal));
  await syncFolder(folder);
  // Counted in the same snapshot: a difference is a defect.
  if (!haveRowsOf(files, books)) throw new Error("the files do not have the rows of their snapshot's books");
  return { index: session.index, snapshotAt: takenAt, identity, books, files };
}

async function exportTable(
  client: Client,
  table: ShardTable,
  draft: string,
  file: string,
  signal: AbortSignal,
): Promise<BackupFile> {
  const [content, written] = [new Measure(), new Measure()];
  const source = await csvOf(client, table);
  await pipeline(
    source,
    (rows: AsyncIterable<Buffer>) => content.pass(rows),
    createGzip({ level: GZIP_LEVEL }),
    (bytes: AsyncIterable<Buffer>) => written.pass(bytes),
    createWriteStream(join(draft, file), { flags: 'wx', mode: 0o600, flush: true }),
    { signal },
  );
  // The server reports the number of rows after the last one; it has arrived once the next statement is answered.
  const sequence = table.drawn ? await readSequence(client, table) : undefined;
  return {
    table: table.name,
    file,
    columns: [...table.columns],
    rows: source.rowCount,
    bytes: written.bytes,
    sha256: written.sha256(),
    contentSha256: content.sha256(),
    contentBytes: content.bytes,
    sequence,
  };
}

/** A table's rows as CSV with a header, ordered by id: the same rows always give the same text. */
export async function csvOf(client: Client, table: ShardTable) {
  // In the order of the index, so that a large table is streamed rather than sorted.
  await client.query('SET LOCAL enable_sort = off');
  return client.query(
    copyTo(`COPY (${selectFrom(table)} ORDER BY ${table.id}) TO STDOUT (FORMAT csv, HEADER true)`),
  );
}

/** Renames the draft; under its new name it is a backup. */
async function publish(draft: string, folder: string): Promise<void> {
  await syncFolder(draft);
  try {
    await rename(draft, folder);
  } catch (error) {
    throw new CommandError(`the backup can't be given its name, ${folder}: ${messageOf(error)}`);
  }
  await syncFolder(dirname(folder));
}
