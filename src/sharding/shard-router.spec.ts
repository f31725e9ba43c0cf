import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { MAX_ID } from '../domain/account.js';
import { ShardRouter } from './shard-router.js';

const routerOf = (count: number) => new ShardRouter(Array.from({ length: count }, (_, index) => index));
const count = fc.integer({ min: 1, max: 64 });

describe('ShardRouter', () => {
  it('needs a shard', () => {
    expect(() => new ShardRouter([])).toThrow('at least one shard');
  });

  it('assigns all ids to the only shard', () => {
    expect([1, 2, 3, MAX_ID].map((id) => routerOf(1).of(id))).toEqual([0, 0, 0, 0]);
  });

  it('assigns ids to the shards in turn', () => {
    expect([1, 2, 3, 4, 5, 6, 7].map((id) => routerOf(3).of(id))).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });

  it('finds the shard that drew an id: shard k of N draws k+1, k+1+N, k+1+2N …', () => {
    fc.assert(
      fc.property(count, fc.nat(), fc.nat({ max: 1_000_000_000 }), (shards, which, step) => {
        const index = which % shards;
        expect(routerOf(shards).of(index + 1 + step * shards)).toBe(index);
      }),
    );
  });

  it('finds a shard for every id that JSON can carry', () => {
    fc.assert(
      fc.property(count, fc.integer({ min: 1, max: MAX_ID }), (shards, id) => {
        const index = routerOf(shards).of(id);
        expect(BigInt(index)).toBe((BigInt(id) - 1n) % BigInt(shards));
      }),
    );
  });

  it('chooses one shard for an owner and a key, the same in every bank with as many shards', () => {
    const place = (owner: string | undefined, key: string) => routerOf(4).ofOpening(owner, key);
    // Computed by hand: printf '3:adak1' | sha256sum | cut -c1-12, as a number, modulo 4.
    expect([place('ada', 'k1'), place('ada', 'k2'), place(undefined, 'k1'), place('Zoë', 'k')]).toEqual([
      3, 1, 3, 1,
    ]);
  });

  it('spreads keys evenly over the shards', () => {
    const router = routerOf(4);
    const opened = [0, 0, 0, 0];
    for (let n = 0; n < 4_000; n++) {
      const index = router.ofOpening('ada', `key-${n}`);
      opened[index] = (opened[index] ?? 0) + 1;
    }
    expect(Math.min(...opened)).toBeGreaterThan(850);
  });

  it('gives new accounts to each shard in turn', () => {
    fc.assert(
      fc.property(count, fc.integer({ min: 1, max: 5 }), (shards, rounds) => {
        const router = routerOf(shards);
        const opened = new Array<number>(shards).fill(0);
        for (let i = 0; i < shards * rounds; i++) {
          const index = router.forNewAccount();
          opened[index] = (opened[index] ?? 0) + 1;
        }
        expect(opened).toEqual(new Array(shards).fill(rounds));
      }),
    );
  });
});
