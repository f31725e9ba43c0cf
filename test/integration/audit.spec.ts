import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { recordAct, recordActOn } from '../../src/audit/audit-log.js';
import { archiveBank } from '../../src/admin/archive.js';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { checkHeads, exportHeads } from '../../src/admin/audit/heads.js';
import { readEvents } from '../../src/admin/audit/events.js';
import { seedBank } from '../../src/admin/seed.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { CommandError } from '../../src/admin/command-error.js';
import { startCli } from '../support/cli.js';
import { openLedger } from '../support/ledger.js';
import { createEmptyTestDatabase, createTestDatabase, type TestDatabase } from '../support/postgres.js';

const BANK_ID = '00000000-0000-4000-8000-000000000001';

let database: TestDatabase;
let client: Client;
let folder: string;
let file: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'audit-'));
});

afterAll(() => rm(folder, { recursive: true }));

beforeEach(async () => {
  database = await createTestDatabase('audit');
  client = new Client({ connectionString: database.url });
  await client.connect();
  file = join(folder, `${Math.random()}.jsonl`);
});

afterEach(async () => {
  await client.end();
  await database.drop();
});

const bank = (): ShardAddress[] => [{ url: database.url, schema: 'bank' }];
const check = () => checkHeads(bank(), BANK_ID, file);
const WHOLE = { different: [], differing: 0, eventsDiffer: false };

async function postTo(accountId: number, times: number): Promise<void> {
  const ledger = await openLedger(database.url);
  for (let n = 0; n < times; n++) {
    await ledger.post({ accountId, type: 'credit', amount: 1n });
  }
  await ledger.close();
}

describe('an export of the heads', () => {
  beforeEach(async () => {
    await seedBank(bank(), { accounts: 5, balance: 100n });
    await recordActOn(bank(), { action: 'test.done', details: {} });
    await postTo(2, 3);
  });

  it('lists the version and the hash of every account, and ends with the SHA-256 of all lines before', async () => {
    const report = await exportHeads(bank(), BANK_ID, file);
    const lines = (await readFile(file, 'utf8')).split('\n');
    expect(lines.pop()).toBe('');
    const last = lines.pop();
    const sha256 = createHash('sha256')
      .update(lines.map((line) => `${line}\n`).join(''))
      .digest('hex');
    expect(JSON.parse(last ?? '')).toEqual({ accounts: 5, sha256 });
    expect(report).toEqual({ accounts: 5, sha256 });
    const heads = lines.slice(1, 6).map((line) => JSON.parse(line) as Record<string, unknown>);
    const stored = await client.query<Record<string, unknown>>(
      `SELECT account_id::int AS "accountId", version::int, encode(head_hash, 'hex') AS hash FROM bank.accounts
       ORDER BY account_id`,
    );
    expect(heads).toEqual(stored.rows);
    expect(heads[1]).toMatchObject({ accountId: 2, version: 5 });
  });

  it('matches a history that only grew, archive included', async () => {
    await exportHeads(bank(), BANK_ID, file);
    await postTo(2, 2);
    await recordActOn(bank(), { action: 'test.done', details: {} });
    await archiveBank(bank(), new Date());
    expect(await check()).toMatchObject({ accounts: 5, ...WHOLE });
  });

  it('exposes a rewritten history, even a consistent one', async () => {
    await exportHeads(bank(), BANK_ID, file);
    await client.query(`
      DELETE FROM bank.transactions WHERE account_id = 2 AND version_after > 3;
      UPDATE bank.accounts SET version = 3, balance = 1.01,
        head_hash = (SELECT hash FROM bank.transactions WHERE account_id = 2 AND version_after = 3)
      WHERE account_id = 2`);
    expect(await check()).toMatchObject({ different: [2], differing: 1 });
    await postTo(2, 4);
    expect(await check()).toMatchObject({ different: [2], differing: 1 });
  });

  it('has the heads of changes of accounts, and exposes their loss', async () => {
    await assignAccounts(bank(), { accounts: [2, 3], owner: 'ada' });
    await exportHeads(bank(), BANK_ID, file);
    const { rows } = await client.query<object>(
      `SELECT revision, encode(hash, 'hex') AS hash FROM bank.account_events WHERE account_id = 2`,
    );
    const line = (await readFile(file, 'utf8')).split('\n').find((text) => text.includes('"accountId":2,'));
    expect(JSON.parse(line ?? '')).toMatchObject({ events: rows[0] });
    await assignAccounts(bank(), { accounts: [2], owner: 'bob' });
    expect(await check()).toMatchObject({ accounts: 5, ...WHOLE });
    await client.query(`
      DELETE FROM bank.account_events WHERE account_id = 3;
      UPDATE bank.account_events SET hash = sha256(hash) WHERE account_id = 2 AND revision = 1`);
    expect(await check()).toMatchObject({ different: [2, 3], differing: 2 });
  });

  it('takes a file of the first format, which has no such heads', async () => {
    await exportHeads(bank(), BANK_ID, file);
    const lines = (await readFile(file, 'utf8'))
      .replace('"formatVersion":2', '"formatVersion":1')
      .trimEnd()
      .split('\n');
    const before = lines
      .slice(0, -1)
      .map((line) => `${line}\n`)
      .join('');
    const sha256 = createHash('sha256').update(before).digest('hex');
    await writeFile(file, `${before}${JSON.stringify({ accounts: 5, sha256 })}\n`);
    expect(await check()).toMatchObject({ accounts: 5, ...WHOLE });
  });

  it('exposes a deleted account', async () => {
    await exportHeads(bank(), BANK_ID, file);
    await client.query('DELETE FROM bank.accounts WHERE account_id = 4');
    expect(await check()).toMatchObject({ different: [4], differing: 1 });
  });

  it('exposes an audit log whose end was cut off', async () => {
    await exportHeads(bank(), BANK_ID, file);
    await client.query('DELETE FROM bank.audit_events');
    expect(await readEvents(bank())).toEqual({ events: [], firstBroken: undefined });
    expect(await check()).toMatchObject({ differing: 0, eventsDiffer: true });
  });

  it('is rejected when the file was changed or is from another bank', async () => {
    await exportHeads(bank(), BANK_ID, file);
    const text = await readFile(file, 'utf8');
    const damages = [
      text.replace('"version":5', '"version":4'),
      text.replace(/\{"accountId":3.*\n/, ''),
      text.replace(/\{"accounts":5.*\n/, ''),
      `${text}{"accountId":9,"version":2,"hash":"${'0'.repeat(64)}"}\n`,
      '',
      'no heads at all\n',
      'x'.repeat(5_000_000),
      text.replace(/"takenAt":"[^"]*"/, '"takenAt":"\\u001b[2J"'),
      text.replace(BANK_ID, '\\u001b[2J'),
      text.replace(/\{"accountId":3.*\n/, `{"accountId":1e400}\n`),
      text.replace(/\{"accountId":3.*\n/, `${'['.repeat(900)}\n`),
      text.replace(/\{"accountId":3.*\n/, `{"__proto__":{"accountId":3}}\n`),
      text.replaceAll('\n', '\r\n'),
    ];
    for (const damaged of damages) {
      await writeFile(file, damaged);
      await expect(check()).rejects.toThrow(CommandError);
      await expect(check()).rejects.toThrow(/is damaged|is not whole/);
    }
    await writeFile(file, text);
    const other = '00000000-0000-4000-8000-000000000002';
    await expect(checkHeads(bank(), other, file)).rejects.toThrow('is of another bank');
  });

  it('does not overwrite a file, and leaves none when it is interrupted', async () => {
    await writeFile(file, 'mine');
    await expect(exportHeads(bank(), BANK_ID, file)).rejects.toThrow("can't be made");
    expect(await readFile(file, 'utf8')).toBe('mine');
    const stopped = join(folder, 'stopped');
    const signal = AbortSignal.abort(new Error('stopped'));
    await expect(exportHeads(bank(), BANK_ID, stopped, { signal })).rejects.toThrow('stopped');
    await expect(readFile(stopped)).rejects.toThrow('ENOENT');
  });
});

it('exports and checks the shards of a bank', async () => {
  const other = await createEmptyTestDatabase('audit-shards');
  try {
    const shards = [0, 1, 2].map((index) => ({ url: other.url, schema: `bank_${index}` }));
    await bootstrapShards(shards);
    await seedBank(shards, { accounts: 30, balance: 100n });
    expect(await exportHeads(shards, BANK_ID, file)).toMatchObject({ accounts: 30 });
    expect(await checkHeads(shards, BANK_ID, file)).toMatchObject({ accounts: 30, ...WHOLE });
  } finally {
    await other.drop();
  }
});

describe('the audit log', () => {
  const act = (n: number) => ({ action: 'test.done', details: { n, 'a:b': '"ü"' } });

  it('chains what is recorded, with actor and time', async () => {
    const before = Date.now();
    for (let n = 0; n < 3; n++) await recordActOn(bank(), act(n));
    const { events, firstBroken } = await readEvents(bank());
    expect(firstBroken).toBeUndefined();
    expect(events.map(({ action, actor, details }) => ({ action, actor, details }))).toEqual(
      [0, 1, 2].map((n) => ({
        action: 'test.done',
        actor: userInfo().username,
        details: JSON.stringify(act(n).details),
      })),
    );
    for (const { happenedAt } of events) expect(Math.abs(happenedAt.getTime() - before)).toBeLessThan(10_000);
  });

  it('stays one chain when several record at the same time', async () => {
    await Promise.all(Array.from({ length: 8 }, (_, n) => recordActOn(bank(), act(n))));
    const { events, firstBroken } = await readEvents(bank());
    expect(events).toHaveLength(8);
    expect(firstBroken).toBeUndefined();
  });

  it('contains no trace of what was rolled back', async () => {
    await client.query('BEGIN');
    await recordAct(client, 'bank', act(1));
    await client.query('ROLLBACK');
    expect((await readEvents(bank())).events).toEqual([]);
  });

  it.each([
    ['its details', `details = '{}'`],
    ['its action', `action = 'nothing'`],
    ['its actor', `actor = 'nobody'`],
    ['its time', `happened_at = happened_at - interval '1 ms'`],
    ['its id', 'event_id = -event_id'],
    ['its hash', 'hash = sha256(hash)'],
  ])('exposes an event when %s was changed', async (_what, change) => {
    for (let n = 0; n < 4; n++) await recordActOn(bank(), act(n));
    const ids = (await readEvents(bank())).events.map(({ eventId }) => eventId);
    await client.query(`UPDATE bank.audit_events SET ${change} WHERE event_id = ${ids[2]}`);
    const { firstBroken } = await readEvents(bank());
    expect(Math.abs(firstBroken ?? 0)).toBe(ids[2]);
  });

  it('exposes a missing event', async () => {
    for (let n = 0; n < 4; n++) await recordActOn(bank(), act(n));
    const ids = (await readEvents(bank())).events.map(({ eventId }) => eventId);
    await client.query(`DELETE FROM bank.audit_events WHERE event_id = ${ids[1]}`);
    expect((await readEvents(bank())).firstBroken).toBe(ids[2]);
  });
});

describe('the command line', () => {
  const run = (...args: string[]) => startCli(args, { DATABASE_URL: database.url }).ended;

  it('records commands that change or copy the bank', async () => {
    expect(await run('seed', '--accounts', '1', '--owner', 'ada')).toMatchObject({ code: 0 });
    expect(await run('archive', '--before', '2026-01-01')).toMatchObject({ code: 0 });
    expect(await run('audit', 'export', '--to', file)).toMatchObject({ code: 0 });
    const { events, firstBroken } = await readEvents(bank());
    expect(events.map(({ action, details }) => [action, details])).toEqual([
      ['accounts.seeded', '{"accounts":1,"balance":"1000.00","owner":"ada"}'],
      ['transactions.archived', '{"before":"2026-01-01T00:00:00.000Z"}'],
      ['heads.exported', JSON.stringify({ to: file })],
    ]);
    expect(firstBroken).toBeUndefined();
  }, 60_000);

  it('records a reset, exports, checks, and finds an edit', async () => {
    await seedBank(bank(), { accounts: 2, balance: 100n });
    expect((await run('reset', '--account', '2', '--balance', '5')).code).toBe(0);
    const listed = await run('audit', 'list');
    expect(listed.code).toBe(0);
    expect(listed.stdout).toMatch(
      /^1 {2}\S+ {2}account\.reset {2}by \S+ {2}\{"account":2,"balance":"5\.00"\}\n$/,
    );
    expect(await run('audit', 'export', '--to', file)).toMatchObject({ code: 0 });
    expect(await run('audit', 'check', '--from', file)).toMatchObject({ code: 0 });
    await client.query(
      `UPDATE bank.transactions SET timestamp = timestamp - interval '1 day' WHERE account_id = 2 AND version_after = 2`,
    );
    const verified = await run('verify');
    expect(verified.code).toBe(1);
    expect(verified.stdout).toMatch(/account 2: hashes_run_on \(the chain breaks at txn\d+, version 2\)/);

    await client.query(`UPDATE bank.audit_events SET details = '{"account":1,"balance":"5.00"}'`);
    const log = await run('audit', 'list');
    expect(log.code).toBe(1);
    expect(log.stdout).toContain('The audit log is NOT whole: event 1');
    const json = await run('verify', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, firstBrokenEvent: 1 });
    await client.query('DELETE FROM bank.audit_events');
    const checked = await run('audit', 'check', '--from', file);
    expect(checked.code).toBe(1);
    expect(checked.stdout).toContain('The audit log does NOT have that history any more.');
  }, 60_000);
});
