import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { EmbeddedPostgres } from '@scalable-banking/embedded-postgres';
import { Client } from 'pg';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { archiveBank } from '../../src/admin/archive.js';
import { readTables } from '../../src/admin/catalogue.js';
import { copySince, digestSince, NOTHING, type CopySide } from '../../src/admin/relocation/copy.js';
import { relocateShard, type RelocationOptions } from '../../src/admin/relocation/relocate.js';
import { seedBank } from '../../src/admin/seed.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { loadConfig } from '../../src/config/config.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { EMBEDDED_NAMES } from '../../src/app/embedded-bank.js';
import { prepareTables } from '../../src/storage/migrate.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { BANK_TABLES, copiedTables } from '../../src/storage/tables.js';
import { InterruptedError } from '../../src/cli/interrupted.js';
import { Ledger } from '../../src/domain/ports.js';
import type { AccountChange, Effects } from '../../src/domain/books.js';
import type { Command } from '../../src/domain/command.js';
import type { Transaction } from '../../src/domain/transaction.js';
import { ShardRouter } from '../../src/sharding/shard-router.js';
import { createLogger } from '../../src/observability/logging.js';
import { createApp } from '../../src/app/create-app.js';
import {
  copyTestDatabase,
  createEmptyTestDatabase,
  query,
  superuserUrl,
  type TestDatabase,
} from '../support/postgres.js';
import { MOVES } from '../sabotage/builds.mjs';
import { startCli } from '../support/cli.js';
import { PostgresProxy } from '../../tools/stack/proxies/postgres-proxy.js';
import { fillTwoShards, TwoShards } from '../support/between-shards.js';
import { temporaryDataDir, waitUntil } from '../support/service.js';

/** Two shards on one server; shard 1 moves to another server. */
const MOVED = 1;
const MAX_PAUSE_MS = 10_000;
/** Between the requests of a client, so that the move gets its share of the processors. */
const PAUSE_MS = 20;

let dataDir: ReturnType<typeof temporaryDataDir>;
let otherServer: EmbeddedPostgres;
/** A new bank of two shards, of which each test gets a copy. */
let founded: TestDatabase;
let source: TestDatabase;
let targetName: string;
let shards: ShardAddress[];

beforeAll(async () => {
  dataDir = temporaryDataDir();
  otherServer = await EmbeddedPostgres.open({
    ...EMBEDDED_NAMES,
    dataDir: dataDir.path,
    holder: 'tests',
    log: () => undefined,
    settings: { fsync: 'off', synchronous_commit: 'off' },
  });
  // The services' user has the same password on both servers.
  const { password } = new URL(process.env['TEST_POSTGRES_URL'] ?? '');
  await query(await superuserUrl(otherServer.url, dataDir.path), `ALTER ROLE bank PASSWORD '${password}'`);
  founded = await createEmptyTestDatabase();
  await bootstrapShards(shardsIn(founded));
}, 60_000);

afterAll(async () => {
  await founded.drop();
  await otherServer.close();
  dataDir.remove();
});

beforeEach(async () => {
  source = await copyTestDatabase(founded);
  targetName = new URL(source.url).pathname.slice(1);
  await query(adminUrl(), `CREATE DATABASE ${targetName}`);
  shards = shardsIn(source);
});

afterEach(async () => {
  await source.drop();
  await query(adminUrl(), `DROP DATABASE ${targetName} WITH (FORCE)`);
});

function shardsIn({ url }: TestDatabase): ShardAddress[] {
  return [0, 1].map((index) => ({ url, schema: `bank_${index}` }));
}

/** With the password that was changed. */
function adminUrl(): string {
  const url = new URL(process.env['TEST_POSTGRES_URL'] ?? '');
  url.port = new URL(otherServer.url).port;
  return url.href;
}

function target(): ShardAddress {
  const url = new URL(adminUrl());
  url.pathname = `/${targetName}`;
  return { url: url.href, schema: 'bank_1' };
}

/** As an operator gives it: without user and password. */
function targetUrl(): string {
  const { hostname, port, pathname } = new URL(target().url);
  return `postgresql://${hostname}:${port}${pathname}`;
}

const move = (options: Partial<RelocationOptions> = {}, from = shards[1] as ShardAddress) =>
  relocateShard([shards[0] as ShardAddress, from], MOVED, targetUrl(), {
    maxPauseMs: MAX_PAUSE_MS,
    ...options,
  });

/** The bank as it must be afterwards: whole, over both servers. */
async function expectWhole(accounts: number): Promise<void> {
  const report = await verifyBank([shards[0] as ShardAddress, target()]);
  expect(report).toMatchObject({ accounts, ok: true, faults: [] });
}

async function startService(list = shards) {
  const config = loadConfig({
    HOST: '127.0.0.1',
    PORT: '0',
    LOG_LEVEL: 'silent',
    AUTH: 'off',
    SHARDS: list.map(({ url, schema }) => `${url}?schema=${schema}`).join(),
  });
  const bank = await bootstrapShards(config.database.shards ?? [], { allowDown: true });
  const app = await createApp(config, bank, createLogger(config.log));
  await app.listen({ host: config.http.host, port: config.http.port });
  return { url: await app.getUrl(), ledger: app.get(Ledger), close: () => app.close() };
}

interface Posted {
  readonly accountId: number;
  readonly id: string;
  readonly newVersion: string;
}

/** Clients that post one deposit after the other, each with a key of its own, until they are told to stop. */
function startLoad(url: string, accountIds: readonly number[]) {
  const acknowledged: Posted[] = [];
  const failures: string[] = [];
  let slowestMs = 0;
  let stopping = false;
  const client = async (name: number) => {
    for (let n = 0; !stopping; n++) {
      const accountId = accountIds[(n + name) % accountIds.length] as number;
      const startedMs = performance.now();
      const response = await fetch(`${url}/accounts/${accountId}/transactions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': `${name}-${n}` },
        body: '{"type":"Deposit","amount":"0.01"}',
      });
      slowestMs = Math.max(slowestMs, performance.now() - startedMs);
      const body = (await response.json()) as Posted;
      if (response.status === 201) acknowledged.push({ ...body, accountId });
      else failures.push(`${response.status} ${JSON.stringify(body)}`);
      await sleep(PAUSE_MS);
    }
  };
  const clients = Array.from({ length: 12 }, (_, name) => client(name));
  const stop = async () => {
    stopping = true;
    await Promise.all(clients);
    return { acknowledged, failures, slowestMs };
  };
  return { acknowledged, stop };
}

/** Clients that carry out commands of all kinds, each on accounts of its own, until they are told to stop. */
function startLedgerLoad(ledger: Ledger, accountIds: readonly number[]) {
  const transactions: Transaction[] = [];
  const changes: AccountChange[] = [];
  const failures: unknown[] = [];
  let [rounds, stopping] = [0, false];
  const run = async (command: Command): Promise<Effects> => {
    const effects = await ledger.execute(command);
    transactions.push(...effects.transactions);
    changes.push(...effects.changes);
    return effects;
  };
  const client = async (accountId: number, to: number) => {
    for (let n = 0; !stopping; n++, rounds++) {
      const hold = async (more: object = {}) => {
        const { holds } = await run({ type: 'hold', accountId, amount: 10n, ...more });
        return holds[0]?.holdId as number;
      };
      const [first, second] = [await hold({ details: { reference: `${n}` } }), await hold()];
      await run({
        type: 'capture',
        accountId,
        holdId: first,
        amount: 4n,
        final: n % 2 === 0,
        to: { accountId: to },
      });
      await run({ type: 'void', accountId, holdId: second });
      if (n % 4 === 0) await hold({ expiresInMs: 1 });
      const legs = [
        { accountId, type: 'debit', amount: 6n },
        { accountId: to, type: 'credit', amount: 6n },
      ] as const;
      const { transactions: moved } = await run({ type: 'transfer', accountId, legs });
      const accountIds = [to, accountId];
      const transferId = moved[0]?.transactionId as number;
      await run({ type: 'transfer-reversal', accountId: to, accountIds, transferId, amount: 5n });
      await run({ type: 'expiry', accountId });
      const change = { reference: `${n}`, ...(n % 3 === 0 && { metadata: `{"n":${n}}` }) };
      await run({
        type: 'change',
        accountId,
        actor: 'ada',
        changes: { ...change, overdraftLimit: BigInt(n) },
      });
    }
  };
  const pairs = accountIds.flatMap((id, index) =>
    index % 2 ? [] : [[id, accountIds[index + 1] as number] as const],
  );
  const clients = pairs.map(([id, to]) => client(id, to).catch((error: unknown) => failures.push(error)));
  const stop = async () => {
    stopping = true;
    await Promise.all(clients);
    return { transactions, changes, failures };
  };
  return { rounds: () => rounds, stop };
}

/** Clients that move money between two accounts of different shards in all ways there are, until told to stop. */
function startCrosswiseLoad(ledger: Ledger, accountIds: readonly number[]) {
  const failures: unknown[] = [];
  let [rounds, stopping] = [0, false];
  const client = async (accountId: number, to: number) => {
    for (let n = 0; !stopping; n++, rounds++) {
      const legs = [
        { accountId, type: 'debit', amount: 6n },
        { accountId: to, type: 'credit', amount: 6n },
      ] as const;
      const { transactions } = await ledger.execute({
        type: 'transfer',
        accountId,
        legs,
        idempotencyKey: `t${n}`,
      });
      const [debit, credit] = transactions;
      const { holds } = await ledger.execute({ type: 'hold', accountId, amount: 10n });
      const holdId = holds[0]?.holdId ?? 0;
      const capture = { type: 'capture', accountId, holdId, to: { accountId: to } } as const;
      const details = { reference: `${n}` };
      await ledger.execute({ ...capture, amount: 4n, final: false, idempotencyKey: `c${n}`, details });
      if (!debit || !credit) continue;
      await ledger.execute({
        ...{ type: 'transfer-reversal', accountId: to, accountIds: [to, accountId], amount: 5n },
        ...{ transferId: debit.transferId ?? 0, legIds: [credit.transactionId, debit.transactionId] },
      });
    }
  };
  const clients = accountIds.map((id, index) =>
    client(id, accountIds[accountIds.length - 1 - index] as number).catch((error: unknown) =>
      failures.push(error),
    ),
  );
  const stop = async () => {
    stopping = true;
    await Promise.all(clients);
    return failures;
  };
  return { rounds: () => rounds, stop };
}

/** Every acknowledged transaction is stored once, with its id and version, and nothing besides. */
async function expectStored(acknowledged: readonly Posted[], seeded: number): Promise<void> {
  const stored = new Set<string>();
  for (const { url, schema } of [shards[0] as ShardAddress, target()]) {
    const rows = await query<{ key: string }>(
      url,
      ['transactions', 'archived_transactions']
        .map(
          (table) =>
            `SELECT concat_ws('/', account_id, transaction_id, version_after) AS key FROM ${schema}.${table}`,
        )
        .join(' UNION ALL '),
    );
    expect(new Set(rows.map(({ key }) => key)).size).toBe(rows.length);
    rows.forEach(({ key }) => stored.add(key));
  }
  const missing = acknowledged.filter(
    ({ accountId, id, newVersion }) => !stored.has(`${accountId}/${id.slice(3)}/${newVersion}`),
  );
  expect(missing).toEqual([]);
  expect(stored.size).toBe(acknowledged.length + seeded);
}

describe('moving a shard', () => {
  it('moves it to another server under load, with nothing lost and nothing rejected', async () => {
    await seedBank(shards, { accounts: 4_000, balance: 10_000n });
    const service = await startService();
    const load = startLoad(service.url, [1, 2, 3, 4, 5, 6, 7, 8]);
    await until(() => load.acknowledged.length > 200);
    const report = await move();
    const before = load.acknowledged.length;
    await until(() => load.acknowledged.length > before + 200);
    const { acknowledged, failures, slowestMs } = await load.stop();
    expect(failures).toEqual([]);
    expect(slowestMs).toBeLessThan(MAX_PAUSE_MS);
    expect(report.pauseMs).toBeLessThan(MAX_PAUSE_MS);
    await expectStored(acknowledged, 4_000);
    await expectWhole(4_000);

    const reads = await fetch(`${service.url}/accounts/2/balance`);
    const [row] = await query<{ version: string }>(
      target().url,
      'SELECT version FROM bank_1.accounts WHERE account_id = 2',
    );
    expect(await reads.json()).toMatchObject({ version: Number(row?.version) });
    const opened = await Promise.all(
      Array.from({ length: 4 }, async () =>
        (await fetch(`${service.url}/accounts`, { method: 'POST', body: '{}', headers: JSON_BODY })).json(),
      ),
    );
    const ids = opened.map((account) => (account as { accountId: number }).accountId);
    expect(ids.sort((a, b) => a - b)).toEqual([4_001, 4_002, 4_003, 4_004]);
    await service.close();
  }, 60_000);

  it('leaves an address that a start with the old list follows, and that shows a second move that it is done', async () => {
    await seedBank(shards, { accounts: 10, balance: 100n });
    await move();
    const settled = await bootstrapShards(shards);
    expect(settled.shards[1]?.url).toBe(target().url);
    const service = await startService();
    const answer = await fetch(`${service.url}/accounts/2/balance`);
    expect(await answer.text()).toBe('{"balance":1.00,"version":2}');
    await service.close();
    expect(await move()).toMatchObject({ transactions: undefined });
    await expectWhole(10);
  });

  it('includes the archive, and what is archived meanwhile', async () => {
    await seedBank(shards, { accounts: 4_000, balance: 100n });
    const shard = shards[1] as ShardAddress;
    const service = await startService();
    const load = startLoad(service.url, [2, 4, 6, 8]);
    await archiveBank([shard], new Date());
    await until(() => load.acknowledged.length > 100);
    let [moving, runs] = [true, 0];
    const archiving = (async () => {
      // Once the shard has left, there is nothing to archive at its old place.
      for (; moving; runs++) await archiveBank([shard], new Date(), { stepRows: 10 }).catch(() => undefined);
    })();
    await move();
    moving = false;
    await archiving;
    const { acknowledged, failures } = await load.stop();
    expect(failures).toEqual([]);
    await service.close();
    expect(runs).toBeGreaterThan(0);
    await expectStored(acknowledged, 4_000);
    await expectWhole(4_000);
    const archived = await query(target().url, 'SELECT FROM bank_1.archived_transactions');
    expect(archived.length).toBeGreaterThanOrEqual(2_000);
    expect((await archiveBank([target()], new Date())).moved).toBeGreaterThan(0);
    await expectWhole(4_000);
  }, 60_000);

  it('includes unpublished events, in order, and the fact that a broker gets them', async () => {
    await seedBank(shards, { accounts: 5_000, balance: 100n });
    await query(source.url, `INSERT INTO bank_1.event_cursors VALUES ('rabbitmq', 17)`);
    const outbox = 'SELECT outbox_id, transaction_ids FROM bank_1.outbox ORDER BY outbox_id';
    const before = await query(source.url, outbox);
    await move();
    expect(before.length).toBeGreaterThan(1);
    expect(await query(target().url, outbox)).toEqual(before);
    expect(await query(target().url, 'SELECT receiver, position FROM bank_1.event_cursors')).toEqual([
      { receiver: 'rabbitmq', position: '17' },
    ]);
  });

  it('copies every column of every table', async () => {
    const key = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].find(
      (name) => new ShardRouter([0, 1]).ofOpening('ada', name) === 1,
    );
    await seedBank(shards, { accounts: 4, balance: 100n, owner: 'ada' });
    await archiveBank(shards, new Date());
    for (const sql of [
      `INSERT INTO bank_1.account_openings VALUES (2, 'ada', '${key}', 1.00)`,
      `INSERT INTO bank_1.api_keys (name, hint, hash, scopes, scopes_version, owner, expires_at, revoked_at, last_used_at)
         VALUES ('n', 'h', sha256('k'), ARRAY['accounts:read'], 2, 'ada', now(), now(), now())`,
      `INSERT INTO bank_1.audit_events (happened_at, action, actor, details, hash, tables_epoch)
         VALUES (now(), 'key.created', 'somebody', '{}', sha256('e'), 2)`,
      `INSERT INTO bank_1.event_cursors VALUES ('log', 8, NULL, '{}'), ('webhook:1', 7, '{}', '{8.0}')`,
      `INSERT INTO bank_1.event_log VALUES (7, '{2}', '{}', '{}', '{}', NULL, now())`,
      `INSERT INTO bank_1.event_log VALUES (8, '{}', '{}', '{1}', '{1}', '00-${'a'.repeat(32)}-${'b'.repeat(16)}-01', now())`,
      `INSERT INTO bank_1.webhooks (url, event_types, description, owner, key_id, secret, former_secret, former_secret_ends,
                                    disabled_at, disabled_because)
         VALUES ('https://a', '{*}', 'd', 'ada', 1, 's', 'f', now(), now(), 'gone')`,
      `INSERT INTO bank_1.refused_submissions (account_id, idempotency_key, fingerprint, rejection, refused_at)
         VALUES (2, 'much', 7, '{"code":"INSUFFICIENT_BALANCE"}', now())`,
    ]) {
      await query(source.url, sql);
    }
    const service = await startService();
    const details = { reference: 'r', actor: 'ada' };
    await service.ledger.execute({ type: 'hold', accountId: 2, amount: 10n, expiresInMs: 60_000, details });
    const changes = { overdraftLimit: 5n, reference: 'two', metadata: '{}' };
    await service.ledger.execute({ type: 'change', accountId: 2, actor: 'ada', changes });
    await service.close();
    const bank = await TwoShards.open(shards);
    await bank.finish(await bank.begin(2, 1, 1n));
    await bank.begin(2, 1, 2n, { capture: { holdId: await bank.placeHold(2, 2n), final: true } });
    await bank.finish(await bank.begin(1, 2, 1n), true);
    await bank.close();
    // Nobody relays their events any more.
    await seedBank(shards, { accounts: 4, balance: 100n });
    await move();
    for (const { name: table } of copiedTables(BANK_TABLES)) {
      const [left, arrived] = await Promise.all([
        query(source.url, `SELECT * FROM bank_1.moved_${table} ORDER BY 1`),
        query(target().url, `SELECT * FROM bank_1.${table} ORDER BY 1`),
      ]);
      expect({ table, empty: left.length === 0 }).toEqual({ table, empty: false });
      expect(arrived).toEqual(left);
    }
  });

  it('can be interrupted at every step and run again', async () => {
    await seedBank(shards, { accounts: 1_000, balance: 100n });
    const service = await startService();
    const load = startLoad(service.url, [2, 4, 6]);
    const steps: string[] = [];
    for (let stopAt = 1; ; stopAt++) {
      const controller = new AbortController();
      let step = 0;
      const onStep = (name: string) => {
        step += 1;
        if (step === stopAt) controller.abort(new InterruptedError('SIGINT'));
        else if (step < stopAt) steps.push(name);
      };
      const result = await move({ onStep, signal: controller.signal }).catch((error: unknown) => error);
      if (!(result instanceof InterruptedError)) {
        expect(result).toMatchObject({ to: expect.stringContaining(targetName) as unknown });
        break;
      }
    }
    expect(new Set(steps.map((step) => step.replace(/ \d+$/, ''))).size).toBeGreaterThanOrEqual(3);
    const { acknowledged, failures } = await load.stop();
    expect(failures).toEqual([]);
    await service.close();
    await expectStored(acknowledged, 1_000);
    await expectWhole(1_000);
  }, 60_000);

  it.each(['cut-before', 'cut-after'] as const)(
    'is finished by a second run when the connection is lost at the switch-over itself (%s COMMIT)',
    async (atCommit) => {
      await seedBank(shards, { accounts: 100, balance: 100n });
      const service = await startService();
      const load = startLoad(service.url, [1, 2, 4]);
      const { proxy, url } = await PostgresProxy.start(source.url);
      const through = { url, schema: 'bank_1' };
      const onStep = (step: string) => {
        if (step.startsWith('switching')) proxy.atCommit = atCommit;
      };
      await expect(move({ onStep }, through)).rejects.toThrow(/Run the same command again/);
      proxy.heal();
      await move({}, through);
      await until(() => load.acknowledged.some(({ accountId }) => accountId === 2));
      const { acknowledged, failures } = await load.stop();
      // Between the switch and its end the shard is nowhere, and says so.
      expect(failures.filter((failure) => !/^(408|503) /.test(failure))).toEqual([]);
      await service.close();
      await proxy.stop();
      await expectStored(acknowledged, 100);
      await expectWhole(100);
    },
    60_000,
  );

  it('includes the owners of accounts, even of those that change meanwhile', async () => {
    await seedBank(shards, { accounts: 8, balance: 100n });
    await assignAccounts(shards, { accounts: [2, 4], owner: 'ada' });
    const stopper = new AbortController();
    const stop = (step: string) => {
      if (step.startsWith('comparing')) stopper.abort(new Error('stopped'));
    };
    await expect(move({ onStep: stop, signal: stopper.signal })).rejects.toThrow();
    // Of accounts that are copied already: between two runs, and while the second one compares.
    await assignAccounts(shards, { accounts: [4], owner: undefined });
    await assignAccounts(shards, { accounts: [6], owner: 'bob' });
    // The move can't go on before the assignment is over.
    const holder = new Client({ connectionString: source.url });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE bank_1.accounts IN ROW EXCLUSIVE MODE');
    let assigning: Promise<unknown> | undefined;
    const onStep = (step: string) => {
      if (!step.startsWith('comparing')) return;
      assigning ??= assignAccounts(shards, { accounts: [8], owner: 'eve' }).finally(() => void holder.end());
    };
    setTimeout(() => void holder.query('COMMIT'), 500);
    await move({ onStep });
    expect(await assigning).toEqual({ changed: [8], unchanged: [] });
    expect(
      await query(target().url, 'SELECT account_id::int, owner, revision FROM bank_1.accounts ORDER BY 1'),
    ).toEqual([
      { account_id: 2, owner: 'ada', revision: 1 },
      { account_id: 4, owner: null, revision: 2 },
      { account_id: 6, owner: 'bob', revision: 1 },
      { account_id: 8, owner: 'eve', revision: 1 },
    ]);
    await expectWhole(8);
  });

  it('includes holds, transfers, reversals and changes of accounts, even of those during the move', async () => {
    await seedBank(shards, { accounts: 40, balance: 100_000n });
    const service = await startService();
    const load = startLedgerLoad(service.ledger, [2, 4, 6, 8, 10, 12]);
    let [assigning, assigned] = [true, 0];
    const assignments = (async () => {
      for (let n = 1; assigning; n++)
        assigned += (await assignAccounts(shards, { accounts: [14], owner: `owner-${n}` })).changed.length;
    })();
    await until(() => load.rounds() > 20);
    let [compared, changed] = [0, 0];
    await move({
      onStep: (step) => {
        if (step.startsWith('comparing')) compared = load.rounds();
        if (!step.startsWith('switching')) return;
        changed = load.rounds();
        // Once the shard has left, it finds no table at the old place.
        assigning = false;
      },
    });
    await assignments.catch((error: unknown) =>
      expect(String(error)).toMatch(/moved just now|does not exist/),
    );
    // Things happened in the last rounds, too.
    expect(changed).toBeGreaterThan(compared);
    const before = load.rounds();
    await until(() => load.rounds() > before + 20);
    const { transactions, changes, failures } = await load.stop();
    await service.close();
    expect(failures).toEqual([]);
    await expectWhole(40);
    const stored = await query<{ key: string; expired: boolean }>(
      target().url,
      `SELECT concat_ws('/', transaction_id, t.account_id, type, version_after) AS key,
              type = 'release' AND status = 'expired' AS expired
         FROM bank_1.transactions t LEFT JOIN bank_1.holds USING (hold_id)
       UNION ALL SELECT concat_ws('/', account_id, revision), false FROM bank_1.account_events`,
    );
    const acknowledged = new Set([
      ...transactions.map(({ transactionId, accountId, type, versionAfter }) =>
        [transactionId, accountId, type, versionAfter].join('/'),
      ),
      ...changes.map(({ accountId, revision }) => [accountId, revision].join('/')),
    ]);
    const keys = new Set(stored.map(({ key }) => key));
    expect([...acknowledged].filter((key) => !keys.has(key))).toEqual([]);
    // The service itself ends holds that have expired, too, unless a client was first.
    expect(stored.filter(({ key, expired }) => !expired && !acknowledged.has(key))).toHaveLength(
      20 + assigned,
    );
    expect(
      await query(target().url, 'SELECT owner, revision FROM bank_1.accounts WHERE account_id = 14'),
    ).toEqual([{ owner: `owner-${assigned}`, revision: assigned }]);
    const statuses = await query(target().url, 'SELECT DISTINCT status FROM bank_1.holds ORDER BY 1');
    expect(statuses.map(({ status }) => status)).toEqual(['active', 'captured', 'expired', 'voided']);
  }, 60_000);

  it('goes on with transfers to and from the other shard', async () => {
    await seedBank(shards, { accounts: 12, balance: 100_000n });
    const service = await startService();
    // Each even one with an odd one, in both directions.
    const load = startCrosswiseLoad(
      service.ledger,
      [1, 3, 5, 2, 4, 6].flatMap((id) => [id, id + 6]),
    );
    await until(() => load.rounds() > 50);
    let switching = 0;
    await move({
      onStep: (step) => {
        if (step.startsWith('switching')) switching = load.rounds();
      },
    });
    const before = load.rounds();
    expect(before).toBeGreaterThanOrEqual(switching);
    await until(() => load.rounds() > before + 50);
    expect(await load.stop()).toEqual([]);
    const pending = async () => {
      const places = [shards[0], target()] as ShardAddress[];
      const each = await Promise.all(
        places.map(({ url, schema }) =>
          query(url, `SELECT FROM ${schema}.transfers WHERE status = 'pending'`),
        ),
      );
      return each.flat().length;
    };
    await waitUntil(async () => (await pending()) === 0, 20_000);
    await service.close();
    await expectWhole(12);
    const { balance } = await verifyBank([shards[0] as ShardAddress, target()]);
    expect(balance).toBe('12000.00');
  }, 60_000);

  it('includes the keys of openings, even of those during the move', async () => {
    const service = await startService();
    const answers = new Map<string, number>();
    const open = async (key: string) => {
      const headers = { ...JSON_BODY, 'idempotency-key': key };
      const response = await fetch(`${service.url}/accounts`, {
        method: 'POST',
        body: '{"openingDeposit":1}',
        headers,
      });
      const { accountId } = (await response.json()) as { accountId: number };
      return { status: response.status, accountId };
    };
    let opening = true;
    const openings = (async () => {
      for (let n = 0; opening; n++) {
        const { status, accountId } = await open(`key-${n}`);
        expect(status).toBe(201);
        answers.set(`key-${n}`, accountId);
      }
    })();
    await until(() => answers.size > 10);
    await move();
    const before = answers.size;
    await until(() => answers.size > before + 10);
    opening = false;
    await openings;
    for (const [key, accountId] of answers) expect(await open(key)).toEqual({ status: 409, accountId });
    await service.close();
    await expectWhole(answers.size);
  }, 60_000);

  it.each([
    'DELETE FROM bank_1.account_openings',
    "UPDATE bank_1.account_openings SET idempotency_key = 'other'",
    "UPDATE bank_1.account_openings SET owner = 'bob'",
    'UPDATE bank_1.account_openings SET opening_deposit = NULL',
    'UPDATE bank_1.accounts SET revision = 1',
    'DELETE FROM bank_1.account_events',
    `UPDATE bank_1.account_events SET changes = '{}'`,
    'DELETE FROM bank_1.account_details',
    `UPDATE bank_1.account_details SET reference = 'other'`,
    `UPDATE bank_1.holds SET status = 'voided', remaining = 0, capturing = 0`,
    `UPDATE bank_1.holds SET expires_at = now()`,
    'UPDATE bank_1.holds SET capturing = 0',
    'DELETE FROM bank_1.transfers',
    `UPDATE bank_1.transfers SET status = 'failed', rejection = '{}'`,
    'DELETE FROM bank_1.incoming_transfers',
    `UPDATE bank_1.incoming_transfers SET nonce = gen_random_uuid()`,
    'DELETE FROM bank_1.transaction_details',
    `UPDATE bank_1.transaction_details SET description = 'other'`,
  ])('compares what does not follow from transactions: it would find %s', async (sql) => {
    await seedBank(shards, { accounts: 2, balance: 100n });
    const client = new Client({ connectionString: source.url });
    await client.connect();
    await client.query(`
      INSERT INTO bank_1.account_openings VALUES (2, 'ada', 'key', 1.00);
      INSERT INTO bank_1.account_events (account_id, revision, timestamp, changes, hash)
        VALUES (2, 1, now(), '{"owner":null}', sha256('e'));
      INSERT INTO bank_1.account_details (account_id, reference) VALUES (2, 'two');
      INSERT INTO bank_1.holds VALUES (2, 2, 1, 1, 0, 'active', NULL, now(), 1);
      INSERT INTO bank_1.transfers
          (transfer_id, nonce, account_id, to_account_id, amount, hold_id, final, created_at, status)
        VALUES (4, gen_random_uuid(), 2, 1, 1, 2, true, now(), 'pending');
      INSERT INTO bank_1.incoming_transfers
          (transfer_id, nonce, account_id, from_account_id, amount, decided_at, rejection)
        VALUES (1, gen_random_uuid(), 2, 1, 1, now(), '{}');
      INSERT INTO bank_1.transaction_details (transaction_id, account_id, description) VALUES (2, 2, 'd')`);
    const tables = await readTables(client, 'bank_1');
    const digest = () => digestSince({ client, schema: 'bank_1', tables }, NOTHING);
    const before = await digest();
    expect(await digest()).toEqual(before);
    await client.query(sql);
    expect(await digest()).not.toEqual(before);
    await client.end();
  });

  it('gives up when the pause would be too long, and leaves the shard where it was', async () => {
    await seedBank(shards, { accounts: 100, balance: 100n });
    const { proxy, url } = await PostgresProxy.start(target().url);
    const { hostname, port, pathname } = new URL(url);
    const onStep = (step: string) => {
      if (step.startsWith('switching')) proxy.silence();
    };
    const through = `postgresql://${hostname}:${port}${pathname}`;
    const options = { maxPauseMs: 300, onStep };
    await expect(relocateShard(shards, MOVED, through, options)).rejects.toThrow(
      'its users would have waited for more than 300 ms',
    );
    await proxy.stop();
    expect((await verifyBank(shards)).ok).toBe(true);
    expect((await bootstrapShards(shards)).shards[1]?.url).toBe(source.url);
  });

  it('waits for a transaction that holds the shard, without holding anybody up', async () => {
    await seedBank(shards, { accounts: 10, balance: 100n });
    const holder = new Client({ connectionString: source.url });
    await holder.connect();
    await holder.query('BEGIN; SELECT FROM bank_1.accounts WHERE account_id = 2 FOR UPDATE');
    const moving = move();
    const service = await startService();
    const load = startLoad(service.url, [4, 6]);
    await until(() => load.acknowledged.length > 50);
    await holder.query('COMMIT');
    await holder.end();
    await moving;
    const { failures } = await load.stop();
    expect(failures).toEqual([]);
    await service.close();
    await expectWhole(10);
  }, 60_000);
});

describe('a copy that is brought from a cut to the next', () => {
  it('follows transfers between shards, whatever changes without a transaction', async () => {
    const side = { index: 0, count: 2 };
    const copied = { url: target().url, schema: 'bank_0' };
    await prepareTables(copied, side);
    const clients = [source.url, copied.url].map((connectionString) => new Client({ connectionString }));
    await Promise.all(clients.map((client) => client.connect()));
    const [from, to] = clients as [Client, Client];
    const tables = await readTables(from, 'bank_0');
    const [there, here]: [CopySide, CopySide] = [
      { client: from, schema: 'bank_0', tables },
      { client: to, schema: 'bank_0', tables },
    ];
    let cut = NOTHING;
    const bring = async () => {
      const since = cut;
      ({ cut } = await copySince(there, to, since));
      for (const { name, sql, ledger } of tables.filter((table) => table.ledger)) {
        const all = `SELECT * FROM ${sql} ORDER BY 1`;
        expect({ name, ledger, rows: (await to.query(all)).rows }).toEqual({
          ...{ name, ledger, rows: (await from.query(all)).rows },
        });
      }
      expect(await digestSince(here, since)).toEqual(await digestSince(there, since));
    };
    const bank = await TwoShards.open(shards);
    const { begun, credited, refused, capturing } = await fillTwoShards(bank);
    const more = await bank.begin(1, 2, 2_00n);
    await bring();
    expect(cut.pending).toHaveLength(4);
    await bank.finish(capturing, true);
    await bring();
    await bank.finish(begun);
    await bank.finish(refused);
    await bank.finish(credited);
    await bring();
    const capture = { holdId: capturing.holdId, final: false };
    const again = await bank.begin(1, 2, 1_00n, { capture, details: { reference: 'again' } });
    await bring();
    expect(cut.pending.map(Number)).toEqual([more.transferId, again.transferId]);
    await bank.finish(more, true);
    await bank.finish(again);
    await bring();
    expect(cut.pending).toEqual([]);
    await bank.close();
    await Promise.all(clients.map((client) => client.end()));
  });
});

describe('a move rejects', () => {
  it('a copy that differs from the source', async () => {
    await seedBank(shards, { accounts: 10, balance: 100n });
    const controller = new AbortController();
    const onStep = (step: string) => {
      if (step.startsWith('comparing')) controller.abort(new InterruptedError('SIGINT'));
    };
    await expect(move({ onStep, signal: controller.signal })).rejects.toThrow(InterruptedError);
    await query(target().url, DAMAGE);
    await expect(move()).rejects.toThrow(
      'the copy is not what the source holds (as many rows, with other values)',
    );
    expect((await bootstrapShards(shards)).shards[1]?.url).toBe(source.url);
  });

  it('a copy that lost an event of an account', async () => {
    await seedBank(shards, { accounts: 10, balance: 100n });
    await assignAccounts(shards, { accounts: [2, 4], owner: 'ada' });
    const controller = new AbortController();
    const onStep = (step: string) => {
      if (step.startsWith('comparing')) controller.abort(new InterruptedError('SIGINT'));
    };
    await expect(move({ onStep, signal: controller.signal })).rejects.toThrow(InterruptedError);
    await query(target().url, 'DELETE FROM bank_1.account_events WHERE account_id = 2');
    await expect(move()).rejects.toThrow('the copy is not what the source holds (1 of 2 account_events)');
    expect((await bootstrapShards(shards)).shards[1]?.url).toBe(source.url);
  });

  it.each([
    ['another user than the services have', (url: URL) => (url.username = 'other'), 'user and the password'],
    ['another schema', (url: URL) => url.searchParams.set('schema', 'bank_9'), 'keeps its schema, "bank_1"'],
    ['no database', (url: URL) => (url.pathname = '/'), '--to must be a URL like'],
  ])('%s', async (_what, change, message) => {
    const url = new URL(targetUrl());
    change(url);
    await expect(relocateShard(shards, MOVED, url.href, { maxPauseMs: MAX_PAUSE_MS })).rejects.toThrow(
      message,
    );
  });

  it('a target that holds a shard or other accounts', async () => {
    await bootstrapShards([{ ...target() }]);
    await expect(move()).rejects.toThrow('holds a shard already');
    await query(target().url, 'DELETE FROM bank_1.shard_identity');
    await query(target().url, 'INSERT INTO bank_1.accounts (balance, version) VALUES (0, 1)');
    await expect(move()).rejects.toThrow('holds something else than a copy of this shard');
    expect(await query(target().url, 'SELECT account_id FROM bank_1.accounts')).toHaveLength(1);
  });

  it('a shard that is listed at the wrong place', async () => {
    await expect(
      relocateShard([...shards].reverse(), MOVED, targetUrl(), { maxPauseMs: MAX_PAUSE_MS }),
    ).rejects.toThrow(/holds shard 0 of 2|keeps its schema/);
  });
});

describe('a build of which the move loses events of accounts', () => {
  it.each(Object.keys(MOVES))(
    'is found out: %s',
    async (sabotage) => {
      await seedBank(shards, { accounts: 4, balance: 100n });
      let [moving, assigned] = [true, 0];
      const assignments = (async () => {
        for (let n = 1; moving; n++)
          assigned += (await assignAccounts(shards, { accounts: [2], owner: `owner-${n}` })).changed.length;
      })().catch(() => undefined);
      await until(() => assigned > 0);
      const { code, stderr } = await startCli(['shards', 'move', String(MOVED), '--to', targetUrl()], {
        SHARDS: shards.map(({ url, schema }) => `${url}?schema=${schema}`).join(),
        NODE_OPTIONS: `--import ${join(process.cwd(), 'test/sabotage/preload.mjs')}`,
        SABOTAGE: sabotage,
      }).ended;
      moving = false;
      await assignments;
      if (code === 0) expect((await verifyBank([shards[0] as ShardAddress, target()])).ok).toBe(false);
      else
        expect(stderr).toMatch(/the copy is not what the source holds|the books of the copy are not whole/);
    },
    60_000,
  );
});

const JSON_BODY = { 'content-type': 'application/json' };

/** One cent, to an account that the copy has already. */
const DAMAGE = 'UPDATE bank_1.accounts SET balance = balance + 0.01 WHERE account_id = 2';

async function until(check: () => boolean): Promise<void> {
  for (const giveUpAt = Date.now() + 20_000; !check();) {
    if (Date.now() > giveUpAt) throw new Error('it did not come about in time');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
