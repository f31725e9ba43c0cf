import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { escapeIdentifier, escapeLiteral } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { recordAct, recordActOn, START_ACTIONS, type AdministrativeAct } from '../audit/audit-log.js';
import { checkPlace, bootstrapShards } from '../sharding/bootstrap-shards.js';
import { MIGRATIONS } from '../storage/data-source.js';
import { sqlStateOf } from '../storage/database-errors.js';
import { COMMIT_DURABLY } from '../storage/durability.js';
import { prepareTables } from '../storage/migrate.js';
import { describeShard, type ShardAddress } from '../config/shard-address.js';
import { locateShard, type LocatedShard } from '../sharding/shard-locator.js';
import { MAX_ID } from '../domain/account.js';
import { CommandError } from '../app/user-message.js';
import { csvOf } from './backup.js';
import {
  BACKED_UP,
  checkFiles,
  contentOf,
  kindOf,
  measure,
  readManifest,
  type BackupFile,
  type BackupShard,
  type Manifest,
} from './backup-format.js';
import { columnsOf, setSequence, type SequenceState } from './shard-copy.js';
import { beginLocked, hasTable, someAtOnce, withSessions, type ShardSession } from './shard-sessions.js';
import { sumTotals, verifyBank, verifyInSnapshot, type Totals } from './verify.js';

/** SQLSTATE classes of errors that come from the data of a backup: 21 to 23 (wrong data) and 54 (a limit exceeded). */
const REFUSED_ROWS = /^(2[1-3]|54)/;

type TableName = BackupFile['table'];
type Columns = Map<TableName, string[]>;

export interface RestoreOptions {
  /** The folder of a backup. */
  readonly from: string;
  /** Of its manifest; a backup that has another is refused before anything of it is parsed. */
  readonly sha256?: string;
  /** Ids of each shard that are left out after the last one of the backup: those of what was posted later and is lost. */
  readonly skipIds: number;
  readonly onStep?: (step: string) => void;
  /** Stops the work; nothing is left of it. */
  readonly signal?: AbortSignal;
}

export interface RestoreReport {
  readonly totals: Totals;
  readonly bankId: string;
  /** Of the backup's manifest. */
  readonly sha256: string;
  /** The shards that this run has filled. */
  readonly restored: readonly number[];
  /** The shards that held the backup's accounts and transactions before, and their tables that hold something else. */
  readonly found: readonly { readonly shard: number; readonly differ: readonly string[] }[];
  readonly durationMs: number;
}

/**
 * Fills an empty bank from a backup. It stays a bank of its own, with an id of its own: what it does from here on is not
 * the history of the one that was backed up, which may still exist.
 *
 * Every shard is loaded in a transaction, in which its books are verified and every row is read back and compared with
 * the backup. All of them commit at the end. Safe to interrupt and to run again.
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
    await commitAll(
      sessions.filter((_, index) => loaded[index] === 'loaded'),
      manifest,
    );
    return loaded;
  });
  const totals = await bringUpToDate(configured, manifest, options);
  const restored = [...outcomes.keys()].filter((shard) => outcomes[shard] === 'loaded');
  // The schema of an older backup has had no audit log until now.
  if (restored.includes(0) && !holdsLog(manifest)) await recordActOn(addresses, act);
  const found = outcomes.flatMap((differ, shard) => (differ === 'loaded' ? [] : [{ shard, differ }]));
  return { totals, bankId, sha256, restored, found, durationMs: performance.now() - startedMs };
}

/**
 * Commits from the last shard to the first, as a bank is founded, but those with accounts before those without: by them a
 * start that finds half a bank knows that the rest is missing.
 */
async function commitAll(loaded: readonly ShardSession[], { shards }: Manifest): Promise<void> {
  const holding = ({ index }: ShardSession) => Number((shards[index]?.books.accounts ?? 0) > 0);
  // Notices a connection that was lost meanwhile before the first of them commits.
  await Promise.all(loaded.map(({ client }) => client.query('SELECT 1')));
  for (const session of loaded.toReversed().sort((a, b) => holding(b) - holding(a))) await commit(session);
}

function holdsLog({ shards: [first] }: Manifest): boolean {
  return first?.files.some(({ table }) => table === 'audit_events') === true;
}

/** @returns those that make the schema of the backup */
function migrationsOf({ migrations }: Manifest): typeof MIGRATIONS {
  const ours = MIGRATIONS.map(({ name }) => name);
  if (migrations.length > ours.length || migrations.some((name, index) => name !== ours[index])) {
    throw new CommandError(
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
  /** To be recorded in the first shard. */
  readonly act: AdministrativeAct;
  readonly holdsAccounts: boolean;
  readonly options: RestoreOptions;
}

/**
 * Fills a shard and leaves its transaction open.
 *
 * @returns for a shard that held the backup's accounts and transactions before, the tables that hold something else
 */
async function loadShard(
  load: Load,
  migrations: typeof MIGRATIONS,
  signal: AbortSignal,
): Promise<'loaded' | string[]> {
  const { session, backup, manifest, options } = load;
  const { index, address, client } = session;
  const place = { index, count: manifest.shardCount };
  if (!load.holdsAccounts) await prepareTables(address, place, migrations);
  await beginLocked(session, 'BEGIN ISOLATION LEVEL READ COMMITTED', 'ACCESS EXCLUSIVE');
  await client.query(COMMIT_DURABLY);
  await checkSchema(load);
  const columns = await columnsIn(session, backup);
  if (!(await isEmpty(session, backup))) {
    const differ = await differences(session, backup, columns);
    if (differ.some((table) => kindOf(table).ledger)) {
      throw new CommandError(
        `${describeShard(address)} holds accounts, keys or administrative acts; a backup is restored into an empty bank only`,
      );
    }
    await client.query('ROLLBACK');
    options.onStep?.(`shard ${index}: was restored before`);
    return differ;
  }
  options.onStep?.(`shard ${index}: loading`);
  await fill(load, columns, signal).catch(explainRows(address));
  options.onStep?.(`shard ${index}: verifying the books, and comparing every row with the backup`);
  const report = await verifyInSnapshot(client, address.schema, index, place.count, { signal });
  const { accounts, transactions, balance, faulty } = report;
  const { books } = backup;
  const same =
    accounts === books.accounts &&
    transactions === books.transactions &&
    balance === books.balance &&
    faulty === books.faulty;
  if (!same || (await differences(session, backup, columns)).length > 0) {
    throw new CommandError(
      `${describeShard(address)} would not hold what the backup holds; nothing was restored`,
    );
  }
  if (index === 0 && holdsLog(manifest)) await recordAct(client, address.schema, load.act);
  return 'loaded';
}

/** Explains errors that come from the backup's data without repeating the data, which may be anything. */
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
 * The columns of the backup's tables, in the order of its files. The names come from the target's own catalogue; those of
 * the backup are only compared with them.
 *
 * @throws CommandError when the backup has other tables or columns
 */
async function columnsIn(session: ShardSession, { files }: BackupShard): Promise<Columns> {
  const { client, tables, address } = session;
  const columns: Columns = new Map();
  for (const { table, key } of BACKED_UP) {
    const file = files.find((other) => other.table === table);
    const there = await hasTable(session, tables[key]);
    if (there !== (file !== undefined)) {
      throw new CommandError(
        `the backup ${file ? 'has a' : 'lacks the'} table ${table}, which ${describeShard(address)} ${there ? 'has' : 'does not have'}`,
      );
    }
    if (!file) continue;
    const names = await columnsOf(client, tables[key]);
    const inOrder = file.columns.flatMap((name) => names.filter((other) => other === name));
    if (inOrder.length !== names.length || inOrder.length !== file.columns.length) {
      throw new CommandError(
        `the backup's columns of ${table} are not those that ${describeShard(address)} has`,
      );
    }
    columns.set(table, inOrder);
  }
  return columns;
}

/** @throws CommandError where the files would not fit, or somebody else is at work */
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

/** A shard is empty even if a start has recorded something in its audit log. */
async function isEmpty({ client, tables }: ShardSession, { files }: BackupShard): Promise<boolean> {
  const rows = files.map(({ table }) => {
    const which =
      table === 'audit_events' ? `WHERE action NOT IN (${START_ACTIONS.map(escapeLiteral).join()})` : '';
    return `(SELECT FROM ${tables[kindOf(table).key]} ${which} LIMIT 1)`;
  });
  const { rowCount } = await client.query(rows.join(' UNION ALL '));
  return rowCount === 0;
}

/** The tables whose rows are not exactly those of the backup. */
async function differences(
  { client, tables }: ShardSession,
  { files }: BackupShard,
  columns: Columns,
): Promise<TableName[]> {
  const differ: TableName[] = [];
  for (const { table, rows, contentSha256 } of files) {
    const kind = kindOf(table);
    const counted = await client.query<{ rows: string }>(`SELECT count(*) AS rows FROM ${tables[kind.key]}`);
    const same =
      Number(counted.rows[0]?.rows) === rows &&
      (await measure(await csvOf(client, tables, kind, columns.get(table) ?? []))).sha256 === contentSha256;
    if (!same) differ.push(table);
  }
  return differ;
}

async function fill(load: Load, columns: Columns, signal: AbortSignal): Promise<void> {
  const { session, backup, folder, manifest, options } = load;
  const { client, tables } = session;
  const references = await dropReferences(session);
  for (const file of backup.files) {
    const { table, sequence } = file;
    const { key, id, ledger } = kindOf(table);
    const names = (columns.get(table) ?? []).map(escapeIdentifier).join(', ');
    // The backup's log replaces what a start has recorded.
    if (table === 'audit_events') await client.query(`DELETE FROM ${tables.auditEvents}`);
    const sink = client.query(
      copyFrom(`COPY ${tables[key]} (${names}) FROM STDIN (FORMAT csv, HEADER true)`),
    );
    await pipeline(contentOf(folder, file, signal), sink, { signal });
    const skip = ledger ? BigInt(options.skipIds) * BigInt(manifest.shardCount) : 0n;
    if (sequence) await setSequence(client, tables[key], id, advanced(sequence, skip));
  }
  await checkIds(session, backup);
  for (const statement of references) await client.query(statement);
  await settleIdentity(load);
  await client.query(`ANALYZE ${backup.files.map(({ table }) => tables[kindOf(table).key]).join(', ')}`);
}

/** @throws CommandError where there are ids that no bank has, or that would be handed out once more */
async function checkIds({ client, tables }: ShardSession, { files }: BackupShard): Promise<void> {
  for (const { table } of files) {
    const { key, id } = kindOf(table);
    const { sequence } = files.find((file) => file.sequence && kindOf(file.table).id === id) ?? {};
    const next = sequence && BigInt(sequence.last) + (sequence.called ? 1n : 0n);
    const { rows } = await client.query<{ outside: boolean; ahead: boolean }>(
      `SELECT coalesce(min(${id}) < 1 OR max(${id}) > ${MAX_ID}, false) AS outside,
              coalesce(max(${id}) >= $1::bigint, false) AS ahead FROM ${tables[key]}`,
      [next],
    );
    if (rows[0]?.outside) throw new CommandError(`the backup has rows of ${table} with ids that no bank has`);
    if (rows[0]?.ahead) {
      throw new CommandError(
        `the backup has rows of ${table} with ids that its sequence is still to hand out`,
      );
    }
  }
}

/** The shard's place in this bank. Keeps of the backed-up row only what does not say which bank it was. */
async function settleIdentity({ session, backup, bankId, manifest }: Load): Promise<void> {
  const { client, tables, index } = session;
  const { created_at, relay_to_broker } = backup.identity;
  const row = {
    ...{ bank_id: bankId, shard_index: index, shard_count: manifest.shardCount, created_at },
    ...(relay_to_broker !== undefined && { relay_to_broker }),
  };
  const names = Object.keys(row).map(escapeIdentifier);
  await client.query(`DELETE FROM ${tables.shardIdentity}`);
  await client.query(
    `INSERT INTO ${tables.shardIdentity} (${names.join(', ')}) VALUES (${names.map((_, n) => `$${n + 1}`).join(', ')})`,
    Object.values(row),
  );
}

/** Checked once for all rows instead of one by one, which would fill the server's memory. @returns what puts them back */
async function dropReferences({ client, tables }: ShardSession): Promise<string[]> {
  const { rows } = await client.query<{ name: string; definition: string }>(
    `SELECT conname AS name, pg_get_constraintdef(oid) AS definition
     FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'f'`,
    [tables.transactions],
  );
  for (const { name } of rows)
    await client.query(`ALTER TABLE ${tables.transactions} DROP CONSTRAINT ${escapeIdentifier(name)}`);
  return rows.map(
    ({ name, definition }) =>
      `ALTER TABLE ${tables.transactions} ADD CONSTRAINT ${escapeIdentifier(name)} ${definition}`,
  );
}

/** In steps of the number of shards, so that the ids still name their shard. */
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

/** What was restored is verified already, unless migrations change it now. */
async function bringUpToDate(
  configured: readonly ShardAddress[],
  { migrations, shards }: Manifest,
  { onStep, signal }: RestoreOptions,
): Promise<Totals> {
  if (migrations.length === MIGRATIONS.length) return sumTotals(shards.map(({ books }) => books));
  onStep?.('bringing the schema up to date, and verifying again');
  return verifyBank((await bootstrapShards(configured)).shards, { signal });
}

/** The report for people: what this run has done, and what it has only found. */
export function restoreText({ totals, bankId, sha256, restored, found, durationMs }: RestoreReport): string {
  const sums = `${totals.accounts} account(s) with ${totals.balance} in all and ${totals.transactions} transaction(s)`;
  const whole =
    totals.faulty === 0
      ? 'The books are whole.'
      : `The books are NOT whole, and were not when they were backed up: ${totals.faulty} account(s) fail, which \`verify\` names.`;
  const done =
    restored.length === 0
      ? [`Nothing was restored: the bank ${bankId} held the backup's ${sums} already.`]
      : [
          `Restored ${found.length === 0 ? sums : `shard ${restored.join(', ')} of a bank of ${sums}`}`,
          `in ${(durationMs / 1000).toFixed(1)} s, as the bank ${bankId}. Every row ${found.length === 0 ? '' : 'of it '}was compared with the backup.`,
        ];
  const kept = found.map(
    ({ shard, differ }) =>
      `Shard ${shard} was left as it is: its accounts and transactions are those of the backup, row by row` +
      (differ.length === 0 ? ', and so is everything else.' : `. These tables differ: ${differ.join(', ')}.`),
  );
  return [...done, ...kept, `SHA-256 of the backup's manifest: ${sha256}`, whole].join('\n');
}
