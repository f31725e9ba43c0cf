import { userInfo } from 'node:os';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { seedBank } from '../../src/admin/seed.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { shardList } from '../support/app.js';
import { startCli } from '../support/cli.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let client: Client;
let shards: ShardAddress[];

beforeAll(async () => {
  database = await createEmptyTestDatabase('assign');
  shards = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  await seedBank(shards, { accounts: 4, balance: 100n });
  client = new Client({ connectionString: database.url });
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await database.drop();
});

beforeEach(async () => {
  await assignAccounts(shards, { accounts: [1, 2, 3, 4], owner: undefined });
  recorded = (await acts()).length;
});

let recorded: number;

interface Act {
  readonly action: string;
  readonly details: string;
}

async function acts(): Promise<object[]> {
  const { rows } = await client.query<Act>(
    'SELECT action, details FROM bank_0.audit_events ORDER BY event_id',
  );
  return rows.map(({ action, details }) => ({ action, ...(JSON.parse(details) as object) }));
}

const newActs = async () => (await acts()).slice(recorded);

async function owners(): Promise<(string | null)[]> {
  const { rows } = await client.query<{ owner: string | null }>(
    `SELECT owner FROM (SELECT * FROM bank_0.accounts UNION ALL SELECT * FROM bank_1.accounts) a ORDER BY account_id`,
  );
  return rows.map(({ owner }) => owner);
}

const cli = (...args: string[]) =>
  startCli(['accounts', 'assign', ...args], { SHARDS: shardList(shards) }).ended;

describe('accounts assign', () => {
  it('sets the owner of accounts in any shard, and records each change', async () => {
    const run = await cli('--account', '2', '3', '--owner', 'ada');
    expect(run).toEqual({
      code: 0,
      stdout: "Now ada's: 2, 3. Running services follow within 5 s.\n",
      stderr: '',
    });
    expect(await owners()).toEqual([null, 'ada', 'ada', null]);
    expect(await newActs()).toEqual(
      [2, 3].map((accountId) => ({ action: 'account.owner_set', accountId, owner: 'ada', before: null })),
    );
  });

  it('records the previous owner, and nothing if nothing changes', async () => {
    await assignAccounts(shards, { accounts: [1, 2], owner: 'ada' });
    const run = await cli('--account', '1', '2', '4', '--nobody');
    expect(run.stdout).toBe(
      "Now nobody's: 1, 2. Running services follow within 5 s.\nNobody's already: 4.\n",
    );
    expect(await owners()).toEqual([null, null, null, null]);
    expect((await newActs()).slice(2)).toEqual(
      [1, 2].map((accountId) => ({ action: 'account.owner_set', accountId, owner: null, before: 'ada' })),
    );
  });

  it('leaves balance, version and history unchanged', async () => {
    const rows = async (): Promise<unknown[]> =>
      (
        await client.query<object>(
          'SELECT account_id, balance, version, head_hash FROM bank_0.accounts ORDER BY 1',
        )
      ).rows;
    const before = await rows();
    await assignAccounts(shards, { accounts: [1, 3], owner: 'ada' });
    expect(await rows()).toEqual(before);
  });

  it('counts each change as a revision, and nothing else', async () => {
    const revisions = async () =>
      (
        await client.query<{ revision: number }>('SELECT revision FROM bank_0.accounts ORDER BY account_id')
      ).rows.map(({ revision }) => revision);
    const [first = 0, second = 0] = await revisions();
    await assignAccounts(shards, { accounts: [1], owner: 'ada' });
    await assignAccounts(shards, { accounts: [1, 3], owner: 'ada' });
    await assignAccounts(shards, { accounts: [1], owner: 'bob' });
    expect(await revisions()).toEqual([first + 2, second + 1]);
  });

  it('makes each change an event of the account, chained and announced', async () => {
    const count = async (table: string) => (await client.query(`SELECT FROM bank_0.${table}`)).rowCount ?? 0;
    const [events, announced] = [await count('account_events'), await count('outbox')];
    await assignAccounts(shards, { accounts: [1], owner: 'ada "the first"' });
    await assignAccounts(shards, { accounts: [1], owner: 'ada "the first"' });
    expect([await count('account_events'), await count('outbox')]).toEqual([events + 1, announced + 1]);
    const { rows } = await client.query(
      'SELECT account_id::int, actor, changes FROM bank_0.account_events ORDER BY event_id DESC LIMIT 1',
    );
    const changes = '{"owner":"ada \\"the first\\""}';
    expect(rows).toEqual([{ account_id: 1, actor: userInfo().username, changes }]);
    expect(await verifyBank(shards)).toMatchObject({ faults: [], ok: true });
  });

  it('changes and records nothing when an account does not exist', async () => {
    const run = await cli('--account', '1', '99', '--owner', 'ada');
    expect(run).toMatchObject({ code: 1, stderr: 'error: there is no account 99; nothing was changed\n' });
    expect(await owners()).toEqual([null, null, null, null]);
    expect(await newActs()).toEqual([]);
  });

  it('makes no change without a record of it, and says what was done', async () => {
    await client.query(
      'ALTER TABLE bank_0.audit_events ADD CONSTRAINT full_up CHECK (event_id <= 0) NOT VALID',
    );
    try {
      await expect(assignAccounts(shards, { accounts: [1], owner: 'ada' })).rejects.toThrow(
        /^account 1: [\s\S]*\(no account was changed\)$/,
      );
      expect(await owners()).toEqual([null, null, null, null]);
    } finally {
      await client.query('ALTER TABLE bank_0.audit_events DROP CONSTRAINT full_up');
    }
  });

  it.each([
    [['--account', '1'], '--owner or --nobody is needed'],
    [['--account', '1', '--owner', 'ada', '--nobody'], 'cannot be used with option'],
    [['--account', '1', '--owner', 'a\nb'], 'without control characters'],
    [['--account', '0', '--owner', 'ada'], 'whole number'],
    [['--owner', 'ada'], "required option '--account <ID...>'"],
  ])('refuses %j', async (args, message) => {
    const run = await cli(...args);
    expect(run.code).toBe(2);
    expect(run.stderr).toContain(message);
  });
});
