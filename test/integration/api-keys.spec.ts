import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { CredentialStoreUnavailableError } from '../../src/access/access-errors.js';
import { generateKey } from '../../src/access/api-key.js';
import { ApiKeys, VALID_MS } from '../../src/access/api-keys.js';
import { ApiKeyStore, type ValidKey } from '../../src/access/api-key-store.js';
import { createKey, listKeys, revokeKey } from '../../src/admin/keys.js';
import { createDataSource } from '../../src/storage/data-source.js';
import { ShardPool } from '../../src/storage/shard-pool.js';
import { pass } from '../support/clock.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

/** Counts its statements, and can be slow. */
class WatchedStore extends ApiKeyStore {
  reads = 0;
  writes = 0;
  /** What each statement waits for before it is sent. */
  held: Promise<unknown> = Promise.resolve();
  down = false;

  override async findValid(hashes: readonly Buffer[]): Promise<ValidKey[]> {
    this.reads += 1;
    await this.takeTime();
    return super.findValid(hashes);
  }

  override async noteUse(keyIds: readonly number[], precisionMs: number): Promise<void> {
    this.writes += 1;
    await this.takeTime();
    return super.noteUse(keyIds, precisionMs);
  }

  private async takeTime(): Promise<void> {
    if (this.down) throw new Error('down');
    await this.held;
  }
}

let database: TestDatabase;
let dataSource: DataSource;
let watched: WatchedStore;
let keys: ApiKeys;
/** The reports of whether the keys can be read. */
let states: unknown[];

const STALE_MS = 900_000;
const CLIENT = '192.0.2.1';

beforeAll(async () => {
  database = await createTestDatabase('api_keys');
  const pool = { name: 'test-keys', size: 4, connectTimeoutMs: 1_000 };
  dataSource = await createDataSource({ url: database.url, schema: 'bank' }, pool).initialize();
});

afterAll(async () => {
  await dataSource.destroy();
  await database.drop();
});

beforeEach(() => {
  watched = new WatchedStore(new ShardPool(dataSource), 'bank');
  keys = new ApiKeys(watched, STALE_MS, (problem) => states.push(problem));
  states = [];
});

afterEach(() => {
  keys.close();
  jest.restoreAllMocks();
});

const shards = () => [{ url: database.url, schema: 'bank' }];
const make = (expires?: Date) =>
  createKey(shards(), { name: 'test', scopes: ['accounts:read'], owner: 'ada', expires });

describe('a key', () => {
  it('is read once, however many need it at the same time, and not again while it is known', async () => {
    const { key, keyId } = await make();
    expect(keys.recall(key)).toBeUndefined();
    const found = await Promise.all(Array.from({ length: 100 }, () => keys.lookUp(key, CLIENT)));
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

  it('in use is read again before it expires from the cache, and nobody waits', async () => {
    const { key } = await make();
    const known = await keys.lookUp(key, CLIENT);
    pass(VALID_MS * 0.6);
    for (let n = 0; n < 100; n++) expect(known.principalNow()).toBeDefined();
    await waitUntil(() => Promise.resolve(watched.reads === 2), 2_000);
    await waitUntil(async () => (await keys.lookUp(key, CLIENT)) === known, 2_000);
    pass(VALID_MS * 0.6);
    expect(known.principalNow()).toBeDefined();
  });

  it('is trusted for a limited time, counted from the start of its reading', async () => {
    const { key } = await make();
    const known = await keys.lookUp(key, CLIENT);
    pass(VALID_MS + 1);
    expect(known.principalNow()).toBeUndefined();
    let release: () => void = () => undefined;
    watched.held = new Promise<void>((resolve) => (release = resolve));
    const slow = keys.lookUp(key, CLIENT);
    await waitUntil(() => Promise.resolve(watched.reads === 2), 2_000);
    pass(VALID_MS + 1);
    release();
    await expect(slow).rejects.toThrow(CredentialStoreUnavailableError);
  });

  it('that was revoked is rejected even where a reference to it is held, once that is read', async () => {
    const { key, keyId } = await make();
    const known = await keys.lookUp(key, CLIENT);
    await revokeKey(shards(), keyId);
    pass(VALID_MS * 0.55);
    // This has it read again.
    known.principalNow();
    // Sooner than it would end by itself.
    await waitUntil(() => Promise.resolve(known.principalNow() === undefined), VALID_MS * 0.35);
    expect(keys.recall(key)?.principalNow()).toBeUndefined();
    const before = watched.reads;
    for (let n = 0; n < 20; n++) await expect(keys.lookUp(key, CLIENT)).rejects.toThrow('Unauthorized');
    expect(watched.reads).toBe(before);
  });

  it('that has expired is not read for each request', async () => {
    const { key } = await make(new Date(Date.now() + 300));
    const known = await keys.lookUp(key, CLIENT);
    await waitUntil(() => Promise.resolve(known.principalNow() === undefined), 2_000);
    const before = watched.reads;
    for (let n = 0; n < 20; n++) await expect(keys.lookUp(key, CLIENT)).rejects.toThrow('Unauthorized');
    expect(watched.reads - before).toBeLessThanOrEqual(1);
  });

  it('works even if its use can not be recorded, which is tried once a minute', async () => {
    const { key, keyId } = await make();
    const known = await keys.lookUp(key, CLIENT);
    await dataSource.query('ALTER TABLE bank.api_keys RENAME COLUMN last_used_at TO was_used_at');
    try {
      for (let n = 0; n < 100; n++) expect(known.principalNow()).toBeDefined();
      expect(watched.writes).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 100));
    } finally {
      await dataSource.query('ALTER TABLE bank.api_keys RENAME COLUMN was_used_at TO last_used_at');
    }
    const again = await keys.lookUp(key, CLIENT);
    pass(61_000);
    // It is stale by then: whoever comes looks it up.
    const later = await keys.lookUp(key, CLIENT);
    expect(later).toBe(again);
    expect(later.principalNow()).toBeDefined();
    expect(watched.writes).toBe(2);
    await waitUntil(
      async () => (await listKeys(shards())).find((one) => one.keyId === keyId)?.lastUsedAt !== null,
      2_000,
    );
  });
});

describe('an invalid key', () => {
  it('costs no query when its checksum is wrong, and one query when it was looked up just before', async () => {
    for (let n = 0; n < 100; n++) {
      const slip = `${generateKey().slice(0, -1)}~`;
      expect(keys.isWellFormed(slip)).toBe(false);
    }
    const unknown = generateKey();
    for (let n = 0; n < 100; n++) await expect(keys.lookUp(unknown, CLIENT)).rejects.toThrow('Unauthorized');
    expect(watched.reads).toBe(1);
    pass(VALID_MS);
    await expect(keys.lookUp(unknown, CLIENT)).rejects.toThrow('Unauthorized');
    expect(watched.reads).toBe(2);
  });

  it('evicts no valid key, however many there are', async () => {
    const { key } = await make();
    await keys.lookUp(key, CLIENT);
    const tries = 10_500;
    for (let n = 0; n < tries; n += 500) {
      await Promise.allSettled(Array.from({ length: 500 }, () => keys.lookUp(generateKey(), CLIENT)));
    }
    expect(watched.reads).toBeLessThan(tries / 20);
    expect(keys.recall(key)).toBeDefined();
  });
});

describe('while the keys can not be read', () => {
  const TRIED_AGAIN_MS = 2_000;
  const unavailable = (key: string) =>
    expect(keys.lookUp(key, CLIENT)).rejects.toThrow(CredentialStoreUnavailableError);

  /** Has a key read, in vain. */
  async function fail(known: { principalNow(): unknown }): Promise<void> {
    watched.down = true;
    pass(VALID_MS * 0.6);
    expect(known.principalNow()).toBeDefined();
    await waitUntil(() => Promise.resolve(keys.unreadable), 2_000);
  }

  it('a known key is trusted for its time, and an unknown one is not reported as invalid', async () => {
    const [used, fresh] = await Promise.all([make(), make()]);
    const known = await keys.lookUp(used.key, CLIENT);
    await fail(known);
    await unavailable(fresh.key);
    pass(STALE_MS - VALID_MS);
    expect(known.principalNow()).toBeDefined();
    expect(await keys.lookUp(used.key, CLIENT)).toBe(known);
    pass(VALID_MS);
    expect(known.principalNow()).toBeUndefined();
    await unavailable(used.key);
  });

  it('it is logged once, until a read succeeds again', async () => {
    const [used, revoked] = await Promise.all([make(), make()]);
    const [known, other] = await Promise.all([
      keys.lookUp(used.key, CLIENT),
      keys.lookUp(revoked.key, CLIENT),
    ]);
    await fail(known);
    await revokeKey(shards(), revoked.keyId);
    pass(60_000);
    expect(other.principalNow()).toBeDefined();
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(states).toEqual([new Error('down')]);
    expect(known.principalNow()).toBeDefined();
    expect(other.principalNow()).toBeDefined();
    watched.down = false;
    await waitUntil(() => Promise.resolve(states.length === 2), TRIED_AGAIN_MS);
    expect(states[1]).toBeUndefined();
    expect(known.principalNow()).toBeDefined();
    expect(other.principalNow()).toBeUndefined();
    await expect(keys.lookUp(revoked.key, CLIENT)).rejects.toThrow('Unauthorized');
  });

  it('a known revocation or expiry stays in force', async () => {
    const ends = new Date(Date.now() + 60_000);
    const [used, revoked, expiring] = await Promise.all([make(), make(), make(ends)]);
    const known = await keys.lookUp(used.key, CLIENT);
    await keys.lookUp(revoked.key, CLIENT);
    await keys.lookUp(expiring.key, CLIENT);
    await revokeKey(shards(), revoked.keyId);
    pass(VALID_MS);
    await expect(keys.lookUp(revoked.key, CLIENT)).rejects.toThrow('Unauthorized');
    await keys.lookUp(used.key, CLIENT);
    await fail(known);
    pass(120_000);
    for (const { key } of [revoked, expiring]) {
      await expect(keys.lookUp(key, CLIENT)).rejects.toThrow('Unauthorized');
    }
    expect(known.principalNow()).toBeDefined();
  });

  it('because the database hangs, a key in use waits for nothing, and an unused one for a second', async () => {
    const [busy, resting] = await Promise.all([make(), make()]);
    const known = await keys.lookUp(busy.key, CLIENT);
    await keys.lookUp(resting.key, CLIENT);
    pass(VALID_MS * 0.6);
    watched.held = new Promise(() => undefined);
    expect(known.principalNow()).toBeDefined();
    pass(VALID_MS);
    const startedMs = performance.now();
    expect(await keys.lookUp(resting.key, CLIENT)).toBeDefined();
    expect(performance.now() - startedMs).toBeLessThan(1_500);
    const afterMs = performance.now();
    for (let n = 0; n < 100; n++) {
      expect(known.principalNow()).toBeDefined();
      expect(await keys.lookUp(resting.key, CLIENT)).toBeDefined();
    }
    expect(performance.now() - afterMs).toBeLessThan(500);
  });
});

describe('while the keys are read, but slowly', () => {
  it('a key in use waits for nothing, and a revocation is still noticed', async () => {
    const [used, revoked] = await Promise.all([make(), make()]);
    const [known, other] = await Promise.all([
      keys.lookUp(used.key, CLIENT),
      keys.lookUp(revoked.key, CLIENT),
    ]);
    const findValid = watched.findValid.bind(watched);
    watched.findValid = async (hashes) => {
      const found = await findValid(hashes);
      await new Promise((resolve) => setTimeout(resolve, 2_300).unref());
      return found;
    };
    await revokeKey(shards(), revoked.keyId);
    let missed = 0;
    for (const endMs = performance.now() + 5_000; performance.now() < endMs;) {
      if (!known.principalNow()) missed += 1;
      other.principalNow();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(missed).toBe(0);
    expect(other.principalNow()).toBeUndefined();
    expect(states).toEqual([]);
  }, 10_000);
});

describe('invented keys', () => {
  it('do not keep valid keys from being found, from the same address or another', async () => {
    const [mine, yours] = await Promise.all([make(), make()]);
    let stopped = false;
    const findValid = watched.findValid.bind(watched);
    watched.findValid = async (hashes) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return findValid(hashes);
    };
    const flood = Array.from({ length: 800 }, async () => {
      while (!stopped) await keys.lookUp(generateKey(), CLIENT).catch(() => undefined);
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    const startedMs = performance.now();
    expect(await keys.lookUp(yours.key, '192.0.2.2')).toBeDefined();
    expect(performance.now() - startedMs).toBeLessThan(1_000);
    expect(await keys.lookUp(mine.key, CLIENT)).toBeDefined();
    expect(performance.now() - startedMs).toBeLessThan(4_000);
    stopped = true;
    await Promise.all(flood);
  });
});
