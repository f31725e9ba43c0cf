import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ShardAddress } from '../../src/config/shard-address.js';
import type { OutgoingTransfer } from '../../src/domain/between-shards.js';
import type { AccountChanges, Command } from '../../src/domain/command.js';
import { LedgerError } from '../../src/domain/errors.js';
import type { Origin } from '../../src/domain/origin.js';
import { Ledger } from '../../src/domain/ports.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { TRANSFER_RECORDS, type TransferRecords } from '../../src/ledger/read/transfer-records.js';
import type { BatchScheduler } from '../../src/ledger/write/batch-scheduler.js';
import { TransferCoordinator, type CommandBetweenShards } from '../../src/ledger/transfer-coordinator.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardRouter } from '../../src/sharding/shard-router.js';
import { startInstance, type TestApp } from '../support/app.js';
import { openInBoth } from '../support/between-shards.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { JSON_TYPE } from '../support/requests.js';

/** Nobody finishes a transfer but the drivers of a test. */
const NO_WORKER = { transfers: { pollMs: 3_600_000, dueAfterMs: 3_600_000 } };
const PATIENCE_MS = 30_000;
const AMOUNT = 25;

let database: TestDatabase;
let instances: [first: TestApp, second: TestApp];
let ledger: Ledger;
/** An account of each shard, beside which the others are opened. */
let near: number[];

beforeAll(async () => {
  database = await createEmptyTestDatabase('transfer-takeover');
  const shards: ShardAddress[] = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  instances = [await startInstance(shards, {}, NO_WORKER), await startInstance(shards, {}, NO_WORKER)];
  ledger = instances[0].app.get(Ledger, { strict: false });
  near = await openInBoth(ledger);
}, 60_000);

afterAll(async () => {
  await Promise.all(instances.map((instance) => instance.close()));
  await database.drop();
});

/** The minor units of a whole amount. */
const cents = (amount: number) => BigInt(amount) * 100n;

const open = async (shard: 0 | 1, amount?: number): Promise<number> => {
  const openingDeposit = amount === undefined ? undefined : cents(amount);
  return (await ledger.openAccount({ openingDeposit, near: near[shard] ?? 0 }, THE_SERVICE)).accountId;
};

const change = (accountId: number, changes: AccountChanges) =>
  ledger.execute({ type: 'change', accountId, changes });

const coordinatorOf = ({ app }: TestApp) => app.get(TransferCoordinator, { strict: false });
const recordsOf = ({ app }: TestApp) =>
  app.get<ShardRouter<TransferRecords>>(TRANSFER_RECORDS, { strict: false });

type Step = 'incoming' | 'settlement';

/** A driver of the first instance that stops before a step until it is let go on. */
class StoppedDriver {
  readonly coordinator: TransferCoordinator;
  private readonly reached = Promise.withResolvers<void>();
  private readonly gate = Promise.withResolvers<void>();

  constructor(step: Step) {
    const [first] = instances;
    const { writers } = coordinatorOf(first) as unknown as {
      writers: ShardRouter<{ readonly scheduler: BatchScheduler }>;
    };
    const submit = async (command: Command, origin?: Origin) => {
      if (command.type === step) {
        this.reached.resolve();
        await this.gate.promise;
      }
      return writers.of(command.accountId).scheduler.submit(command, origin);
    };
    const gated = { of: () => ({ scheduler: { submit } }) } as unknown as typeof writers;
    this.coordinator = new TransferCoordinator(gated, recordsOf(first), PATIENCE_MS);
  }

  stopped(): Promise<void> {
    return this.reached.promise;
  }

  goOn(): void {
    this.gate.resolve();
  }
}

/** What a transfer has come to, as one of its drivers tells it. */
async function toldBy(driver: Promise<{ readonly outgoing: readonly OutgoingTransfer[] }>): Promise<string> {
  try {
    const [transfer] = (await driver).outgoing;
    return transfer?.status ?? 'nothing';
  } catch (error) {
    if (error instanceof LedgerError) return error.failure.code;
    throw error;
  }
}

const pendingOf = async (accountId: number): Promise<OutgoingTransfer> => {
  const [row] = await query<{ id: string }>(
    database.url,
    `SELECT transfer_id AS id FROM bank_0.transfers WHERE account_id = ${accountId} AND status = 'pending'`,
  );
  const transferId = Number(row?.id);
  return (await recordsOf(instances[1]).of(transferId).outgoing([transferId])).get(
    transferId,
  ) as OutgoingTransfer;
};

const read = async (app: TestApp, path: string) =>
  JSON.parse((await app.http.get(path).set('cache-control', 'no-cache')).text) as Record<string, unknown>;

/** Balance, what is held, and version. */
async function stateOf(accountId: number): Promise<unknown[]> {
  const { balance, held, version } = await read(instances[0], `/accounts/${accountId}`);
  return [balance, held, version];
}

/** What the rows of an account say, besides its opening and what a client put on hold. */
const movementsOf = async (shard: 0 | 1, accountId: number) =>
  (
    await query<{ type: string; amount: string }>(
      database.url,
      `SELECT type, amount FROM bank_${shard}.transactions
       WHERE account_id = ${accountId} AND (transfer_id IS NOT NULL OR type = 'release') ORDER BY version_after`,
    )
  ).map(({ type, amount }) => `${type} ${amount}`);

interface Kind {
  /** Makes the command, from and to these accounts. */
  readonly command: (from: number, to: number) => Promise<CommandBetweenShards>;
  /** Balance, held and version of the source afterwards. */
  readonly completed: readonly number[];
  readonly failed: readonly number[];
  readonly movements: { readonly completed: readonly string[]; readonly failed: readonly string[] };
}

const KINDS: Readonly<Record<string, Kind>> = {
  transfer: {
    command: (from, to) => {
      const leg = (accountId: number, type: 'debit' | 'credit') => ({
        accountId,
        type,
        amount: cents(AMOUNT),
      });
      return Promise.resolve({
        type: 'transfer',
        accountId: from,
        legs: [leg(from, 'debit'), leg(to, 'credit')],
      });
    },
    completed: [75, 0, 5],
    failed: [100, 0, 4],
    movements: {
      completed: ['hold 25.00', 'release 25.00', 'debit 25.00'],
      failed: ['hold 25.00', 'release 25.00'],
    },
  },
  capture: {
    command: async (from, to) => {
      const { holds } = await ledger.execute({ type: 'hold', accountId: from, amount: cents(40) });
      const holdId = holds[0]?.holdId ?? 0;
      return {
        type: 'capture',
        accountId: from,
        holdId,
        amount: cents(AMOUNT),
        final: false,
        to: { accountId: to },
      };
    },
    completed: [75, 15, 5],
    failed: [100, 40, 3],
    movements: { completed: ['release 25.00', 'debit 25.00'], failed: [] },
  },
};

/** What happens while the first driver is stopped. */
interface Meanwhile {
  /** Before the first driver begins its second step. */
  readonly frozen?: Step;
  readonly cancelled?: true;
  readonly told: string;
}

const CASES: readonly (readonly [step: Step, what: string, Meanwhile])[] = [
  ['incoming', 'the other has completed it', { told: 'completed' }],
  ['incoming', 'the target has refused it', { frozen: 'incoming', told: 'ACCOUNT_FROZEN' }],
  ['incoming', 'an operator has cancelled it', { cancelled: true, told: 'TRANSFER_CANCELLED' }],
  ['settlement', 'the other has completed it', { told: 'completed' }],
  ['settlement', 'the other has given the money back', { frozen: 'settlement', told: 'ACCOUNT_FROZEN' }],
  ['settlement', 'an operator has tried to cancel it', { cancelled: true, told: 'completed' }],
];

describe.each(Object.entries(KINDS))('a %s whose driver is stopped', (_kind, kind) => {
  it.each(CASES)('before the step `%s` goes on when %s', async (step, _what, meanwhile) => {
    const { frozen, cancelled = false, told } = meanwhile;
    const [from, to] = [await open(0, 100), await open(1)];
    const command = await kind.command(from, to);
    const stopped = new StoppedDriver(step);
    // The look at the target, before anything is written, must not refuse it yet.
    const refusing = new StoppedDriver('incoming');
    let outcome: Promise<string>;
    if (frozen === 'settlement') {
      // Its second step meets a frozen target, and its third is the one before which it is stopped.
      void refusing.coordinator.execute(command).catch(() => undefined);
      await refusing.stopped();
      await change(to, { status: 'frozen' });
      outcome = toldBy(finished(stopped, await pendingOf(from)));
    } else outcome = toldBy(stopped.coordinator.execute(command));
    await stopped.stopped();
    const transfer = await pendingOf(from);
    if (frozen === 'incoming') await change(to, { status: 'frozen' });
    // A driver that can't see that it is decided would credit it, now or when the other is let go on.
    if (frozen === 'settlement') await change(to, { status: 'open' });
    const byOther = await coordinatorOf(instances[1]).finish(transfer, cancelled);
    if (frozen === 'incoming') await change(to, { status: 'open' });
    stopped.goOn();
    refusing.goOn();
    const isCompleted = told === 'completed';
    expect(byOther.rejection?.code ?? byOther.status).toBe(told);
    expect(await outcome).toBe(told);
    expect(await stateOf(from)).toEqual(isCompleted ? kind.completed : kind.failed);
    expect((await stateOf(to)).slice(0, 2)).toEqual([isCompleted ? AMOUNT : 0, 0]);
    expect(await movementsOf(0, from)).toEqual(kind.movements[isCompleted ? 'completed' : 'failed']);
    expect(await movementsOf(1, to)).toEqual(isCompleted ? ['credit 25.00'] : []);
    for (const instance of instances)
      expect(await read(instance, `/transfers/tr${transfer.transferId}`)).toMatchObject(
        isCompleted ? { status: 'completed' } : { status: 'failed', failure: told },
      );
  });
});

/** Finishes a transfer with a driver. */
async function finished({ coordinator }: StoppedDriver, transfer: OutgoingTransfer) {
  const done = await coordinator.finish(transfer);
  if (done.rejection) throw new LedgerError(done.rejection);
  return { outgoing: [done] };
}

describe('a repeat of a transfer', () => {
  /** Sends it again, with its key. */
  const repeat = async (from: number, to: number, key: string) => {
    const response = await instances[1].http
      .post('/transfers')
      .set({ 'content-type': JSON_TYPE, 'idempotency-key': key })
      .send(JSON.stringify({ from, to, amount: AMOUNT }));
    return [response.status, (JSON.parse(response.text) as { error?: string }).error];
  };

  it.each([
    ['would still refuse it', 'frozen'],
    ['would accept it again', 'open'],
  ] as const)('is answered with its outcome, though its target %s', async (_, status) => {
    const [from, to, key] = [await open(0, 100), await open(1), `outcome-${status}`];
    const stopped = new StoppedDriver('incoming');
    const command = await KINDS['transfer']?.command(from, to);
    const first = toldBy(
      stopped.coordinator.execute({ ...command, idempotencyKey: key } as CommandBetweenShards),
    );
    await stopped.stopped();
    await change(to, { status: 'frozen' });
    // Not a Duplicate: nothing has succeeded yet.
    expect(await repeat(from, to, key)).toEqual([202, undefined]);
    stopped.goOn();
    expect(await first).toBe('ACCOUNT_FROZEN');
    await change(to, { status });
    expect(await repeat(from, to, key)).toEqual([422, 'Account frozen']);
    expect(await stateOf(from)).toEqual([100, 0, 4]);
  });
});
