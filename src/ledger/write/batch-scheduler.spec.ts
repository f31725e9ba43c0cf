import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { LocalBalanceCache } from '../../cache/local-balance-cache.js';
import { accountsOf, type Command } from '../../domain/command.js';
import { RecentLocalBatches } from '../../messaging/recent-local-batches.js';
import { Metrics } from '../../observability/metrics.js';
import type { TransactionRunner } from '../../storage/transaction-runner.js';
import { BatchScheduler, type SchedulerLimits } from './batch-scheduler.js';
import type { BatchStatements, LockPolicy } from './batch-statements.js';
import { BatchWriter } from './batch-writer.js';
import type { PostedBatch } from './batch-writes.js';

const LIMITS: SchedulerLimits = {
  batch: 20,
  queue: 200,
  batchWriters: 2,
  lockWaiters: 2,
  atomicBatches: 2,
  commandTimeoutMs: 2_000,
};
const LOCK_TIMEOUT_MS = 100;
const POISON = 'poison';

/** Pseudo-random numbers in [0, 1) (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The row locks of a database: a row has one session, and the others wait for it in turn. */
class RowLocks {
  private readonly sessions = new Map<number, object>();
  private readonly waiting: { accountId: number; session: object; granted: (locked: boolean) => void }[] = [];

  tryLock(accountId: number, session: object): boolean {
    const free = !this.sessions.has(accountId);
    if (free) this.sessions.set(accountId, session);
    return free;
  }

  lock(accountId: number, session: object): Promise<boolean> {
    if (this.tryLock(accountId, session)) return Promise.resolve(true);
    return new Promise((granted) => {
      const waiter = { accountId, session, granted };
      this.waiting.push(waiter);
      setTimeout(() => {
        const place = this.waiting.indexOf(waiter);
        if (place < 0) return;
        this.waiting.splice(place, 1);
        granted(false);
      }, LOCK_TIMEOUT_MS);
    });
  }

  unlock(session: object): void {
    for (const [accountId, owner] of this.sessions) {
      if (owner !== session) continue;
      this.sessions.delete(accountId);
      const place = this.waiting.findIndex((waiter) => waiter.accountId === accountId);
      if (place < 0) continue;
      const [next] = this.waiting.splice(place, 1);
      if (next) this.sessions.set(accountId, next.session);
      next?.granted(true);
    }
  }
}

/** Applies every command, in memory, with the locks and delays of a database. */
class MemoryDatabase {
  readonly locks = new RowLocks();
  /** The names of the commands that were applied, by account. */
  readonly applied = new Map<number, string[]>();
  transactions = 0;
  skipped = 0;

  constructor(private readonly random: () => number) {}

  readonly statements = {
    lockAndDecide: async (
      _: unknown,
      session: object,
      commands: readonly Command[],
      lockPolicy: LockPolicy,
    ) => {
      await this.roundTrip();
      const skipped = await this.lockRows(session, commands, lockPolicy);
      if (commands.some((command) => command.idempotencyKey?.endsWith(POISON))) throw new Error(POISON);
      const decisions = commands.map((command) => {
        if (accountsOf(command).some((accountId) => skipped.has(accountId))) return undefined;
        return { accepted: true, effects: { transactions: [], accounts: [], holds: [], changes: [] } };
      });
      return {
        commands,
        decisions,
        skipped,
        accounts: new Map(),
        transactions: [],
      } as unknown as PostedBatch;
    },
    write: () => this.roundTrip(),
  };

  readonly runner = {
    run: async (
      work: (queryRunner: undefined, session: object) => Promise<PostedBatch>,
      write: (session: object, posted: PostedBatch) => Promise<void>,
    ) => {
      const session = {};
      try {
        const posted = await work(undefined, session);
        await write(session, posted);
        this.commit(posted as PostedBatch & { commands: readonly Command[] });
        return posted;
      } finally {
        this.locks.unlock(session);
      }
    },
  };

  private async lockRows(
    session: object,
    commands: readonly Command[],
    lockPolicy: LockPolicy,
  ): Promise<Set<number>> {
    const skipped = new Set<number>();
    const ascending = [...new Set(commands.flatMap(accountsOf))].sort((a, b) => a - b);
    const first = typeof lockPolicy === 'object' ? lockPolicy.waitFor : ascending[0];
    for (const accountId of new Set([first ?? 0, ...ascending])) {
      if (lockPolicy === 'skip' || (lockPolicy !== 'wait' && accountId !== lockPolicy.waitFor)) {
        if (!this.locks.tryLock(accountId, session)) skipped.add(accountId);
      } else if (!(await this.locks.lock(accountId, session))) {
        throw Object.assign(new Error('lock timeout'), { code: '55P03' });
      }
    }
    this.skipped += skipped.size;
    return skipped;
  }

  private commit({ commands, decisions }: PostedBatch & { commands: readonly Command[] }): void {
    this.transactions += 1;
    commands.forEach((command, index) => {
      if (!decisions[index]) return;
      for (const accountId of accountsOf(command)) {
        const names = this.applied.get(accountId) ?? [];
        this.applied.set(accountId, [...names, command.idempotencyKey ?? '']);
      }
    });
  }

  private roundTrip(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, 1 + 4 * this.random()));
  }
}

interface Submitted {
  readonly name: string;
  readonly accountIds: readonly number[];
  readonly submittedMs: number;
  answeredMs?: number;
  accepted?: boolean;
}

/** A scheduler with the real batch writer on a database in memory, and what was sent to it. */
class World {
  readonly random: () => number;
  readonly database: MemoryDatabase;
  readonly scheduler: BatchScheduler;
  readonly submitted: Submitted[] = [];
  private readonly locking = new Set<object>();

  constructor(seed: number, limits: Partial<SchedulerLimits> = {}) {
    this.random = randomFrom(seed);
    this.database = new MemoryDatabase(this.random);
    const metrics = new Metrics().forShard(0);
    const writer = new BatchWriter(
      this.database.runner as unknown as TransactionRunner,
      this.database.statements as unknown as BatchStatements,
      new LocalBalanceCache({ entries: 10, ttlMs: 1_000, servesReads: true }),
      new RecentLocalBatches(),
      metrics,
      () => undefined,
    );
    this.scheduler = new BatchScheduler(writer, { ...LIMITS, ...limits }, metrics);
  }

  submit(accountIds: readonly number[], suffix = ''): void {
    const command = this.commandFor(accountIds, suffix);
    this.follow(command, this.scheduler.submit(command));
  }

  submitAtomically(accountIds: readonly number[]): void {
    const commands = accountIds.map((accountId) => this.commandFor([accountId], 'atomic'));
    const answers = this.scheduler.submitAtomically(commands, 'ada');
    commands.forEach((command, index) => this.follow(command, answers[index] as Promise<unknown>));
  }

  /** Another session locks a row for a time. */
  async lockRow(accountId: number, ms: number): Promise<void> {
    const session = {};
    this.locking.add(session);
    await this.database.locks.lock(accountId, session);
    setTimeout(() => {
      this.database.locks.unlock(session);
      this.locking.delete(session);
    }, ms);
  }

  /** Waits until all is answered, and stops. */
  async finish(): Promise<void> {
    const closed = this.scheduler.close();
    await jest.advanceTimersByTimeAsync(2 * LIMITS.commandTimeoutMs);
    await closed;
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)] as T;
  }

  private commandFor(accountIds: readonly number[], suffix: string): Command {
    const [accountId = 0] = accountIds;
    const idempotencyKey = `${this.submitted.length} ${suffix}`;
    this.submitted.push({ name: idempotencyKey, accountIds, submittedMs: performance.now() });
    if (accountIds.length === 1) return { type: 'credit', accountId, amount: 1n, idempotencyKey };
    const legs = accountIds.map((id) => ({ accountId: id, type: 'credit' as const, amount: 1n }));
    return { type: 'transfer', accountId, legs, idempotencyKey };
  }

  private follow(command: Command, answer: Promise<unknown>): void {
    const entry = this.submitted.find(({ name }) => name === command.idempotencyKey) as Submitted;
    const answered = (accepted: boolean) => {
      entry.answeredMs = performance.now();
      entry.accepted = accepted;
    };
    answer.then(
      () => answered(true),
      () => answered(false),
    );
  }
}

const ACCOUNTS = [1, 2, 3, 4, 5, 6, 7, 8];
const HOT = [3, 4];

/** Half a second of commands for two hot accounts and some others. */
async function run(
  seed: number,
  faults: { readonly locks: boolean; readonly poison: boolean },
): Promise<World> {
  const world = new World(seed);
  const { random } = world;
  const account = () => world.pick(random() < 0.6 ? HOT : ACCOUNTS);
  for (let tick = 0; tick < 250; tick++) {
    for (let n = Math.floor(random() * 4); n > 0; n--) {
      const legs = random() < 0.6 ? 1 : 2 + Math.floor(random() * 3);
      const accountIds = [...new Set(Array.from({ length: legs }, account))];
      world.submit(accountIds, faults.poison && random() < 0.02 ? POISON : '');
    }
    if (faults.locks && random() < 0.05) void world.lockRow(world.pick(ACCOUNTS), 250 * random());
    if (faults.locks && random() < 0.02) world.submitAtomically([...new Set([account(), account()])]);
    await jest.advanceTimersByTimeAsync(2);
  }
  await world.finish();
  return world;
}

/** Every command was answered, those that were accepted were applied to each of their accounts once, the others not. */
function expectTruthfulAnswers({ submitted, database, scheduler }: World): void {
  expect(submitted.filter(({ accepted }) => accepted === undefined)).toEqual([]);
  expect(scheduler.parked).toBe(0);
  for (const accountId of ACCOUNTS) {
    const own = submitted.filter(({ accountIds }) => accountIds.includes(accountId));
    const accepted = own.filter((one) => one.accepted).map(({ name }) => name);
    expect([...(database.applied.get(accountId) ?? [])].sort()).toEqual(accepted.sort());
  }
}

/** Those of the given commands that were applied to an account were applied in the order of arrival. */
function expectOrder({ submitted, database }: World, has: (one: Submitted) => boolean): void {
  for (const accountId of ACCOUNTS) {
    const applied = database.applied.get(accountId) ?? [];
    const arrived = submitted.filter((one) => has(one) && applied.includes(one.name)).map(({ name }) => name);
    expect(applied.filter((name) => arrived.includes(name))).toEqual(arrived);
  }
}

describe('BatchScheduler', () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  const seeds = Array.from({ length: 20 }, (_, index) => index + 1);

  it.each(seeds)('answers truthfully, in order, with no account in two batches (seed %p)', async (seed) => {
    const world = await run(seed, { locks: false, poison: seed % 2 === 0 });
    expectTruthfulAnswers(world);
    expectOrder(world, () => true);
    expect(world.database.skipped).toBe(0);
    expect(world.submitted.filter(({ accepted }) => accepted).length).toBeGreaterThan(250);
  });

  it.each(seeds)(
    'answers truthfully, single commands in order, among locked rows (seed %p)',
    async (seed) => {
      const world = await run(seed, { locks: true, poison: seed % 2 === 0 });
      expectTruthfulAnswers(world);
      expectOrder(world, ({ accountIds, name }) => accountIds.length === 1 && !name.endsWith('atomic'));
      expect(world.database.skipped).toBeGreaterThan(0);
      expect(world.submitted.filter(({ accepted }) => accepted).length).toBeGreaterThan(200);
    },
  );

  it('fills batches with the commands of a hot account, single and over several', async () => {
    const world = new World(1, { batch: 50, queue: 500 });
    for (let n = 0; n < 500; n++) world.submit(n % 2 === 0 ? [3] : [3, 10 + (n % 40)]);
    await world.finish();
    expect(world.submitted.every(({ accepted }) => accepted)).toBe(true);
    // Each pair has the room of three.
    expect(world.database.transactions).toBe(15);
  });

  it('serves transfers between two hot accounts, and single commands beside them', async () => {
    const world = new World(1);
    for (let tick = 0; tick < 250; tick++) {
      for (const accountId of HOT) world.submit([accountId]);
      if (tick % 2 === 0) world.submit(tick % 4 === 0 ? HOT : [...HOT].reverse());
      await jest.advanceTimersByTimeAsync(2);
    }
    await world.finish();
    const waits = world.submitted.map(({ submittedMs, answeredMs = Infinity }) => answeredMs - submittedMs);
    expect(world.submitted.every(({ accepted }) => accepted)).toBe(true);
    // A batch takes at most 10 ms, and one or two may be ahead.
    expect(Math.max(...waits)).toBeLessThan(50);
  });

  it.each([
    [1, 8],
    [8, 1],
  ])('lets a transfer that meets the locked row of %p not block %p', async (locked, other) => {
    const world = new World(1);
    void world.lockRow(locked, 600);
    for (let tick = 0; tick < 250; tick++) {
      if (tick % 10 === 0) world.submit(tick % 20 === 0 ? [other, locked] : [locked, other]);
      if (tick % 25 === 0) world.submit([locked]);
      world.submit([other]);
      await jest.advanceTimersByTimeAsync(2);
    }
    const singles = world.submitted.filter(({ accountIds }) => accountIds[0] === other && !accountIds[1]);
    await world.finish();
    const waits = singles.map(({ submittedMs, answeredMs = Infinity }) => answeredMs - submittedMs);
    expect(Math.max(...waits)).toBeLessThan(50);
    expectTruthfulAnswers(world);
    expectOrder(world, ({ accountIds }) => accountIds.length === 1);
    expect(world.submitted.every(({ accepted }) => accepted)).toBe(true);
  });

  it('rejects what has no room, counting a command over several accounts once', async () => {
    const world = new World(1);
    for (let n = 0; n < 300; n++) world.submit([1 + (n % 4), 5 + (n % 3), 8]);
    await world.finish();
    expect(world.submitted.filter(({ accepted }) => accepted)).toHaveLength(LIMITS.queue);
  });

  it('rejects a transfer at its deadline while a row stays locked, and what waits behind it, and goes on', async () => {
    const world = new World(1);
    void world.lockRow(1, 4 * LIMITS.commandTimeoutMs);
    world.submit([1, 2]);
    await jest.advanceTimersByTimeAsync(50);
    expect(world.scheduler.parked).toBe(1);
    world.submit([2, 1]);
    world.submit([1]);
    await jest.advanceTimersByTimeAsync(2 * LIMITS.commandTimeoutMs);
    expect(world.submitted.map(({ accepted }) => accepted)).toEqual([false, false, false]);
    expect(world.scheduler.parked).toBe(0);
    world.submit([2]);
    await jest.advanceTimersByTimeAsync(50);
    expect(world.submitted.at(-1)?.accepted).toBe(true);
    await jest.advanceTimersByTimeAsync(2 * LIMITS.commandTimeoutMs);
    world.submit([2, 1]);
    await jest.advanceTimersByTimeAsync(50);
    expect(world.submitted.at(-1)?.accepted).toBe(true);
    await world.finish();
  });

  it('goes on with an account whose parked commands were rejected before a lock waiter was free', async () => {
    const world = new World(1, { lockWaiters: 1 });
    for (const accountId of [1, 2, 3]) void world.lockRow(accountId, LIMITS.commandTimeoutMs + 200);
    for (const accountId of [1, 2, 3]) world.submit([accountId, 8]);
    await jest.advanceTimersByTimeAsync(LIMITS.commandTimeoutMs + 300);
    expect(world.submitted.map(({ accepted }) => accepted)).toEqual([false, false, false]);
    for (const accountId of [1, 2, 3]) world.submit([8, accountId]);
    await jest.advanceTimersByTimeAsync(50);
    expect(world.submitted.slice(3).map(({ accepted }) => accepted)).toEqual([true, true, true]);
    await world.finish();
  });
});
