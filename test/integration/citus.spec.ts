import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { DataSource, QueryRunner } from 'typeorm';
import { bytesOfDistributed, isCitus } from '../../src/storage/citus.js';
import { createDataSource } from '../../src/storage/data-source.js';
import { findWeakSettings } from '../../src/storage/durability.js';
import { ShardPool } from '../../src/storage/shard-pool.js';
import { TransactionRunner } from '../../src/storage/transaction-runner.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { SqlRecorder } from '../support/recorded-sql.js';

const LIMITS = { transactionTimeoutMs: 3_000, lockTimeoutMs: 700, attempts: 1, resolveTimeoutMs: 1_000 };

/** A plain server with stand-ins for the functions of Citus that the service calls. */
describe('on the coordinator of a Citus cluster', () => {
  let database: TestDatabase;
  let dataSource: DataSource;
  const query = (sql: string, parameters?: unknown[]) => dataSource.query<unknown>(sql, parameters);

  beforeAll(async () => {
    database = await createTestDatabase('citus');
    dataSource = createDataSource(
      { url: database.url, schema: 'bank' },
      { name: 'test-citus', size: 1, connectTimeoutMs: 5_000 },
    );
    await dataSource.initialize();
  });

  afterAll(async () => {
    await dataSource.destroy();
    await database.drop();
  });

  const runner = (onCitus: boolean) =>
    new TransactionRunner(
      new ShardPool(dataSource, {
        relocations: 0,
        relocating: undefined,
        onCitus,
        relocateIfMoved: () => Promise.resolve(false),
      }),
      LIMITS,
    );

  const settings = (queryRunner: QueryRunner) =>
    queryRunner.query(
      `SELECT current_setting('lock_timeout') AS lock, current_setting('statement_timeout') AS statement,
              current_setting('citus.propagate_set_commands', true) AS propagated`,
    );

  it.each([
    [false, 1, null],
    [true, 4, 'local'],
  ])(
    '(%s) a transaction begins with %i queries, and propagates its limits: %s',
    async (onCitus, queries, propagated) => {
      const recorder = new SqlRecorder();
      let recorded;
      const found = await runner(onCitus)
        .run(settings, () => undefined)
        .finally(() => (recorded = recorder.stop()));
      expect(found).toEqual([{ lock: '700ms', statement: '3s', propagated }]);
      // And the work itself, and COMMIT.
      expect(recorded).toHaveLength(queries + 2);
    },
  );

  it('a transaction whose limits can not be set is rolled back, and its connection is used again', async () => {
    const impossible = new TransactionRunner(
      new ShardPool(dataSource, {
        ...{
          relocations: 0,
          relocating: undefined,
          onCitus: true,
          relocateIfMoved: () => Promise.resolve(false),
        },
      }),
      { ...LIMITS, lockTimeoutMs: -1 },
    );
    await expect(impossible.run(settings, () => undefined)).rejects.toThrow('lock_timeout');
    expect(await runner(true).run(settings)).toMatchObject([{ lock: '700ms' }]);
  });

  it('every node is asked for its durability settings, and one that does not answer is left out', async () => {
    await query(`CREATE TABLE pg_dist_node (nodeid int, nodename text, nodeport int)`);
    await query(`INSERT INTO pg_dist_node VALUES (1, 'one', 5432), (2, 'two', 5432), (3, 'three', 5432)`);
    await query(`
      CREATE FUNCTION run_command_on_all_nodes(command text)
        RETURNS TABLE (nodeid int, success boolean, result text) LANGUAGE plpgsql AS $$
      BEGIN
        FOR node IN 1..3 LOOP
          nodeid := node;
          PERFORM set_config('synchronous_commit', CASE node WHEN 2 THEN 'off' ELSE 'on' END, true);
          EXECUTE command INTO result;
          success := node < 3;
          RETURN NEXT;
        END LOOP;
      END $$`);
    const weak = await findWeakSettings(dataSource, true);
    expect(weak.filter((sentence) => sentence.startsWith('synchronous_commit'))).toEqual([
      'synchronous_commit is off on two:5432: when the server crashes, what it committed last is lost',
    ]);
  });

  it('the size of a schema is that of its tables on the nodes, and undefined if it is not distributed', async () => {
    await query('CREATE TABLE pg_dist_partition (logicalrelid regclass)');
    await query(
      `CREATE FUNCTION citus_total_relation_size(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT 1024'`,
    );
    expect(await bytesOfDistributed(query, 'bank')).toBeUndefined();
    await query(
      `INSERT INTO pg_dist_partition VALUES ('bank.accounts'), ('bank.transactions'), ('pg_class')`,
    );
    expect(await bytesOfDistributed(query, 'bank')).toBe(2048);
  });

  it('is recognised by its extension, which this server lacks', async () => {
    expect(await isCitus(query)).toBe(false);
  });
});
