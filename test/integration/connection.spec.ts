import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { PooledClient } from '../../src/storage/connection.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { openLedger } from '../support/ledger.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

describe('prepared statements', () => {
  async function preparedAfterPosting(setting: string): Promise<string[]> {
    const one = { batchWriters: 1, lockWaiters: 1 };
    const ledger = await openLedger(database.url, one, { PREPARED_STATEMENTS: setting });
    const { accountId } = await ledger.opener.open({ openingDeposit: 100n }, THE_SERVICE);
    for (const idempotencyKey of ['a', 'b']) {
      await ledger.post({ accountId, type: 'credit', amount: 1n, idempotencyKey });
    }
    const rows = await ledger.runner.run(
      async (queryRunner) =>
        (await queryRunner.query('SELECT statement FROM pg_prepared_statements')) as { statement: string }[],
    );
    await ledger.close();
    return rows.map(({ statement }) => statement.trim().split(/\s+/)[0] ?? '').sort();
  }

  it('are prepared once per connection for each statement of a batch, and for no query that TypeORM builds', async () => {
    // The inserts of the transactions and the outbox rows; lock, waiting and not; keys, ids; and the update.
    expect(await preparedAfterPosting('on')).toEqual([
      ...['INSERT', 'INSERT'],
      ...['SELECT', 'SELECT', 'SELECT', 'SELECT'],
      'WITH',
    ]);
  });

  it('are not prepared by default', async () => {
    expect(await preparedAfterPosting('off')).toEqual([]);
  });
});

describe('a connection', () => {
  it('that the server closes while nobody listens does not end the process', async () => {
    const client = new PooledClient({ connectionString: database.url });
    await client.connect();
    const ended = new Promise((resolve) => client.once('end', resolve));
    const other = new PooledClient({ connectionString: database.url });
    await other.connect();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    await other.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid]);
    await ended;
    await expect(client.query('SELECT 1')).rejects.toThrow();
    await other.end();
  });
});
