import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { pipeline } from 'node:stream/promises';
import { escapeLiteral } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { recordAct, recordActOn, START_ACTIONS, type AdministrativeAct } from '../../audit/audit-log.js';
import { checkPlace, bootstrapShards } from '../../sharding/bootstrap-shards.js';
import { MIGRATIONS } from '../../storage/data-source.js';
import { sqlStateOf } from '../../storage/database-errors.js';
import { COMMIT_DURABLY } from '../../storage/durability.js';
import { columnList, quoted } from '../../storage/identifiers.js';
import { prepareTables } from '../../storage/migrate.js';
import { describeShard, type ShardAddress } from '../../config/shard-address.js';
import { locateShard, type LocatedShard } from '../../sharding/shard-locator.js';
import { BANK_TABLES, copiedTables, LEASE_COLUMNS } from '../../storage/tables.js';
import { MAX_ID } from '../../domain/account.js';
import {
  beginLocked,
  columnsOf,
  into,
  setSequence,
  tablesToCopy,
  type SequenceState,
  type ShardTable,
} from '../catalogue.js';
import { CommandError } from '../command-error.js';
import type { Control } from '../control.js';
import { withSessions, type ShardSession } from '../shards.js';
import { sumTotals, unpairedIn, verifyBank, verifyInSnapshot, type Totals } from '../verify/verify.js';
import { csvOf } from './backup.js';
import {
  checkFiles,
  contentOf,
  measure,
  readManifest,
  type BackupFile,
  type BackupShard,
  type Manifest,
} from './format.js';
import { someAtOnce } from './some-at-once.js';

/** SQLSTATE classes of errors that come from the data of a backup: 21 to 23 (wrong data) and 54 (a limit exceeded). */
const REFUSED_ROWS = /^(2[1-3]|54)/;

/** A file of the backup and the table that it fills, with the columns in the order of the file. */
interface Filling {
  readonly file: BackupFile;
  readonly table: ShardTable;
}

/** The log of administrative acts, to which opening the bank adds as well. */
const LOG = 'audit_events';

/** What a start may leave in an empty bank; the backup's rows replace it. */
const OF_STARTS: Readonly<Record<string, string>> = {
  [LOG]: `action IN (${START_ACTIONS.map(escapeLiteral).join()})`,
  event_cursors: `receiver IN ('log', 'rabbitmq')`,
};

export interface RestoreOptions extends Omit<Control, 'onProgress'> {
  /** The folder of a backup. */
  readonly from: string;
  /** Expected SHA-256 of the manifest; a backup with another one is rejected before anything of it is parsed. */
  readonly sha256?: string;
  /** How many ids to skip in each shard after the backup's last: those of later transactions, which are lost. */
  readonly skipIds: number;
}

export interface RestoreReport {
  readonly totals: Totals;
  readonly bankId: string;
  /** SHA-256 of the backup's manifest. */
  readonly sha256: string;
  /** The shards that this run filled. */
  readonly restored: readonly number[];
  /** Shards that already held the backup's accounts and transactions, and their tables with other content. */
  readonly found: readonly { readonly shard: number; readonly differ: readonly string[] }[];
  readonly durationMs: number;
}

/**
 * Fills an empty bank from a backup. It remains a bank of its own, with its own id: what it does from here on is not
 * the history of the one that was backed up, which may still exist.
 *
 * Every shard is loaded in a transaction that also verifies its books, reads every row back and compares it with the
 * backup. All of them commit at the end. Safe to interrupt and to run again.
 *
 * @throws CommandError, ShardMismatchError
 */
export async function restoreBank(
  configured: readonly ShardAddress[],
  options: RestoreOptions,
): Promise<RestoreReport> {
  const startedMs = performance.now();
  const folder = resolve(options.from);
  const { manifest, sha256 } = await readManifest(folder, options.sha256);
  const migrations = migrationsOf(manifest);
  if (manifest.shardCount !== configured.length) {
    throw new CommandError(
      `the backup is of a bank of ${manifest.shardCount} shard(s), but the configuration lists ${configured.length}`,
    );
  }
  options.onStep?.('checking the files');
  await checkFiles(folder, manifest, options.signal);
  const targets = await locateTargets(configured);
  const bankId = bankIdOf(targets) ?? randomUUID();
  const addresses = targets.map((target) => target.address);
  const act = { action: 'bank.restored', details: { from: folder, sha256, of: manifest.bankId, bankId } };
  const outcomes = await withSessions(addresses, 'bank-restore', async (sessions) => {
    const loads = sessions.map((session, index) => ({
      ...{ session, folder, manifest, bankId, act, options },
      backup: manifest.shards[index] as BackupShard,
      holdsAccounts: targets[index]?.inUse ?? false,
    }));
    const loaded = await someAtOnce(loads, options.signal, (load, stop) => loadShard(load, migrations, stop));
    const unpaired = await unpairedIn(sessions, options.signal);
    await someAtOnce([...loaded.entries()], options.signal, async ([index, { fillings }], stop) => {
      if (fillings) await verifyLoaded(loads[index] as Load, fillings, unpaired[index], stop);
    });
    await commitAll(
      sessions.filter((_, index) => loaded[index]?.fillings),
      manifest,
    );
    return loaded;
  });
  const totals = await bringUpToDate(configured, manifest, options);
  const restored = [...outcomes.keys()].filter((shard) => outcomes[shard]?.fillings);
  // The schema of an older backup had no audit log until now.
  if (restored.includes(0) && !holdsLog(manifest)) await recordActOn(addresses, act);
  const found = outcomes.flatMap(({ differ }, shard) => (differ ? [{ shard, differ }] : []));
  return { totals, bankId, sha256, restored, found, durationMs: performance.now() - startedMs };
}

/**
 * Commits from the last shard to the first, as founding a bank does, but shards with accounts before those without.
 * From the accounts, a start that finds half a bank knows that the rest is missing.
 */
async function commitAll(loaded: readonly ShardSession[], { shards }: Manifest): Promise<void> {
  const holding = ({ index }: ShardSession) => Number((shards[index]?.books.accounts ?? 0) > 0);
  // Detects a lost connection before the first shard commits.
  await Promise.all(loaded.map(({ client }) => client.query('SELECT 1')));
  for (const session of loaded.toReversed().sort((a, b) => holding(b) - holding(a))) await commit(session);
}

function holdsLog({ shards: [first] }: Manifest): boolean {
  return first?.files.some(({ table }) => table === LOG) === true;
}

/** @returns the migrations that make the schema of the backup */
function migrationsOf({ migrations }: Manifest): typeof MIGRATIONS {
  const ours = MIGRATIONS.map(({ name }) => name);
  if (migrations.length > ours.length || migrations.some((name, index) => name !== ours[index])) {
    throw new CommandError(
      `the backup is of a later release: its schema has the migration ${migrations.at(-1)}, which this one does not know`,
    );
  }
  return MIGRATIONS.slice(0, migrations.length);
}

/** Locates the shards. Those that hold accounts must belong to one bank, and all must be where they are listed. */
async function locateTargets(configured: readonly ShardAddress[]): Promise<LocatedShard[]> {
  const targets = await Promise.all(configured.map(locateShard));
  const known = targets.find((target) => target.inUse)?.identity?.bankId;
  targets.forEach((target, index) => {
    checkPlace(target, { index, count: targets.length, bankId: target.inUse ? known : undefined });
  });
  return targets;
}

/**
 * The id of the shards that an earlier run restored. A bank of several shards that was only founded gets another id:
 * while only some are restored, the two ids keep services from mistaking half a bank for a whole one.
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
  /** To be recorded in the first shard. */
  readonly act: AdministrativeAct;
  readonly holdsAccounts: boolean;
  readonly options: RestoreOptions;
}

/** What became of a shard: either it was filled, or it held the backup's accounts and transactions already. */
interface Loaded {
  readonly fillings?: readonly Filling[];
  /** The tables with other content. */
  readonly differ?: readonly string[];
}

/** Fills a shard and leaves its transaction open. */
async function loadShard(load: Load, migrations: typeof MIGRATIONS, signal: AbortSignal): Promise<Loaded> {
  const { session, backup, manifest, options } = load;
  const { index, address, client } = session;
  const place = { index, count: manifest.shardCount };
  if (!load.holdsAccounts) await prepareTables(address, place, migrations);
  await beginLocked(session, 'BEGIN ISOLATION LEVEL READ COMMITTED', 'ACCESS EXCLUSIVE');
  const there = await tablesToCopy(session);
  await client.query(COMMIT_DURABLY);
  await checkSchema(load);
  const fillings = match(there, backup, address);
  if (!(await isEmpty(session, fillings))) {
    const differ = await differences(session, fillings);
    if (differ.some(({ ledger }) => ledger)) {
      throw new CommandError(
        `${describeShard(address)} holds accounts, keys or administrative acts; a backup is restored into an empty bank only`,
      );
    }
    await client.query('ROLLBACK');
    options.onStep?.(`shard ${index}: was restored before`);
    return { differ: differ.map(({ name }) => name) };
  }
  options.onStep?.(`shard ${index}: loading`);
  await fill(load, fillings, signal).catch(explainRows(address));
  return { fillings };
}

/** @param unpaired the shard's accounts with transfers that another shard knows otherwise */
async function verifyLoaded(
  { session, backup, manifest, options, act }: Load,
  fillings: readonly Filling[],
  unpaired: ReadonlySet<string> | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { index, address, client } = session;
  const { schema } = address;
  options.onStep?.(`shard ${index}: verifying the books, and comparing every row with the backup`);
  const report = await verifyInSnapshot(client, schema, index, manifest.shardCount, { signal }, unpaired);
  const { accounts, transactions, balance, otherBalances, faulty } = report;
  const { books } = backup;
  const same =
    accounts === books.accounts &&
    transactions === books.transactions &&
    balance === books.balance &&
    isDeepStrictEqual(otherBalances, books.otherBalances) &&
    faulty === books.faulty;
  if (!same || (await differences(session, fillings)).length > 0) {
    throw new CommandError(
      `${describeShard(address)} would not hold what the backup holds; nothing was restored`,
    );
  }
  if (index === 0 && holdsLog(manifest)) await recordAct(client, schema, act);
}

/** Explains errors that come from the backup's data without quoting the data, which can't be trusted. */
function explainRows(address: ShardAddress): (error: unknown) => never {
  return (error) => {
    const state = sqlStateOf(error);
    if (state === undefined || !REFUSED_ROWS.test(state)) throw error;
    throw new CommandError(
      `the backup has rows that ${describeShard(address)} can't hold (SQLSTATE ${state}); nothing was restored`,
      { cause: error },
    );
  };
}

/**
 * The tables that the files fill. All names come from the target's own catalogue; those of the backup are only compared
 * with them.
 *
 * @throws CommandError when the backup has other tables or columns
 */
function match(there: readonly ShardTable[], { files }: BackupShard, address: ShardAddress): Filling[] {
  return copiedTables(BANK_TABLES).flatMap(({ name }) => {
    const file = files.find((other) => other.table === name);
    const table = there.find((other) => other.name === name);
    if (!table !== !file) {
      throw new CommandError(
        `the backup ${file ? 'has a' : 'lacks the'} table ${name}, which ${describeShard(address)} ${table ? 'has' : 'does not have'}`,
      );
    }
    if (!file || !table) return [];
    const columns = file.columns.flatMap((column) => table.columns.filter((other) => other === column));
    if (columns.length !== table.columns.length || columns.length !== file.columns.length) {
      throw new CommandError(
        `the backup's columns of ${name} are not those that ${describeShard(address)} has`,
      );
    }
    return [{ file, table: { ...table, columns } }];
  });
}

/** @throws CommandError when the files don't fit the schema, or another session is at work */
async function checkSchema({ session: { client, tables, address }, manifest }: Load): Promise<void> {
  const { rows } = await client.query<{ applied: string[]; arriving: boolean }>(
    `SELECT array_agg(name::text ORDER BY id) AS applied, to_regclass($1) IS NOT NULL AS arriving
     FROM ${tables.migrations}`,
    [tables.shardArriving],
  );
  const [{ applied, arriving }] = rows as [{ applied: string[]; arriving: boolean }];
  if (arriving) throw new CommandError(`${describeShard(address)} is the target of \`shards move\``);
  if (applied.join() === manifest.migrations.join()) return;
  throw new CommandError(
    `the backup is of the schema of ${manifest.migrations.at(-1)}, and ${describeShard(address)} has a newer one ` +
      'already: restore into a database without a bank, which is then brought up to date',
  );
}

/** A shard counts as empty even if a start has left something there. */
async function isEmpty({ client }: ShardSession, fillings: readonly Filling[]): Promise<boolean> {
  const rows = fillings.map(({ table: { name, sql } }) => {
    const ofStarts = OF_STARTS[name];
    return `(SELECT FROM ${sql} ${ofStarts === undefined ? '' : `WHERE NOT (${ofStarts})`} LIMIT 1)`;
  });
  const { rowCount } = await client.query(rows.join(' UNION ALL '));
  return rowCount === 0;
}

/** The tables whose rows differ from those of the backup. */
async function differences({ client }: ShardSession, fillings: readonly Filling[]): Promise<ShardTable[]> {
  const differ: ShardTable[] = [];
  for (const { file, table } of fillings) {
    const counted = await client.query<{ rows: string }>(`SELECT count(*) AS rows FROM ${table.sql}`);
    const same =
      Number(counted.rows[0]?.rows) === file.rows &&
      (await measure(await csvOf(client, table))).sha256 === file.contentSha256;
    if (!same) differ.push(table);
  }
  return differ;
}

async function fill(load: Load, fillings: readonly Filling[], signal: AbortSignal): Promise<void> {
  const { session, folder, manifest, options } = load;
  const { client } = session;
  const references = await dropReferences(session, fillings);
  for (const { file, table } of fillings) {
    if (OF_STARTS[table.name] !== undefined) await client.query(`DELETE FROM ${table.sql}`);
    const sink = client.query(copyFrom(`COPY ${into(table)} FROM STDIN (FORMAT csv, HEADER true)`));
    await pipeline(contentOf(folder, file, signal), sink, { signal });
    const skip = table.ledger ? BigInt(options.skipIds) * BigInt(manifest.shardCount) : 0n;
    if (file.sequence) await setSequence(client, table, advanced(file.sequence, skip));
  }
  await checkIds(session, fillings);
  for (const statement of references) await client.query(statement);
  await restoreIdentity(load);
  await client.query(`ANALYZE ${fillings.map(({ table }) => table.sql).join(', ')}`);
}

/** @throws CommandError when there are ids that no bank has, or that would be handed out again */
async function checkIds({ client }: ShardSession, fillings: readonly Filling[]): Promise<void> {
  for (const { table } of fillings) {
    const { name, id, sql, drawn, idsOf } = table;
    if (table.named) continue;
    const { sequence } = fillings.find(({ file }) => file.table === (drawn ? name : idsOf))?.file ?? {};
    const next = sequence && BigInt(sequence.last) + (sequence.called ? 1n : 0n);
    const { rows } = await client.query<{ outside: boolean; ahead: boolean }>(
      `SELECT coalesce(min(${id}) < 1 OR max(${id}) > ${MAX_ID}, false) AS outside,
              coalesce(max(${id}) >= $1::bigint, false) AS ahead FROM ${sql}`,
      [next],
    );
    if (rows[0]?.outside) throw new CommandError(`the backup has rows of ${name} with ids that no bank has`);
    if (rows[0]?.ahead) {
      throw new CommandError(
        `the backup has rows of ${name} with ids that its sequence is still to hand out`,
      );
    }
  }
}

/** Writes the shard's identity in this bank. Of the backed-up row it keeps only what does not identify the old bank. */
async function restoreIdentity({ session, backup, bankId, manifest }: Load): Promise<void> {
  const { client, tables, index } = session;
  const place = { bank_id: bankId, shard_index: index, shard_count: manifest.shardCount };
  const row: Record<string, unknown> = { ...backup.identity, ...place };
  const columns = (await columnsOf(client, tables.shardIdentity)).filter(
    (name) => Object.hasOwn(row, name) && !LEASE_COLUMNS.includes(name),
  );
  await client.query(`DELETE FROM ${tables.shardIdentity}`);
  await client.query(
    `INSERT INTO ${tables.shardIdentity} (${columnList(columns)}) VALUES (${columns.map((_, n) => `$${n + 1}`).join(', ')})`,
    columns.map((name) => row[name]),
  );
}

/**
 * Drops the foreign keys, to check them once for all rows: row by row would fill the server's memory.
 *
 * @returns the SQL that restores them
 */
async function dropReferences(
  { client, address }: ShardSession,
  fillings: readonly Filling[],
): Promise<string[]> {
  const { rows } = await client.query<{ table: string; name: string; definition: string }>(
    `SELECT relname AS table, conname AS name, pg_get_constraintdef(r.oid) AS definition
     FROM pg_constraint r JOIN pg_class c ON c.oid = conrelid
     WHERE relnamespace = to_regnamespace($1) AND relname = ANY($2) AND contype = 'f'`,
    [quoted(address.schema), fillings.map(({ table }) => table.name)],
  );
  const alter = ({ table }: { table: string }) => `ALTER TABLE ${quoted(address.schema, table)}`;
  for (const row of rows) await client.query(`${alter(row)} DROP CONSTRAINT ${quoted(row.name)}`);
  return rows.map((row) => `${alter(row)} ADD CONSTRAINT ${quoted(row.name)} ${row.definition}`);
}

/** Advances in steps of the number of shards, so that an id still tells its shard. */
function advanced({ last, called }: SequenceState, by: bigint): SequenceState {
  const next = BigInt(last) + by;
  if (next > BigInt(MAX_ID)) throw new CommandError(`--skip-ids leaves no id free: ids end at ${MAX_ID}`);
  return { last: String(next), called };
}

async function commit({ client, address, index }: ShardSession): Promise<void> {
  const tag = await client.query('COMMIT').then(
    ({ command }) => command,
    (cause: unknown) => {
      throw new CommandError(
        `the connection to ${describeShard(address)} was lost while shard ${index} was committed: run the same ` +
          'command again, it finds out and finishes',
        { cause },
      );
    },
  );
  if (tag !== 'COMMIT')
    throw new CommandError(`the COMMIT of shard ${index} was answered with ${tag}: run it again`);
}

/** What was restored is already verified, unless migrations change it now. */
async function bringUpToDate(
  configured: readonly ShardAddress[],
  { migrations, shards }: Manifest,
  { onStep, signal }: RestoreOptions,
): Promise<Totals> {
  if (migrations.length === MIGRATIONS.length) return sumTotals(shards.map(({ books }) => books));
  onStep?.('bringing the schema up to date, and verifying again');
  return verifyBank((await bootstrapShards(configured)).shards, { signal });
}
