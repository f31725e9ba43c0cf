import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { verifyBank } from '../../src/admin/verify/verify.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { startPostgres, type PostgresServer } from '../../tools/stack/servers/postgres.js';
import { openAccount, startInstance, type TestApp } from '../support/app.js';
import { placed } from '../support/holds.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import {
  deposit,
  eventually,
  fieldsIn,
  moneyAsText,
  post,
  TEXT_MONEY,
  withdrawal,
} from '../support/requests.js';

/** Shards of one bank: the last one on a server of its own, which is killed. */
const COUNT = 3;
const OFTEN = { summary: { intervalMs: 100 }, database: { connectTimeoutMs: 1_000, readTimeoutMs: 1_000 } };

let database: TestDatabase;
let server: PostgresServer;
let shards: ShardAddress[];
let app: TestApp;

beforeAll(async () => {
  [database, server] = await Promise.all([
    createEmptyTestDatabase('summary'),
    startPostgres({ fsync: 'off', shared_buffers: '32MB' }),
  ]);
  shards = Array.from({ length: COUNT }, (_, index) => ({
    url: index === COUNT - 1 ? server.url : database.url,
    schema: `bank_${index}`,
  }));
  await bootstrapShards(shards);
}, 60_000);

afterAll(async () => {
  await app.close();
  await server.stop();
  await database.drop();
});

interface Summary {
  readonly asOf: string;
  readonly currencies: readonly Readonly<Record<string, unknown>>[];
}

const get = (of = app, headers: Record<string, string> = {}) => of.http.get('/ledger/summary').set(headers);
const summaryIn = ({ text }: { readonly text: string }) => JSON.parse(text) as Summary;

/** Leases the work of every shard to nobody. */
const leaseSummaries = (seconds: number) =>
  Promise.all(
    shards.map(({ url, schema }) =>
      query(
        url,
        `UPDATE ${schema}.shard_identity
         SET summary_id = gen_random_uuid(), summary_leased_until = clock_timestamp() + $1 * interval '1 s'`,
        [seconds],
      ),
    ),
  );

describe('GET /ledger/summary', () => {
  const accounts: number[] = [];

  it('is 503 SUMMARY_NOT_READY before every shard was summed up', async () => {
    await leaseSummaries(3_600);
    app = await startInstance(shards, {}, OFTEN);
    const { status, headers, text } = await get();
    expect([status, headers['x-error-code'], headers['retry-after'], text]).toEqual([
      ...[503, 'SUMMARY_NOT_READY', '1', '{"error":"Summary not ready"}'],
    ]);
    await leaseSummaries(0);
    await eventually(async () => expect((await get()).status).toBe(200));
    expect(summaryIn(await get()).currencies).toEqual([
      {
        ...{ currency: 'USD', accounts: 0, balance: 0, held: 0, inFlight: 0, credits: 0, debits: 0 },
        accountsByStatus: { open: 0, debits_blocked: 0, frozen: 0, closed: 0 },
      },
    ]);
  });

  it('adds up the shards, each as it was by asOf or later', async () => {
    for (let n = 0; n < 2 * COUNT; n++) accounts.push(await openAccount(app, '9007199254740993.01'));
    const [first = 0, second = 0, third = 0] = accounts;
    await placed(app, first, '2.50');
    await post(app, second, withdrawal('0.02'));
    await post(app, second, deposit('0.01'));
    await app.http.patch(`/accounts/${third}`).send({ status: 'frozen' }).expect(200);
    const answered = new Date();
    await eventually(async () =>
      expect(new Date(summaryIn(await get()).asOf).getTime()).toBeGreaterThan(answered.getTime()),
    );
    const { text } = await get();
    expect(text.slice(text.indexOf('"currencies"'))).toBe(
      '"currencies":[{"currency":"USD","accounts":6,"accountsByStatus":' +
        '{"open":5,"debits_blocked":0,"frozen":1,"closed":0},"balance":54043195528445958.05,"held":2.50,' +
        '"inFlight":0.00,"credits":54043195528445958.07,"debits":0.02}]}',
    );
    const asText = await get(app, TEXT_MONEY);
    const amounts = ({ currencies }: Summary) => JSON.stringify(currencies);
    expect(amounts(summaryIn(asText))).toBe(
      moneyAsText(text.slice(text.indexOf('[{'), -1)).replaceAll(
        /"(inFlight|credits|debits)":([\d.]+)/g,
        '"$1":"$2"',
      ),
    );
    expect(await verifyBank(shards)).toMatchObject({ ok: true, balance: '54043195528445958.05' });
  });

  it('tells in metrics when it was made', async () => {
    const { text } = await app.http.get('/metrics');
    const times = [...text.matchAll(/^bank_summary_timestamp_seconds\{shard="\d"\} (\d+)/gm)];
    expect(times).toHaveLength(COUNT);
    for (const [, time] of times) expect(Math.abs(Number(time) - Date.now() / 1000)).toBeLessThan(10);
  });

  it('takes no parameters', async () => {
    const response = await app.http.get('/ledger/summary?at=2025-01-01');
    expect([response.status, fieldsIn(response)]).toEqual([400, ['at']]);
  });

  it('has the last summary of a shard that is down, with its time; unless it never saw one', async () => {
    await get().expect(200);
    await server.kill();
    const late = await startInstance(shards, {}, OFTEN);
    try {
      const answered = new Date();
      // The third one is frozen.
      const healthy = accounts.find((id, index) => index !== 2 && (id - 1) % COUNT !== COUNT - 1) ?? 0;
      expect((await post(app, healthy, deposit('1.00'))).status).toBe(201);
      let during = '';
      await eventually(async () => {
        during = (await get()).text;
        expect(during).toContain('"credits":54043195528445959.07');
      }, 10_000);
      expect(new Date(summaryIn({ text: during }).asOf).getTime()).toBeLessThan(answered.getTime());
      expect((await get(late)).headers['x-error-code']).toBe('DATABASE_FAILED');
      await server.start();
      for (const instance of [app, late])
        await eventually(
          async () =>
            expect(new Date(summaryIn(await get(instance)).asOf).getTime()).toBeGreaterThan(
              answered.getTime(),
            ),
          20_000,
        );
    } finally {
      await late.close();
    }
  }, 60_000);
});
