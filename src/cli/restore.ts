import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { from as copyFrom } from 'pg-copy-streams';
import { checkPlace, settleShards } from '../database/bank-shards.js';
import { MIGRATIONS } from '../database/data-source.js';
import { COMMIT_DURABLY } from '../database/durability.js';
import { prepareTables } from '../database/migrate.js';
import { describeShard, type ShardAddress } from '../database/shard-address.js';
import { locateShard, type LocatedShard } from '../database/shard-locator.js';
import { MAX_ID } from '../domain/account.js';
import { WorkError } from '../explain.js';
import { csvOf } from './backup.js';
import {
  BACKED_UP,
  type BackedUp,
  checkFiles,
  measure,
  readManifest,
  type BackupFile,
  type BackupShard,
  type Manifest,
} from './backup-format.js';
import { setSequence, type SequenceState } from './shard-copy.js';
import { beginLocked, someAtOnce, withSessions, type ShardSession } from './shard-sessions.js';
import { sumTotals, verifyBank, verifyInSnapshot, type Totals } from './verify.js';

export interface RestoreOptions {
  /** The folder of a backup. */
  readonly from: string;
  /** Ids of each shard that are left out after the last one of the backup: those of what was posted later and is lost. */
  readonly skipIds: number;
  readonly onStep?: (step: string) => void;
  /** Stops the work; nothing is left of it. */
  readonly signal?: AbortSignal;
}

export interface RestoreReport {
  readonly totals: Totals;
  readonly bankId: string;
  readonly durationMs: number;
}

/**
 * Fills an empty bank from a backup. It stays a bank of its own, with an id of its own: what it does from here on is not
 * the history of the one that was backed up, which may still exist.
 *
 * Every shard is loaded in a transaction, in which its books are verified and every row is read back and compared with
 * the backup. All of them commit at the end. Safe to interrupt and to run again.
 *
 * @throws WorkError, ShardMismatchError
 */
export async function restoreBank(
  configured: readonly ShardAddress[],
  options: RestoreOptions,
): Promise<RestoreReport> {
  const startedMs = performance.now();
  const folder = resolve(options.from);
  const manifest = await readManifest(folder);
  const migrations = migrationsOf(manifest);
  if (manifest.shardCount !== configured.length) {
    throw new WorkError(
      `the backup is of a bank of ${manifest.shardCount} shard(s), but the configuration lists ${configured.length}`,
    );
  }
  options.onStep?.('checking the files');
  await checkFiles(folder, manifest, options.signal);
  const targets = await locateTargets(configured);
  const bankId = bankIdOf(targets) ?? randomUUID();
  const addresses = targets.map((target) => target.address);
  await withSessions(addresses, 'bank-restore', async (sessions) => {
    const loads = sessions.map((session, index) => ({
      ...{ session, folder, manifest, bankId, options },
      backup: manifest.shards[index] as BackupShard,
      holdsAccounts: targets[index]?.inUse ?? false,
    }));
    const loaded = await someAtOnce(loads, options.signal, (load, stop) => loadShard(load, migrations, stop));
    // As a bank is founded: from the last to the first; but those with accounts before all, for they tell a start that
    // finds a half that the rest is missing.
    const order = [...loaded.keys()].reverse();
    // One that was lost while it waited is better noticed before the first of them commits.
    await Promise.all(loaded.flatMap((session) => (session ? [session.client.query('SELECT 1')] : [])));
    const holding = (index: number) => Number((manifest.shards[index]?.books.accounts ?? 0) > 0);
    for (const index of order.sort((a, b) => holding(b) - holding(a))) {
      const session = loaded[index];
      if (session) await commit(session);
    }
  });
  const totals = await bringUpToDate(configured, manifest, options);
  return { totals, bankId, durationMs: performance.now() - startedMs };
}

/** @returns those that make the schema of the backup */
function migrationsOf({ migrations }: Manifest): typeof MIGRATIONS {
  const ours = MIGRATIONS.map(({ name }) => name);
  if (migrations.length > ours.length || migrations.some((name, index) => name !== ours[index])) {
    throw new WorkError(
      `the backup is of a later release: its schema has the migration ${migrations.at(-1)}, which this one does not know`,
    );
  }
  return MIGRATIONS.slice(0, migrations.length);
}

/** Those that hold accounts must belong to one bank; all must be where they are listed. */
async function locateTargets(configured: readonly ShardAddress[]): Promise<LocatedShard[]> {
  const targets = await Promise.all(configured.map(locateShard));
  const known = targets.find((target) => target.inUse)?.identity?.bankId;
  targets.forEach((target, index) => {
    checkPlace(target, { index, count: targets.length, bankId: target.inUse ? known : undefined });
  });
  return targets;
}

/**
 * That of the shards which an earlier run has restored. A bank of several shards that was only founded gets another id:
 * while some of them are restored and others not, the two ids keep services from taking the half for the whole.
 */
function bankIdOf(targets: readonly LocatedShard[]): string | undefined {
  const kept = targets.length === 1 ? targets[0] : targets.find((target) => target.inUse);
  return kept?.identity?.bankId;
}

interface Load {
  readonly session: ShardSession;
  readonly backup: BackupShard;
  readonly folder: string;
  readonly manifest: Manifest;
  readonly bankId: string;
  readonly holdsAccounts: boolean;
  readonly options: RestoreOptions;
}

/** Leaves the transaction open. @returns undefined: an earlier run had restored the shard already */
async function loadShard(
  load: Load,
  migrations: typeof MIGRATIONS,
  signal: AbortSignal,
): Promise<ShardSession | undefined> {
  const { session, backup, manifest, options } = load;
  const { index, address } = session;
  const place = { index, count: manifest.shardCount };
  if (!load.holdsAccounts) await prepareTables(address, place, migrations);
  await beginLocked(session, 'BEGIN ISOLATION LEVEL READ COMMITTED', 'ACCESS EXCLUSIVE');
  await session.client.query(COMMIT_DURABLY);
  await checkSchema(load);
  if (!(await isEmpty(session, backup))) {
    if (!(await holdsSame(session, backup))) {
      throw new WorkError(
        `${describeShard(address)} holds accounts, keys or administrative acts; a backup is restored into an empty bank only`,
      );
    }
    await session.client.query('ROLLBACK');
    options.onStep?.(`shard ${index}: was restored before`);
    return undefined;
  }
  options.onStep?.(`shard ${index}: loading`);
  await fill(load, signal);
  options.onStep?.(`shard ${index}: verifying the books, and comparing every row with the backup`);
  const report = await verifyInSnapshot(session.client, address.schema, index, place.count, { signal });
  const { accounts, transactions, balance, faulty } = report;
  const same = JSON.stringify({ accounts, transactions, balance, faulty }) === JSON.stringify(backup.books);
  if (!same || !(await holdsSame(session, backup))) {
    throw new WorkError(
      `${describeShard(address)} would not hold what the backup holds; nothing was restored`,
    );
  }
  return session;
}

/** @throws WorkError where the files would not fit, or somebody else is at work */
async function checkSchema({ session: { client, tables, address }, manifest }: Load): Promise<void> {
  const { rows } = await client.query<{ applied: string[]; arriving: boolean }>(
    `SELECT array_agg(name::text ORDER BY id) AS applied, to_regclass($1) IS NOT NULL AS arriving
     FROM ${tables.migrations}`,
    [tables.shardArriving],
  );
  const [{ applied, arriving }] = rows as [{ applied: string[]; arriving: boolean }];
  if (arriving) throw new WorkError(`${describeShard(address)} is the target of \`shards move\``);
  if (applied.join() === manifest.migrations.join()) return;
  throw new WorkError(
    `the backup is of the schema of ${manifest.migrations.at(-1)}, and ${describeShard(address)} has a newer one ` +
      'already: restore into a database without a bank, which is then brought up to date',
  );
}

async function isEmpty({ client, tables }: ShardSession, { files }: BackupShard): Promise<boolean> {
  const { rowCount } = await client.query(
    files.map(({ table }) => `(SELECT FROM ${tables[backedUp(table).key]} LIMIT 1)`).join(' UNION ALL '),
  );
  return rowCount === 0;
}

/** Whether the accounts and the transactions are, row by row, those of the backup. (The rest may change without them.) */
async function holdsSame({ client, tables }: ShardSession, { files }: BackupShard): Promise<boolean> {
  for (const { table, rows, columns, contentSha256 } of files) {
    const kind = backedUp(table);
    if (!kind.ledger) continue;
    const counted = await client.query<{ rows: string }>(`SELECT count(*) AS rows FROM ${tables[kind.key]}`);
    if (Number(counted.rows[0]?.rows) !== rows) return false;
    const found = await measure(await csvOf(client, tables, kind, columns));
    if (found.sha256 !== contentSha256) return false;
  }
  return true;
}

async function fill({ session, backup, folder, bankId, manifest, options }: Load, signal: AbortSignal) {
  const { client, tables } = session;
  const references = await dropReferences(session);
  for (const { table, file, columns, sequence } of backup.files) {
    const { key, id, ledger } = backedUp(table);
    const sink = client.query(
      copyFrom(`COPY ${tables[key]} (${columns.join(', ')}) FROM STDIN (FORMAT csv, HEADER true)`),
    );
    await pipeline(createReadStream(join(folder, file)), createGunzip(), sink, { signal });
    const skip = ledger ? BigInt(options.skipIds) * BigInt(manifest.shardCount) : 0n;
    if (sequence) await setSequence(client, tables[key], id, advanced(sequence, skip));
  }
  for (const statement of references) await client.query(statement);
  await client.query(`DELETE FROM ${tables.shardIdentity}`);
  await client.query(
    `INSERT INTO ${tables.shardIdentity}
     SELECT * FROM jsonb_populate_record(NULL::${tables.shardIdentity}, $1::jsonb)`,
    [JSON.stringify({ ...backup.identity, bank_id: bankId })],
  );
  await client.query(`ANALYZE ${backup.files.map(({ table }) => tables[backedUp(table).key]).join(', ')}`);
}

/** Checked once for all rows instead of one by one, which would fill the server's memory. @returns what puts them back */
async function dropReferences({ client, tables }: ShardSession): Promise<string[]> {
  const { rows } = await client.query<{ name: string; definition: string }>(
    `SELECT quote_ident(conname) AS name, pg_get_constraintdef(oid) AS definition
     FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'f'`,
    [tables.transactions],
  );
  for (const { name } of rows)
    await client.query(`ALTER TABLE ${tables.transactions} DROP CONSTRAINT ${name}`);
  return rows.map(
    ({ name, definition }) => `ALTER TABLE ${tables.transactions} ADD CONSTRAINT ${name} ${definition}`,
  );
}

function backedUp(table: BackupFile['table']): BackedUp {
  const found = BACKED_UP.find((other) => other.table === table);
  if (!found) throw new Error(`${table} is not backed up`);
  return found;
}

/** In steps of the number of shards, so that the ids still name their shard. */
function advanced({ last, called }: SequenceState, by: bigint): SequenceState {
  const next = BigInt(last) + by;
  if (next > BigInt(MAX_ID)) throw new WorkError(`--skip-ids leaves no id free: ids end at ${MAX_ID}`);
  return { last: String(next), called };
}

async function commit({ client, address, index }: ShardSession): Promise<void> {
  const tag = await client.query('COMMIT').then(
    ({ command }) => command,
    (cause: unknown) => {
      throw new WorkError(
        `the connection to ${describeShard(address)} was lost while shard ${index} was committed: run the same ` +
          'command again, it finds out and finishes',
        { cause },
      );
    },
  );
  if (tag !== 'COMMIT')
    throw new WorkError(`the COMMIT of shard ${index} was answered with ${tag}: run it again`);
}

/** What was restored is verified already, unless migrations change it now. */
async function bringUpToDate(
  configured: readonly ShardAddress[],
  { migrations, shards }: Manifest,
  { onStep, signal }: RestoreOptions,
): Promise<Totals> {
  if (migrations.length === MIGRATIONS.length) return sumTotals(shards.map(({ books }) => books));
  onStep?.('bringing the schema up to date, and verifying again');
  return verifyBank((await settleShards(configured)).shards, { signal });
}

/** The report for people. */
export function restoreText({ totals, bankId, durationMs }: RestoreReport): string {
  return [
    `Restored ${totals.accounts} account(s) with ${totals.balance} in all and ${totals.transactions} transaction(s)`,
    `in ${(durationMs / 1000).toFixed(1)} s, as the bank ${bankId}. Every row was compared with the backup.`,
    totals.faulty === 0
      ? 'The books are whole.'
      : `The books are NOT whole, and were not when they were backed up: ${totals.faulty} account(s) fail, which \`verify\` names.`,
  ].join('\n');
}
