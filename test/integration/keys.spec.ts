import { userInfo } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { hashOfKey, isKey } from '../../src/access/api-key.js';
import { readEvents } from '../../src/admin/audit/events.js';
import { createKey, listKeys, revokeKey, rotateKey, type KeyCreated } from '../../src/admin/keys.js';
import { keysText } from '../../src/cli/keys-list.js';
import { startCli } from '../support/cli.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';

/** Several processes in one test, each of which takes its time to start on a busy machine. */
const PROCESSES_TIMEOUT_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let database: TestDatabase;
let client: Client;

beforeAll(async () => {
  database = await createTestDatabase('keys');
  client = new Client({ connectionString: database.url });
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await database.drop();
});

const bank = () => [{ url: database.url, schema: 'bank' }];
const start = (args: string[], uid?: number, settings: Record<string, string> = {}) =>
  startCli(['keys', ...args], { DATABASE_URL: database.url, LOG_LEVEL: 'error', ...settings }, uid).ended;
const run = (...args: string[]) => start(args);
const listed = async (keyId: number) => (await listKeys(bank())).find((key) => key.keyId === keyId);

async function lastAct(): Promise<{ action: string; actor: string; details: unknown }> {
  const { events } = await readEvents(bank());
  const { action = '', actor = '', details = '{}' } = events.at(-1) ?? {};
  return { action, actor, details: JSON.parse(details) };
}

describe('cli keys', () => {
  it(
    'creates a key that is shown once, lists it, rotates it, and revokes it',
    async () => {
      const made = await run('create', '--name', 'till', '--scopes', 'accounts:read', '--owner', 'ada');
      expect(made.code).toBe(0);
      expect(made.stderr).toContain('This is key 1. It is shown this once');
      const key = made.stdout.slice(0, -1);
      expect(isKey(key)).toBe(true);
      const { rows } = await client.query(`SELECT encode(hash, 'hex') AS hash FROM bank.api_keys`);
      expect(rows).toEqual([{ hash: hashOfKey(key) }]);

      const list = await run('list');
      expect(list.stdout).toContain(key.slice(0, 9));
      expect(list.stdout).not.toContain(key.slice(0, 10));
      expect(list.stdout).toMatch(/^1 +till +bank_.{4}… +accounts:read +ada +good +never used\n$/);

      const rotated = await run('rotate', '1', '--overlap', '2h', '--expires', '90d', '--json');
      const second = JSON.parse(rotated.stdout) as KeyCreated;
      expect(isKey(second.key)).toBe(true);
      const json = JSON.parse((await run('list', '--json')).stdout) as Record<string, string>[];
      expect(json).toMatchObject([
        { keyId: 1, name: 'till', revokedAt: null },
        { keyId: 2, name: 'till', scopes: ['accounts:read'], owner: 'ada', revokedAt: null },
      ]);
      const endsInMs = json.map(({ expiresAt }) => Date.parse(expiresAt ?? '') - Date.now());
      for (const [index, wanted] of [2 * HOUR_MS, 90 * DAY_MS].entries()) {
        expect(Math.abs((endsInMs[index] ?? 0) - wanted)).toBeLessThan(PROCESSES_TIMEOUT_MS);
      }

      expect(await run('revoke', '1')).toMatchObject({ code: 0 });
      expect(await run('revoke', '1')).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(/^error: key 1 was revoked at [^\n]+\n$/),
      });
      expect(keysText(await listKeys(bank()))).toContain('revoked 2');
    },
    PROCESSES_TIMEOUT_MS,
  );

  it('works for a user without a name, as in containers', async () => {
    // Only root can be somebody else.
    const uid = process.getuid?.() === 0 ? 54_321 : undefined;
    const made = await start(['create', '--name', 'till', '--scopes', 'admin', '--json'], uid);
    expect(made).toMatchObject({ code: 0, stderr: '' });
    expect((await lastAct()).actor).toBe(uid === undefined ? userInfo().username : `uid ${uid}`);
  });

  it(
    'says so when the service asks for no key, which would seem to work even when revoked',
    async () => {
      const off = (...args: string[]) => start(args, undefined, { AUTH: 'off' });
      const note = /(^|\n)With these settings the service asks for no key: AUTH=on makes it ask\.\n$/;
      const created = await off('create', '--name', 'till', '--scopes', 'admin', '--json');
      const { keyId } = JSON.parse(created.stdout) as { keyId: number };
      const rotated = await off('rotate', String(keyId), '--json');
      const revoked = await off('revoke', String(keyId));
      for (const { stderr } of [created, rotated, revoked]) expect(stderr).toMatch(note);
    },
    PROCESSES_TIMEOUT_MS,
  );

  it(
    'says what is wrong, and creates nothing',
    async () => {
      const before = await listKeys(bank());
      const unknown = await run('create', '--name', 'x', '--scopes', 'everything');
      expect(unknown.code).toBe(2);
      expect(unknown.stderr).toContain('accounts:read, accounts:write');
      expect(await run('revoke', '999')).toMatchObject({ code: 1, stderr: 'error: there is no key 999\n' });
      const owned = await run('create', '--name', 'x', '--scopes', 'admin', '--owner', 'ada');
      expect(owned.code).toBe(1);
      expect(owned.stderr).toContain('can have no owner');
      const scopes = ['accounts:read', 'accounts:manage'] as const;
      await expect(createKey(bank(), { name: 'x', scopes, owner: 'ada' })).rejects.toThrow(
        "a key with an owner can't have the scope accounts:manage: statuses and limits are for the bank to set",
      );
      expect(await listKeys(bank())).toEqual(before);
    },
    PROCESSES_TIMEOUT_MS,
  );
});

describe('a change of keys', () => {
  const request = { name: 'service', scopes: ['transactions:write'] as const, owner: 'bob' };

  it('is recorded without the keys', async () => {
    const expires = new Date(Date.now() + DAY_MS);
    const first = await createKey(bank(), { ...request, expires });
    expect(await lastAct()).toMatchObject({
      action: 'key.created',
      details: { key: first.keyId, ...request, expires: expires.toISOString() },
    });
    const second = await rotateKey(bank(), first.keyId, { overlapMs: HOUR_MS });
    expect(await lastAct()).toMatchObject({
      action: 'key.rotated',
      // The new one ends when the old one would have.
      details: { key: first.keyId, name: 'service', by: second.keyId, expires: expires.toISOString() },
    });
    await revokeKey(bank(), first.keyId);
    expect(await lastAct()).toMatchObject({
      action: 'key.revoked',
      details: { key: first.keyId, name: 'service' },
    });
    const { events, firstBroken } = await readEvents(bank());
    expect(firstBroken).toBeUndefined();
    for (const { key } of [first, second]) {
      expect(JSON.stringify(events)).not.toContain(key.slice(5, 15));
      expect(JSON.stringify(events)).not.toContain(hashOfKey(key));
    }
  });

  it('is both made and recorded, or neither', async () => {
    const { keyId } = await createKey(bank(), request);
    const before = await listKeys(bank());
    await client.query('ALTER TABLE bank.audit_events RENAME TO audit_events_gone');
    try {
      for (const act of [
        () => createKey(bank(), request),
        () => revokeKey(bank(), keyId),
        () => rotateKey(bank(), keyId, { overlapMs: 0 }),
      ]) {
        await expect(act()).rejects.toThrow('audit_events');
      }
    } finally {
      await client.query('ALTER TABLE bank.audit_events_gone RENAME TO audit_events');
    }
    expect(await listKeys(bank())).toEqual(before);
  });

  it('is made once when two try it at the same time', async () => {
    const { keyId } = await createKey(bank(), request);
    const both = await Promise.allSettled([revokeKey(bank(), keyId), revokeKey(bank(), keyId)]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it('does not extend the life of an old key', async () => {
    const expires = new Date(Date.now() + HOUR_MS);
    const { keyId } = await createKey(bank(), { ...request, expires });
    await rotateKey(bank(), keyId, { overlapMs: DAY_MS });
    expect((await listed(keyId))?.expiresAt).toEqual(expires);
    await expect(createKey(bank(), { ...request, expires: new Date(0) })).rejects.toThrow(
      'would have expired already',
    );
  });

  it('gives each replacement the expiry of the first key, not the end of the overlap', async () => {
    for (const expires of [undefined, new Date(Date.now() + 90 * DAY_MS)]) {
      const first = await createKey(bank(), { ...request, expires });
      const second = await rotateKey(bank(), first.keyId, { overlapMs: HOUR_MS });
      const third = await rotateKey(bank(), second.keyId, { overlapMs: HOUR_MS });
      expect((await listed(third.keyId))?.expiresAt).toEqual(expires ?? null);
      for (const { keyId } of [first, second]) {
        const endsInMs = ((await listed(keyId))?.expiresAt?.getTime() ?? 0) - Date.now();
        expect(Math.abs(endsInMs - HOUR_MS)).toBeLessThan(PROCESSES_TIMEOUT_MS);
      }
    }
  });

  it('does not rotate a key that was rotated, has expired, was revoked or never existed', async () => {
    const [old, expired, revoked] = [
      await createKey(bank(), request),
      await createKey(bank(), { ...request, expires: new Date(Date.now() + 50) }),
      await createKey(bank(), request),
    ];
    const { keyId } = await rotateKey(bank(), old.keyId, { overlapMs: HOUR_MS });
    await revokeKey(bank(), revoked.keyId);
    await new Promise((resolve) => setTimeout(resolve, 60));
    const before = await listKeys(bank());
    const rotate = (id: number) => rotateKey(bank(), id, { overlapMs: HOUR_MS });
    await expect(rotate(old.keyId)).rejects.toThrow(
      `key ${old.keyId} was rotated before: rotate key ${keyId}, which replaced it`,
    );
    await expect(rotate(expired.keyId)).rejects.toThrow('has expired already');
    await expect(rotate(revoked.keyId)).rejects.toThrow('was revoked at');
    await expect(rotate(9_999)).rejects.toThrow('there is no key 9999');
    expect(await listKeys(bank())).toEqual(before);
  });
});
