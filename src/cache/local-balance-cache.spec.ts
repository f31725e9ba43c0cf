import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { performance } from 'node:perf_hooks';
import fc from 'fast-check';
import type { Account } from '../domain/account.js';
import { LocalBalanceCache } from './local-balance-cache.js';

const TTL_MS = 1_000;
/** Those with odd numbers are overdrawn. */
const account = (accountId: number, version: number): Account => ({
  accountId,
  version,
  decimals: 2,
  balance: BigInt(accountId * 1_000 + version) * (accountId % 2 === 0 ? 1n : -1n),
});

function cacheOf(settings: Partial<{ entries: number; servesReads: boolean }> = {}): LocalBalanceCache {
  return new LocalBalanceCache({ entries: 100, ttlMs: TTL_MS, servesReads: true, ...settings });
}

/** The clock that the cache sees. */
let nowMs = 0;
const advance = (ms: number) => (nowMs += ms);

beforeEach(() => {
  nowMs = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => nowMs);
});

afterEach(() => {
  jest.restoreAllMocks();
});

describe('LocalBalanceCache: versions', () => {
  it('knows nothing at first', () => {
    expect(cacheOf().get(1)).toBeUndefined();
    expect(cacheOf().lastKnownVersion(1)).toBeUndefined();
  });

  it('lets a newer version replace an older one', () => {
    const cache = cacheOf();
    cache.record([account(1, 7)], performance.now());
    cache.record([account(1, 8)], performance.now());
    expect(cache.get(1)).toEqual(account(1, 8));
    expect(cache.lastKnownVersion(1)).toBe(8);
  });

  it('keeps the balance and the version, and nothing else of an account', () => {
    const cache = cacheOf();
    const locked = { ...account(1, 7), held: 5n, status: 'open', headHash: 'ab' };
    cache.record([locked], performance.now());
    expect(cache.get(1)).toStrictEqual(account(1, 7));
  });

  it('never lets an older version replace a newer one: a slow reader must not put back the past', () => {
    const cache = cacheOf();
    cache.record([account(1, 8)], performance.now());
    cache.record([account(1, 7)], performance.now());
    expect(cache.get(1)).toEqual(account(1, 8));
  });

  it('not even when the newer one has expired', () => {
    const cache = cacheOf();
    cache.record([account(1, 8)], performance.now());
    advance(2 * TTL_MS);
    cache.record([account(1, 7)], performance.now());
    expect(cache.get(1)).toBeUndefined();
    expect(cache.lastKnownVersion(1)).toBe(8);
  });

  it('keeps the newest of what it is told, in whatever order', () => {
    const told = fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 20 })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(told, (records) => {
        const cache = cacheOf();
        for (const [accountId, version] of records)
          cache.record([account(accountId, version)], performance.now());
        for (let accountId = 1; accountId <= 4; accountId++) {
          const versions = records.filter(([of]) => of === accountId).map(([, version]) => version);
          const newest = versions.length > 0 ? Math.max(...versions) : undefined;
          expect(cache.get(accountId)).toEqual(newest && account(accountId, newest));
          expect(cache.lastKnownVersion(accountId)).toBe(newest);
        }
      }),
    );
  });
});

describe('LocalBalanceCache: time to live', () => {
  it('answers at least three quarters of it, and never longer than all of it', () => {
    const cache = cacheOf();
    const accountIds = Array.from({ length: 50 }, (_, index) => index + 1);
    for (const accountId of accountIds) cache.record([account(accountId, 2)], performance.now());
    const answering = () => accountIds.filter((accountId) => cache.get(accountId)).length;
    advance(0.75 * TTL_MS - 1);
    expect(answering()).toBe(50);
    advance(0.125 * TTL_MS);
    // Not all of them at the same moment.
    expect(answering()).toBeGreaterThan(0);
    expect(answering()).toBeLessThan(50);
    advance(0.125 * TTL_MS + 1);
    expect(answering()).toBe(0);
  });

  it('begins when the reading began, not when it ended', () => {
    const cache = cacheOf();
    const asOfMs = performance.now();
    advance(0.5 * TTL_MS);
    cache.record([account(1, 2)], asOfMs);
    expect(cache.get(1)).toEqual(account(1, 2));
    advance(0.5 * TTL_MS);
    expect(cache.get(1)).toBeUndefined();
  });

  it('is not shortened by the same version of an earlier time', () => {
    const cache = cacheOf();
    cache.record([account(1, 2)], performance.now());
    cache.record([account(1, 2)], -Infinity);
    expect(cache.get(1)).toEqual(account(1, 2));
  });

  it('is over at once for a version of unknown age, which ends the answers of older ones', () => {
    const cache = cacheOf();
    cache.record([account(1, 2)], performance.now());
    cache.record([account(1, 3)], -Infinity);
    expect(cache.get(1)).toBeUndefined();
    expect(cache.lastKnownVersion(1)).toBe(3);
  });

  it('begins anew when the same version is read again', () => {
    const cache = cacheOf();
    cache.record([account(1, 2)], performance.now());
    advance(0.7 * TTL_MS);
    cache.record([account(1, 2)], performance.now());
    advance(0.7 * TTL_MS);
    expect(cache.get(1)).toEqual(account(1, 2));
  });

  it('ends the answers, not the knowledge of the version', () => {
    const cache = cacheOf();
    cache.record([account(1, 2)], performance.now());
    advance(10 * TTL_MS);
    expect(cache.get(1)).toBeUndefined();
    expect(cache.lastKnownVersion(1)).toBe(2);
  });
});

describe('LocalBalanceCache: bounds', () => {
  it('keeps no more entries than it may; the least recently used goes first', () => {
    const cache = cacheOf({ entries: 3 });
    for (const accountId of [1, 2, 3]) cache.record([account(accountId, 2)], performance.now());
    cache.get(1);
    cache.record([account(4, 2)], performance.now());
    const known = [1, 2, 3, 4].filter((accountId) => cache.get(accountId) !== undefined);
    expect(known).toEqual([1, 3, 4]);
    expect(cache.lastKnownVersion(2)).toBeUndefined();
  });

  it('stays bounded under any number of accounts', () => {
    const cache = cacheOf({ entries: 10 });
    for (let accountId = 1; accountId <= 1_000; accountId++)
      cache.record([account(accountId, 2)], performance.now());
    const known = Array.from({ length: 1_000 }, (_, index) => index + 1).filter((accountId) =>
      cache.get(accountId),
    );
    expect(known).toHaveLength(10);
  });

  it('does not give up what it knows for what no reader will be given', () => {
    const cache = cacheOf({ entries: 2 });
    cache.record([account(1, 2)], performance.now());
    cache.record([account(2, 2), account(3, 2), account(4, 2)], -Infinity);
    expect(cache.get(1)).toEqual(account(1, 2));
  });

  it('does not answer readers where another process may write, but remembers versions', () => {
    const cache = cacheOf({ servesReads: false });
    cache.record([account(1, 2)], performance.now());
    expect(cache.get(1)).toBeUndefined();
    expect(cache.lastKnownVersion(1)).toBe(2);
  });
});
