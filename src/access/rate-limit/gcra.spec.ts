import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { decideRate, ratePolicy, type RateDecision, type RatePolicy } from './gcra.js';

/** One user's transactions at the given times. */
class User {
  private tatMicros: number | undefined;

  constructor(private readonly policy: RatePolicy) {}

  send(nowMicros: number): RateDecision {
    const { decision, tatMicros } = decideRate(this.policy, this.tatMicros, nowMicros);
    this.tatMicros = tatMicros;
    return decision;
  }
}

const SECOND = 1_000_000;

const limits = fc.record({
  perSecond: fc.integer({ min: 1, max: 2_000 }),
  burst: fc.integer({ min: 1, max: 50 }),
});
/** Gaps between transactions, from none to seconds. */
const gaps = fc.array(
  fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2_000 }), fc.integer({ max: 3 * SECOND, min: 0 })),
  { maxLength: 200 },
);

describe('ratePolicy', () => {
  it.each([
    [1, 1_000_000],
    [3, 333_334],
    [1_000, 1_000],
    [1_000_000, 1],
    [999_999, 2],
  ])('%i per second: one in %i microseconds, never less', (perSecond, intervalMicros) => {
    expect(ratePolicy({ perSecond, burst: 5 })).toEqual({ burst: 5, intervalMicros });
  });
});

describe('decideRate', () => {
  it('admits a burst at once, then one in each interval', () => {
    const user = new User(ratePolicy({ perSecond: 2, burst: 3 }));
    expect(user.send(0)).toEqual({
      admitted: true,
      remaining: 2,
      retryAfterMicros: 0,
      resetMicros: SECOND / 2,
    });
    expect(user.send(0)).toMatchObject({ admitted: true, remaining: 1, resetMicros: SECOND });
    expect(user.send(0)).toMatchObject({ admitted: true, remaining: 0, resetMicros: 1.5 * SECOND });
    expect(user.send(0)).toEqual({
      admitted: false,
      remaining: 0,
      retryAfterMicros: SECOND / 2,
      resetMicros: 1.5 * SECOND,
    });
    expect(user.send(SECOND / 2 - 1)).toMatchObject({ admitted: false, retryAfterMicros: 1 });
    expect(user.send(SECOND / 2)).toMatchObject({ admitted: true, remaining: 0 });
    expect(user.send(SECOND / 2)).toMatchObject({ admitted: false });
  });

  it('saves no more than a burst', () => {
    const user = new User(ratePolicy({ perSecond: 10, burst: 3 }));
    user.send(0);
    const decisions = Array.from({ length: 5 }, () => user.send(3_600 * SECOND).admitted);
    expect(decisions).toEqual([true, true, true, false, false]);
  });

  it('never admits more than the burst and the rate in any window of time', () => {
    fc.assert(
      fc.property(limits, gaps, (limit, waits) => {
        const user = new User(ratePolicy(limit));
        const admitted: number[] = [];
        let nowMicros = 1_795_000_000 * SECOND;
        for (const wait of waits) {
          nowMicros += wait;
          if (user.send(nowMicros).admitted) admitted.push(nowMicros);
        }
        admitted.forEach((from, first) => {
          admitted.slice(first).forEach((to, count) => {
            const most = limit.burst + ((to - from) / SECOND) * limit.perSecond;
            expect(count + 1).toBeLessThanOrEqual(Math.floor(most + 1e-6));
          });
        });
      }),
    );
  });

  it('does not count what it refuses, and keeps its word about when the next is admitted', () => {
    fc.assert(
      fc.property(limits, gaps, (limit, waits) => {
        const policy = ratePolicy(limit);
        const [insistent, patient] = [new User(policy), new User(policy)];
        let nowMicros = 0;
        for (const wait of waits) {
          nowMicros += wait;
          const decision = patient.send(nowMicros);
          expect(insistent.send(nowMicros)).toEqual(decision);
          if (decision.admitted) continue;
          // One of them knocks all the time until then, which must not cost it anything.
          const knocks = Array.from({ length: 5 }, () =>
            insistent.send(nowMicros + decision.retryAfterMicros - 1),
          );
          expect(knocks.some(({ admitted }) => admitted)).toBe(false);
          nowMicros += decision.retryAfterMicros;
          expect(patient.send(nowMicros).admitted).toBe(true);
          expect(insistent.send(nowMicros).admitted).toBe(true);
        }
      }),
    );
  });

  it('says truly how many more are admitted at once, and when the whole burst is', () => {
    fc.assert(
      fc.property(limits, gaps, (limit, waits) => {
        const policy = ratePolicy(limit);
        const user = new User(policy);
        let nowMicros = 0;
        let last = user.send(nowMicros);
        for (const wait of waits) last = user.send((nowMicros += wait));
        for (let more = 0; more < last.remaining; more++) expect(user.send(nowMicros).admitted).toBe(true);
        const end = user.send(nowMicros);
        expect(end.admitted).toBe(false);
        nowMicros += end.resetMicros;
        for (let more = 0; more < limit.burst; more++) expect(user.send(nowMicros).admitted).toBe(true);
        expect(user.send(nowMicros).admitted).toBe(false);
      }),
    );
  });

  it('locks nobody out when the clock is put back', () => {
    const user = new User(ratePolicy({ perSecond: 10, burst: 3 }));
    for (let sent = 0; sent < 3; sent++) user.send(3_600 * SECOND);
    expect(user.send(0)).toMatchObject({ admitted: false, retryAfterMicros: SECOND / 10 });
    expect(user.send(SECOND / 10)).toMatchObject({ admitted: true });
    expect(user.send(SECOND)).toMatchObject({ admitted: true, remaining: 2 });
  });

  it('admits several at once as it would one after the other, or none of them', () => {
    fc.assert(
      fc.property(limits, fc.integer({ min: 1, max: 60 }), fc.nat(49), (limit, several, before) => {
        const policy = ratePolicy(limit);
        let tatMicros: number | undefined;
        for (let sent = 0; sent < before; sent++) ({ tatMicros } = decideRate(policy, tatMicros, 0));
        const together = decideRate(policy, tatMicros, 0, several);
        const left = Math.max(0, limit.burst - before);
        expect(together.decision.admitted).toBe(several <= left);
        if (!together.decision.admitted) {
          expect(together.tatMicros).toBe(tatMicros ?? 0);
          return;
        }
        let one = decideRate(policy, tatMicros, 0);
        for (let sent = 1; sent < several; sent++) one = decideRate(policy, one.tatMicros, 0);
        expect(together).toEqual(one);
      }),
    );
  });
});
