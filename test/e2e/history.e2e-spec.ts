import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { placed } from '../support/holds.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import {
  deposit,
  fieldsIn,
  moneyAsText,
  post,
  receiptIn,
  TEXT_MONEY,
  withdrawal,
} from '../support/requests.js';
import { Wallet } from '../support/wallet.js';

let app: TestApp;

beforeAll(async () => {
  app = await startApp();
});

afterAll(() => app.close());

type Query = Partial<Record<string, string>>;

const get = (accountId: number, asked: Query, headers: Record<string, string> = {}) =>
  app.http.get(`/accounts/${accountId}/balance`).query(asked).set(headers);

/** A time some milliseconds from another. */
const shifted = (time: string, byMs: number) => new Date(Date.parse(time) + byMs).toISOString();

describe('GET /accounts/{accountId}/balance of the past', () => {
  let accountId: number;
  let opened: string;
  /** The times of versions 2 to 6, each some milliseconds after the one before. */
  const times: string[] = [];
  const BODIES = [
    '{"balance":0.00,"version":1,"held":0.00}',
    '{"balance":10.00,"version":2,"held":0.00}',
    '{"balance":9007199254751003.07,"version":3,"held":0.00}',
    '{"balance":9007199254751003.07,"version":4,"held":2.50}',
    '{"balance":9007199254751002.07,"version":5,"held":2.50}',
    '{"balance":9007199254751003.06,"version":6,"held":2.50}',
  ];

  beforeAll(async () => {
    accountId = await openAccount(app);
    const account = JSON.parse((await app.http.get(`/accounts/${accountId}`)).text) as { createdAt: string };
    opened = account.createdAt;
    const posted = async (body: object) => receiptIn(await post(app, accountId, body)).timestamp;
    await sleep(5);
    times.push(await posted(deposit('10')));
    await sleep(5);
    times.push(await posted(deposit('9007199254750993.07')));
    await sleep(5);
    const hold = await placed(app, accountId, '2.50');
    times.push(receiptIn(await app.http.get(`/transactions/${hold.replace('hold', 'txn')}`)).timestamp);
    await sleep(5);
    times.push(await posted(withdrawal('1')));
    await sleep(5);
    times.push(await posted(deposit('0.99')));
  });

  it('at the time of a transaction: with it; a moment before: without it', async () => {
    for (const [index, time] of times.entries()) {
      expect((await get(accountId, { at: time })).text).toBe(BODIES[index + 1]);
      expect((await get(accountId, { at: shifted(time, -1) })).text).toBe(BODIES[index]);
      expect((await get(accountId, { at: shifted(time, 1) })).text).toBe(BODIES[index + 1]);
    }
  });

  it('compares every digit of the seconds, in any zone', async () => {
    const [first = ''] = times;
    expect((await get(accountId, { at: shifted(first, -1).replace('Z', '999999Z') })).text).toBe(BODIES[0]);
    expect((await get(accountId, { at: first.replace('Z', '000001Z') })).text).toBe(BODIES[1]);
    const elsewhere = shifted(first, 7_200_000).replace('Z', '+02:00');
    expect((await get(accountId, { at: elsewhere })).text).toBe(BODIES[1]);
  });

  it('is empty from the opening on, and not there before: 404', async () => {
    expect((await get(accountId, { at: opened })).text).toBe(BODIES[0]);
    for (const at of [shifted(opened, -1), '2020-01-01', '0000-01-01']) {
      const response = await get(accountId, { at });
      expect(response.status).toBe(404);
      expect(response.text).toBe('{"error":"Account not yet opened"}');
      expect(response.headers).toMatchObject({ 'x-error-code': 'NOT_YET_OPENED' });
      expect(response.headers.etag).toBeUndefined();
    }
  });

  it('of an account from before openings were recorded: empty since ever', async () => {
    await query(app.databaseUrl, 'UPDATE bank.accounts SET created_at = NULL WHERE account_id = $1', [
      accountId,
    ]);
    expect((await get(accountId, { at: '2020-01-01' })).text).toBe(BODIES[0]);
    expect((await get(accountId, { at: times[0] ?? '' })).text).toBe(BODIES[1]);
    await query(app.databaseUrl, 'UPDATE bank.accounts SET created_at = $2 WHERE account_id = $1', [
      accountId,
      opened,
    ]);
  });

  it('of each version, and of none that was not reached: 404', async () => {
    for (const [index, body] of BODIES.entries()) {
      expect((await get(accountId, { version: String(index + 1) })).text).toBe(body);
    }
    for (const version of ['7', '9223372036854775807']) {
      const response = await get(accountId, { version });
      expect(response.status).toBe(404);
      expect(response.text).toBe('{"error":"Version not reached"}');
    }
  });

  it('has a strong entity tag, for which 304 is answered, and money as text on request', async () => {
    for (const asked of [{ at: times[2] ?? '' }, { version: '4' }]) {
      const response = await get(accountId, asked, TEXT_MONEY);
      expect(response.headers).toMatchObject({ etag: '"4-string"', 'cache-control': 'no-store' });
      expect(response.text).toBe(moneyAsText(BODIES[3] ?? ''));
      expect((await get(accountId, asked)).headers.etag).toBe('"4"');
      expect((await get(accountId, asked, { 'if-none-match': '"4"' })).status).toBe(304);
      expect((await get(accountId, asked, { 'if-none-match': '"5"' })).text).toBe(BODIES[3]);
    }
  });

  it('is not known for a time that has not come: 400', async () => {
    for (const at of [
      '2999-01-01',
      '9999-12-31T23:59:59.999999999Z',
      shifted(new Date().toISOString(), 60_000),
    ]) {
      const response = await get(accountId, { at });
      expect(response.status).toBe(400);
      expect(response.text).toContain('{"field":"at","message":"must not be in the future"}');
    }
    expect((await get(accountId, { at: new Date(Date.now() - 1).toISOString() })).text).toBe(BODIES[5]);
  });

  it.each([
    [{ at: 'yesterday' }, 'at'],
    [{ at: '' }, 'at'],
    [{ at: '2025-05-02T10:24:02' }, 'at'],
    [{ at: '1746181442' }, 'at'],
    [{ version: '0' }, 'version'],
    [{ version: '-1' }, 'version'],
    [{ version: '1.0' }, 'version'],
    [{ version: '' }, 'version'],
    [{ version: '2', at: '2025-05-02' }, 'version'],
    [{ version: '2', minVersion: '2' }, 'minVersion'],
    [{ at: '2025-05-02', minVersion: '2' }, 'minVersion'],
    [{ when: '2025-05-02' }, 'when'],
  ])('%j: 400 names %s', async (asked, field) => {
    const response = await get(accountId, asked);
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual([field]);
  });

  it('of no account: 404, whatever is asked', async () => {
    for (const asked of [{ at: '2020-01-01' }, { at: '2999-01-01' }, { version: '1' }]) {
      const response = await get(999_999, asked);
      expect(response.status).toBe(404);
      expect(response.text).toBe('{"error":"Account not found"}');
    }
  });

  it('leaves the balance of now as it was', async () => {
    const response = await app.http.get(`/accounts/${accountId}/balance`);
    expect(response.text).toBe('{"balance":9007199254751003.06,"version":6}');
  });
});

describe('over several shards, for senders bound to an owner', () => {
  let database: TestDatabase;
  let sharded: TestApp;
  let as: (owner: string | undefined) => Record<string, string>;
  const accounts: { readonly accountId: number; readonly owner: string; readonly time: string }[] = [];

  beforeAll(async () => {
    database = await createEmptyTestDatabase('history');
    const shards: ShardAddress[] = [0, 1, 2].map((index) => ({ url: database.url, schema: `bank_${index}` }));
    await bootstrapShards(shards);
    const wallet = new Wallet(shards);
    as = await wallet.senders(['ada', 'bob']);
    sharded = await startInstance(shards, wallet.settings);
    const send = (path: string, body: object) =>
      sharded.http.post(path).set(as(undefined)).send(body).expect(201);
    for (let n = 1; n <= 6; n++) {
      const owner = n % 2 === 0 ? 'ada' : 'bob';
      const opened = await send('/accounts', { owner, openingDeposit: n });
      const { accountId } = JSON.parse(opened.text) as { accountId: number };
      await sleep(5);
      const { timestamp } = receiptIn(await send(`/accounts/${accountId}/transactions`, deposit('0.50')));
      accounts.push({ accountId, owner, time: timestamp });
    }
  }, 60_000);

  afterAll(async () => {
    await sharded.close();
    await database.drop();
  });

  const ask = async (accountId: number, asked: Query, owner?: string) => {
    const path = `/accounts/${accountId}/balance`;
    const { status, text } = await sharded.http.get(path).query(asked).set(as(owner));
    return [status, text] as const;
  };

  it('each account has its own history, wherever it is', async () => {
    expect(new Set(accounts.map(({ accountId }) => accountId % 3)).size).toBe(3);
    for (const [index, { accountId, owner, time }] of accounts.entries()) {
      const before = [200, `{"balance":${index + 1}.00,"version":2,"held":0.00}`];
      const after = [200, `{"balance":${index + 1}.50,"version":3,"held":0.00}`];
      for (const sender of [owner, undefined]) {
        expect(await ask(accountId, { at: shifted(time, -1) }, sender)).toEqual(before);
        expect(await ask(accountId, { version: '2' }, sender)).toEqual(before);
        expect(await ask(accountId, { at: time }, sender)).toEqual(after);
        expect(await ask(accountId, { version: '3' }, sender)).toEqual(after);
      }
    }
  });

  it("another owner's account is not there, whatever is asked about its past", async () => {
    for (const { accountId, owner, time } of accounts) {
      const other = owner === 'ada' ? 'bob' : 'ada';
      for (const asked of [
        { at: time },
        { at: '2020-01-01' },
        { at: '2999-01-01' },
        { version: '1' },
        { version: '9' },
      ])
        expect(await ask(accountId, asked, other)).toEqual([404, '{"error":"Account not found"}']);
    }
  });
});
