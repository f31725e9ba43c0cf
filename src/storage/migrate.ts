import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { USD } from '../config/currencies.js';
import { DataSource, MigrationExecutor, type QueryRunner } from 'typeorm';
import { MAX_SILENCE_MS, SilenceLimit } from './connection.js';
import { dataSourceOptions, MIGRATIONS } from './data-source.js';
import { UNLIMITED } from './durability.js';
import { AccountEntity } from './entities/account.entity.js';
import { ShardIdentityEntity } from './entities/shard-identity.entity.js';
import { quoted } from './identifiers.js';
import { grantServiceRole, serviceRoleOf } from './service-role.js';
import type { ShardAddress } from '../config/shard-address.js';
import { UserError } from '../domain/user-error.js';
import { BANK_TABLES } from './tables.js';

/** A shard's place in its bank: an index from 0 to count - 1. The count is fixed when the bank is created. */
export interface ShardPlace {
  readonly index: number;
  readonly count: number;
}

export interface MigrationReport {
  /** The names of the migrations that this run applied. */
  readonly applied: readonly string[];
  /** The service's role, if this run changed its privileges. */
  readonly granted: string | undefined;
  readonly bankId: string;
}

/** The shard has another place in the bank, or belongs to another bank, than the configuration says. */
export class ShardMismatchError extends UserError {}

/** Another process holds the lock of the migrations, and does not come to an end. */
export class MigrationBusyError extends UserError {}

/**
 * Brings one shard to the newest schema and records or checks which shard it is, over its direct connection. Several
 * instances may call it at once: one migrates, the others wait for it.
 *
 * @param bankId the bank that the shard must belong to; undefined: an empty shard starts a new bank
 * @param currency of the bank, if it is a new one
 * @throws ShardMismatchError when the shard's recorded place or bank is another one; MigrationBusyError
 */
export async function migrate(
  shard: ShardAddress,
  place: ShardPlace,
  bankId?: string,
  currency = USD.code,
): Promise<MigrationReport> {
  const [report, granted] = await withSchema(shard, MIGRATIONS, async (queryRunner, applied) => {
    const bank = await verifyTopology(queryRunner, shard.schema, place, bankId, currency);
    return { applied, bankId: bank };
  });
  return { ...report, granted };
}

/**
 * Creates the tables of a shard for a copy to fill. They draw the ids of their place, but are not a shard of a bank
 * yet.
 *
 * @param migrations the ones to apply, oldest first
 */
export async function prepareTables(
  shard: ShardAddress,
  place: ShardPlace,
  migrations = MIGRATIONS,
): Promise<void> {
  await withSchema(shard, migrations, (queryRunner) => interleaveIds(queryRunner, shard.schema, place));
}

async function withSchema<T>(
  shard: ShardAddress,
  migrations: typeof MIGRATIONS,
  work: (queryRunner: QueryRunner, applied: readonly string[]) => Promise<T>,
): Promise<[result: T, granted: string | undefined]> {
  const silence = new SilenceLimit(MAX_SILENCE_MS);
  const dataSource = new DataSource({
    ...dataSourceOptions(
      { ...shard, url: shard.migrationUrl ?? shard.url },
      { name: 'bank-migrate', size: 1, connectTimeoutMs: 10_000, silence },
    ),
    migrations,
  });
  try {
    await dataSource.initialize();
    const applied = await withMigrationLock(dataSource, shard.schema, silence, (queryRunner) =>
      applyMigrations(dataSource, queryRunner, shard.schema, silence),
    );
    return await withMigrationLock(dataSource, shard.schema, silence, async (queryRunner) => {
      const result = await work(queryRunner, applied);
      const role = serviceRoleOf(shard);
      const granted =
        role !== undefined &&
        (await grantServiceRole(queryRunner.query.bind(queryRunner), shard.schema, role));
      return [result, granted ? role : undefined];
    });
  } finally {
    silence.end();
    if (dataSource.isInitialized) await dataSource.destroy();
  }
}

/** How long to wait for another instance that is migrating, or for a session that has locked a table. */
const LOCK_TIMEOUT_MS = 600_000;
const LOCK_POLL_MS = 100;

/**
 * Takes a lock of the transaction, not of the session: behind a pooler a session outlives its client. All work runs in
 * the transaction that holds the lock. One that only held it would be idle, so the server might end it, and another
 * instance would start migrating at the same time.
 */
async function withMigrationLock<T>(
  dataSource: DataSource,
  schema: string,
  silence: SilenceLimit,
  work: (queryRunner: QueryRunner) => Promise<T>,
): Promise<T> {
  const queryRunner = dataSource.createQueryRunner();
  try {
    await queryRunner.startTransaction();
    await queryRunner.query(UNLIMITED);
    await queryRunner.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await takeMigrationLock(queryRunner, schema, silence);
    const result = await work(queryRunner);
    silence.renew();
    await queryRunner.commitTransaction();
    return result;
  } finally {
    // Without a commit, closing the data source ends the connection, which rolls back.
    await queryRunner.release();
  }
}

/** Asks again and again: a connection that waited for the lock could not be told from one whose other end is gone. */
async function takeMigrationLock(
  queryRunner: QueryRunner,
  schema: string,
  silence: SilenceLimit,
): Promise<void> {
  for (const giveUpAt = performance.now() + LOCK_TIMEOUT_MS; ; await sleep(LOCK_POLL_MS)) {
    const [{ taken }] = (await queryRunner.query(
      'SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS taken',
      [`bank-migrate:${schema}`],
    )) as [{ taken: boolean }];
    silence.renew();
    if (taken) return;
    if (performance.now() > giveUpAt)
      throw new MigrationBusyError(`another process has been migrating schema "${schema}" for 10 minutes`);
  }
}

async function applyMigrations(
  dataSource: DataSource,
  queryRunner: QueryRunner,
  schema: string,
  silence: SilenceLimit,
): Promise<string[]> {
  await createSchema(queryRunner, schema);
  const executor = new MigrationExecutor(dataSource, queryRunner);
  executor.transaction = 'none';
  if ((await executor.getPendingMigrations()).length === 0) return [];
  silence.suspend();
  const applied = await executor.executePendingMigrations();
  return applied.map((migration) => migration.name);
}

/** Only if it is missing: a role that may use the bank's schema need not be allowed to create one. */
async function createSchema(queryRunner: QueryRunner, schema: string): Promise<void> {
  const [{ missing }] = (await queryRunner.query(
    'SELECT NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS missing',
    [schema],
  )) as [{ missing: boolean }];
  if (missing) await queryRunner.query(`CREATE SCHEMA IF NOT EXISTS ${quoted(schema)}`);
}

async function verifyTopology(
  queryRunner: QueryRunner,
  schema: string,
  place: ShardPlace,
  bankId: string | undefined,
  currency: string,
): Promise<string> {
  const [recorded] = await queryRunner.manager.find(ShardIdentityEntity);
  if (!recorded) return recordPlace(queryRunner, schema, place, bankId ?? randomUUID(), currency);
  if (recorded.shardIndex !== place.index || recorded.shardCount !== place.count) {
    throw new ShardMismatchError(
      `schema "${schema}" holds shard ${recorded.shardIndex} of ${recorded.shardCount}, ` +
        `but is configured as shard ${place.index} of ${place.count}`,
    );
  }
  if (bankId !== undefined && recorded.bankId !== bankId) {
    throw new ShardMismatchError(`schema "${schema}" holds a shard of another bank (${recorded.bankId})`);
  }
  return recorded.bankId;
}

/** Shard k of N draws the ids k+1, k+1+N, k+1+2N …, so an id tells its shard. */
async function recordPlace(
  queryRunner: QueryRunner,
  schema: string,
  place: ShardPlace,
  bankId: string,
  currency: string,
): Promise<string> {
  if (place.count > 1 && (await queryRunner.manager.exists(AccountEntity))) {
    throw new ShardMismatchError(`schema "${schema}" holds a bank of one shard already`);
  }
  await interleaveIds(queryRunner, schema, place);
  await queryRunner.manager.insert(ShardIdentityEntity, {
    bankId,
    shardIndex: place.index,
    shardCount: place.count,
    currency,
    submissionSecret: randomUUID(),
  });
  return bankId;
}

async function interleaveIds(queryRunner: QueryRunner, schema: string, place: ShardPlace): Promise<void> {
  if (place.count === 1) return;
  for (const { name, id } of BANK_TABLES.filter(({ ledger, drawn }) => ledger && drawn)) {
    const table = quoted(schema, name);
    if (await isSettled(queryRunner, table, id, place)) continue;
    await queryRunner.query(
      `ALTER TABLE ${table} ALTER COLUMN ${id}
         SET INCREMENT BY ${place.count} SET START WITH ${place.index + 1} RESTART`,
    );
  }
}

/**
 * Tells which columns to leave alone: those of tables with rows, those that are interleaved already (Citus can't alter
 * an identity column of a distributed table), and those that the schema of an older backup does not have.
 */
async function isSettled(
  queryRunner: QueryRunner,
  table: string,
  column: string,
  place: ShardPlace,
): Promise<boolean> {
  const [{ exists }] = (await queryRunner.query('SELECT to_regclass($1) IS NOT NULL AS exists', [table])) as [
    { exists: boolean },
  ];
  if (!exists) return true;
  const [sequence] = (await queryRunner.query(
    `SELECT (seqincrement = $3 AND seqstart = $4) OR EXISTS (SELECT FROM ${table}) AS settled
     FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence($1, $2)::regclass`,
    [table, column, place.count, place.index + 1],
  )) as { settled: boolean }[];
  return sequence?.settled === true;
}
