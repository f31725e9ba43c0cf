import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Pool } from 'pg';
import { generateKey } from '../../src/auth/api-key.js';
import { ApiKeys, VALID_MS, type KeyDatabase } from '../../src/auth/api-keys.js';
import { createKey, listKeys, revokeKey } from '../../src/cli/keys.js';
import { tablesOf } from '../../src/database/tables.js';
import { pass } from '../support/clock.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

/** The database of the keys, which counts what it is asked and may be slow. */
class WatchedDatabase implements KeyDatabase {
  readonly tables = tablesOf('bank');
  reads = 0;
  writes = 0;
  /** What each statement waits for before it is sent. */
  held: Promise<unknown> = Promise.resolve();

  constructor(private readonly pool: Pool) {}

  async query<Row>(sql: string, parameters: readonly unknown[]): Promise<Row[]> {
    if (sql.startsWith('UPDATE')) this.writes += 1;
    else this.reads += 1;
    await this.held;
    return (await this.pool.query(sql, [...parameters])).rows as Row[];
  }
}

let database: TestDatabase;
let pool: Pool;
let watched: WatchedDatabase;
let keys: ApiKeys;

beforeAll(async () => {
  database = await createTestDatabase('api_keys');
  pool = new Pool({ connectionString: database.url, max: 4 });
});

afterAll(async () => {
  await pool.end();
  await database.drop();
});

beforeEach(() => {
  watched = new WatchedDatabase(pool);
  keys = new ApiKeys(watched);
});

afterEach(() => {
  jest.restoreAllMocks();
});

const shards = () => [{ url: database.url, schema: 'bank' }];
const make = (expires?: Date) =>
  createKey(shards(), { name: 'test', scopes: ['accounts:read'], owner: 'ada', expires });

describe('a key', () => {
  it('is read once, however many want it at the same time, and not again while it is known', async () => {
    const { key, keyId } = await make();
    expect(keys.recall(key)).toBeUndefined();
    const found = await Promise.all(Array.from({ length: 100 }, () => keys.lookUp(key)));
    expect(new Set(found).size).toBe(1);
    for (let n = 0; n < 1_000; n++) {
      expect(keys.recall(key)?.principalNow()).toEqual({
        id: `key:${keyId}`,
        owner: 'ada',
        scopes: new Set(['accounts:read']),
      });
    }
    expect(watched.reads).toBe(1);
  });

  it('in use is read again before its time is over, and nobody waits', async () => {
    const { key } = await make();
    const known = await keys.lookUp(key);
    pass(VALID_MS * 0.6);
    for (let n = 0; n < 100; n++) expect(known.principalNow()).toBeDefined();
    expect(watched.reads).toBe(2);
    await waitUntil(async () => (await keys.lookUp(key)) === known, 2_000);
    pass(VALID_MS * 0.6);
    expect(known.principalNow()).toBeDefined();
  });

  it('is believed no longer than its time, counted from when its reading began', async () => {
    const { key } = await make();
    const known = await keys.lookUp(key);
    pass(VALID_MS + 1);
    expect(known.principalNow()).toBeUndefined();
    let release: () => void = () => undefined;
    watched.held = new Promise<void>((resolve) => (release = resolve));
    const slow = keys.lookUp(key);
    pass(VALID_MS + 1);
    release();
    await expect(slow).rejects.toMatchObject({ refusal: { code: 'DATABASE_FAILED' } });
  });

  it('that was revoked is forgotten by whoever has it in hand when that is read', async () => {
    const { key, keyId } = await make();
    const known = await keys.lookUp(key);
    await revokeKey(shards(), keyId);
    pass(VALID_MS * 0.55);
    // This has it read again.
    known.principalNow();
    // Sooner than it would end by itself.
    await waitUntil(() => Promise.resolve(known.principalNow() === undefined), VALID_MS * 0.35);
    expect(keys.recall(key)).toBeUndefined();
    await expect(keys.lookUp(key)).rejects.toThrow('Unauthorized');
  });

  it('that has expired is not asked for each time', async () => {
    const { key } = await make(new Date(Date.now() + 300));
    const known = await keys.lookUp(key);
    await waitUntil(() => Promise.resolve(known.principalNow() === undefined), 2_000);
    const before = watched.reads;
    for (let n = 0; n < 20; n++) await expect(keys.lookUp(key)).rejects.toThrow('Unauthorized');
    expect(watched.reads - before).toBeLessThanOrEqual(1);
  });

  it('works though its use can not be noted, which is tried once a minute', async () => {
    const { key, keyId } = await make();
    const known = await keys.lookUp(key);
    await pool.query('ALTER TABLE bank.api_keys RENAME COLUMN last_used_at TO was_used_at');
    try {
      for (let n = 0; n < 100; n++) expect(known.principalNow()).toBeDefined();
      expect(watched.writes).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 100));
    } finally {
      await pool.query('ALTER TABLE bank.api_keys RENAME COLUMN was_used_at TO last_used_at');
    }
    const again = await keys.lookUp(key);
    pass(61_000);
    // It is stale by then: whoever comes looks it up.
    const later = await keys.lookUp(key);
    expect(later).toBe(again);
    expect(later.principalNow()).toBeDefined();
    expect(watched.writes).toBe(2);
    await waitUntil(
      async () => (await listKeys(shards())).find((one) => one.keyId === keyId)?.lastUsedAt !== null,
      2_000,
    );
  });
});

describe('what is no key', () => {
  it('costs no question where its checksum is wrong, and one where it was asked for just now', async () => {
    for (let n = 0; n < 100; n++) {
      const slip = `${generateKey().slice(0, -1)}~`;
      await expect(keys.lookUp(slip)).rejects.toThrow('Unauthorized');
    }
    expect(watched.reads).toBe(0);
    const unknown = generateKey();
    for (let n = 0; n < 100; n++) await expect(keys.lookUp(unknown)).rejects.toThrow('Unauthorized');
    expect(watched.reads).toBe(1);
    pass(VALID_MS);
    await expect(keys.lookUp(unknown)).rejects.toThrow('Unauthorized');
    expect(watched.reads).toBe(2);
  });

  it('pushes out none that is, however much of it comes', async () => {
    const { key } = await make();
    await keys.lookUp(key);
    const tries = 10_500;
    for (let n = 0; n < tries; n += 500) {
      await Promise.allSettled(Array.from({ length: 500 }, () => keys.lookUp(generateKey())));
    }
    expect(watched.reads).toBe(1 + tries);
    expect(keys.recall(key)).toBeDefined();
  });
});
