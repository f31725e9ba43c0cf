import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Response } from 'supertest';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { bearer } from '../support/credentials.js';
import {
  capture,
  change,
  expireIn,
  figuresOf,
  holdIn,
  placed,
  placeHold,
  voidHold,
} from '../support/holds.js';
import { query } from '../support/postgres.js';
import {
  balanceOf,
  deposit,
  eventually,
  fieldsIn,
  moneyAsText,
  post,
  receiptIn,
  TEXT_MONEY,
  withdrawal,
} from '../support/requests.js';
import { Wallet } from '../support/wallet.js';

const NEVER_MS = 3_600_000;
const withKey = (key: string) => ({ 'idempotency-key': key });

let app: TestApp;

/** Nothing sweeps here, so a hold that is due is one that nobody has written down. */
beforeAll(async () => {
  app = await startApp({}, { sweeper: { pollMs: NEVER_MS } });
});

afterAll(() => app.close());

const statusAndText = ({ status, text }: Response) => ({ status, text });

/** Waits until a hold with this expiry has expired. */
const until = async (expiresAt: string | undefined) =>
  sleep(Math.max(0, Date.parse(expiresAt ?? '') - Date.now()) + 20);

describe('POST /accounts/{accountId}/holds', () => {
  it('reserves money, and answers with the hold and what is available', async () => {
    const accountId = await openAccount(app, '100.00');
    const response = await placeHold(app, accountId, {
      ...{ amount: 40, expiresInSeconds: 3600, description: 'Room 12', reference: 'r-1' },
      ...{ metadata: { nights: 2.0 }, effectiveDate: '2026-05-01' },
    });
    const { id, expiresAt } = holdIn(response);
    const [, createdAt] = /"createdAt":"([^"]+)"/.exec(response.text) ?? [];
    expect(Date.parse(expiresAt ?? '') - Date.parse(createdAt ?? '')).toBe(3_600_000);
    const figures = '"held":40.00,"available":60.00,"newVersion":"3",';
    const details =
      '"description":"Room 12","reference":"r-1","metadata":{"nights":2},"effectiveDate":"2026-05-01"}';
    const hold =
      `{"id":"${id}","accountId":${accountId},"amount":40.00,"remaining":40.00,"captured":0.00,` +
      `"status":"active","createdAt":"${createdAt}","expiresAt":"${expiresAt}",`;
    expect(statusAndText(response)).toEqual({ status: 201, text: hold + figures + details });
    expect(response.headers).toMatchObject({ location: `/holds/${id}`, etag: '"3"' });
    expect((await app.http.get(`/holds/${id}`)).text).toBe(hold + details);
    expect(await figuresOf(app, accountId)).toBe('balance:100.00,version:3,held:40.00,available:60.00');
    expect(await balanceOf(app, accountId)).toBe('{"balance":100.00,"version":3}');
  });

  it('has amounts as text where the client asks for it', async () => {
    const accountId = await openAccount(app, '9999999999999999.99');
    const response = await placeHold(app, accountId, { amount: '9999999999999999.98' }, TEXT_MONEY);
    expect(response.text).toContain('"amount":"9999999999999999.98","remaining":"9999999999999999.98"');
    expect(response.text).toContain('"held":"9999999999999999.98","available":"0.01"');
    expect(response.headers.etag).toBe('"3-string"');
  });

  it('leaves only what is available to withdrawals and to other holds', async () => {
    const accountId = await openAccount(app, '100.00');
    await placed(app, accountId, '60.00');
    const refused = { status: 422, text: '{"error":"Insufficient Balance"}' };
    expect(await post(app, accountId, withdrawal('40.01'))).toMatchObject(refused);
    expect(await placeHold(app, accountId, { amount: '40.01' })).toMatchObject(refused);
    expect((await post(app, accountId, withdrawal('39.99'))).status).toBe(201);
    expect((await placeHold(app, accountId, { amount: '0.01' })).status).toBe(201);
    expect(await post(app, accountId, withdrawal('0.01'))).toMatchObject(refused);
    expect(await figuresOf(app, accountId)).toBe('balance:60.01,version:5,held:60.01,available:0.00');
  });

  it.each([
    ['amount', { amount: 0 }],
    ['amount', {}],
    ['expiresAt', { amount: 1, expiresAt: '2020-01-01' }],
    ['expiresAt', { amount: 1, expiresAt: 'tomorrow' }],
    ['expiresAt', { amount: 1, expiresAt: new Date(Date.now() + 367 * 86_400_000).toISOString() }],
    ['expiresInSeconds', { amount: 1, expiresInSeconds: 0 }],
    ['expiresInSeconds', { amount: 1, expiresInSeconds: 367 * 86_400 }],
    [
      'expiresInSeconds',
      { amount: 1, expiresInSeconds: 60, expiresAt: new Date(Date.now() + 60_000).toISOString() },
    ],
    ['expires', { amount: 1, expires: 60 }],
    ['description', { amount: 1, description: '' }],
  ])('rejects a wrong %s', async (field, body) => {
    const accountId = await openAccount(app, '10.00');
    const response = await placeHold(app, accountId, body);
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual([field]);
    expect(await figuresOf(app, accountId)).toBe('balance:10.00,version:2,held:0.00,available:10.00');
  });

  it('depends on the version, by expectedVersion and If-Match', async () => {
    const accountId = await openAccount(app, '10.00');
    const wrong = '{"error":"Version mismatch","CurrentVersion":2}';
    const body = { amount: 1, expectedVersion: 1 };
    expect(statusAndText(await placeHold(app, accountId, body))).toEqual({ status: 409, text: wrong });
    const unmatched = await placeHold(app, accountId, { amount: 1 }, { 'if-match': '"1"' });
    expect(statusAndText(unmatched)).toEqual({ status: 412, text: wrong });
    const right = await placeHold(app, accountId, { ...body, expectedVersion: '2' }, { 'if-match': '"2.0"' });
    expect(right.status).toBe(201);
  });

  it('rehearses with dryRun, and uses no key', async () => {
    const accountId = await openAccount(app, '10.00');
    const dry = await placeHold(app, accountId, { amount: 4 }, withKey('k'), '?dryRun=true');
    expect(statusAndText(dry)).toEqual({
      status: 200,
      text:
        `{"accountId":${accountId},"amount":4.00,"remaining":4.00,"captured":0.00,"status":"active",` +
        '"held":4.00,"available":6.00,"newVersion":"3"}',
    });
    expect(dry.headers).not.toHaveProperty('location');
    expect(await figuresOf(app, accountId)).toBe('balance:10.00,version:2,held:0.00,available:10.00');
    expect((await placeHold(app, accountId, { amount: 4 }, withKey('k'))).status).toBe(201);
    const tooMuch = await placeHold(app, accountId, { amount: 7 }, {}, '?dryRun=true');
    expect(statusAndText(tooMuch)).toEqual({ status: 422, text: '{"error":"Insufficient Balance"}' });
  });

  it('takes a key: a repeat is the same hold, whatever has become of it', async () => {
    const accountId = await openAccount(app, '10.00');
    const body = { amount: 4, expiresInSeconds: 60, metadata: { a: [1] } };
    const { id } = holdIn(await placeHold(app, accountId, body, withKey('k')));
    const repeat = async () => {
      const again = await placeHold(app, accountId, body, withKey('k'));
      expect(statusAndText(again)).toEqual({
        status: 409,
        text: `{"error":"Duplicate hold","holdId":"${id}"}`,
      });
      expect(again.headers.location).toBe(`/holds/${id}`);
    };
    await repeat();
    await voidHold(app, id);
    await repeat();
    const other = await placeHold(app, accountId, { ...body, metadata: { a: [2] } }, withKey('k'));
    expect(statusAndText(other)).toEqual({
      status: 422,
      text: `{"error":"Idempotency key reused","holdId":"${id}"}`,
    });
  });

  it('knows a repeat even after its expiry', async () => {
    const accountId = await openAccount(app, '10.00');
    const expiresAt = new Date(Date.now() + 1_500).toISOString();
    const send = () => placeHold(app, accountId, { amount: 4, expiresAt }, withKey('k'));
    const { id } = holdIn(await send());
    await until(expiresAt);
    expect((await send()).text).toBe(`{"error":"Duplicate hold","holdId":"${id}"}`);
    const late = await placeHold(app, accountId, { amount: 4, expiresAt }, withKey('other'));
    expect([late.status, fieldsIn(late)]).toEqual([400, ['expiresAt']]);
  });

  it('places equal holds as often as they are asked for without a key', async () => {
    const accountId = await openAccount(app, '10.00');
    const ids = await Promise.all([1, 2, 3].map(() => placed(app, accountId, '2.00')));
    expect(new Set(ids).size).toBe(3);
    expect(await figuresOf(app, accountId)).toBe('balance:10.00,version:5,held:6.00,available:4.00');
  });

  it('answers 404 for an account that does not exist', async () => {
    expect(statusAndText(await placeHold(app, 999_999, { amount: 1 }))).toEqual({
      status: 404,
      text: '{"error":"Account not found"}',
    });
  });
});

describe('POST /holds/{holdId}/capture', () => {
  it('withdraws all of it without a body, as a release and a withdrawal', async () => {
    const accountId = await openAccount(app, '100.00');
    const holdId = await placed(app, accountId, '40.00');
    const response = await capture(app, holdId);
    const { id, timestamp } = receiptIn(response);
    expect(statusAndText(response)).toEqual({
      status: 201,
      text: `{"id":"${id}","type":"Withdraw","amount":40.00,"newBalance":60.00,"newVersion":"5","timestamp":"${timestamp}"}`,
    });
    expect(response.headers).toMatchObject({ location: `/transactions/${id}`, etag: '"5"' });
    expect(holdIn(await app.http.get(`/holds/${holdId}`))).toMatchObject({
      ...{ status: 'captured', remaining: 0, captured: 40 },
    });
    expect(await figuresOf(app, accountId)).toBe('balance:60.00,version:5,held:0.00,available:60.00');
    const { text } = await app.http.get(`/accounts/${accountId}/transactions`);
    expect((JSON.parse(text) as { data: { type: string }[] }).data.map(({ type }) => type)).toEqual([
      ...['Withdraw', 'Release', 'Hold', 'Deposit'],
    ]);
  });

  it('takes parts, several times, until one is final', async () => {
    const accountId = await openAccount(app, '100.00');
    const holdId = await placed(app, accountId, '50.00');
    const hold = async () => holdIn(await app.http.get(`/holds/${holdId}`));
    expect((await capture(app, holdId, { amount: 10, final: false })).status).toBe(201);
    expect(await hold()).toMatchObject({ status: 'active', remaining: 40, captured: 10 });
    expect((await capture(app, holdId, { amount: 5, final: false })).status).toBe(201);
    expect(await figuresOf(app, accountId)).toBe('balance:85.00,version:7,held:35.00,available:50.00');
    const exceeded = await capture(app, holdId, { amount: '35.01', final: false });
    expect(statusAndText(exceeded)).toEqual({ status: 422, text: '{"error":"Hold exceeded"}' });
    expect((await capture(app, holdId, { amount: 20 })).status).toBe(201);
    expect(await hold()).toMatchObject({ status: 'captured', remaining: 0, captured: 35 });
    expect(await figuresOf(app, accountId)).toBe('balance:65.00,version:9,held:0.00,available:65.00');
  });

  it('ends with the part that takes the rest, even if that is not called final', async () => {
    const accountId = await openAccount(app, '10.00');
    const holdId = await placed(app, accountId, '10.00');
    expect((await capture(app, holdId, { amount: 10, final: false })).status).toBe(201);
    const again = await capture(app, holdId, { amount: 1 });
    expect(statusAndText(again)).toEqual({
      status: 409,
      text: '{"error":"Hold not active","holdStatus":"captured"}',
    });
  });

  it('moves the money to another account', async () => {
    const [accountId, to] = [await openAccount(app, '100.00'), await openAccount(app, '1.00')];
    const holdId = await placed(app, accountId, '40.00');
    const response = await capture(app, holdId, { amount: 30, to, description: 'two nights' });
    expect(response.status).toBe(201);
    const transfer = JSON.parse(response.text) as { id: string; legs: object[]; description: string };
    expect(response.headers.location).toBe(`/transfers/${transfer.id}`);
    expect(transfer).toMatchObject({ description: 'two nights' });
    expect(transfer.legs).toMatchObject([
      { accountId, type: 'Withdraw', amount: 30, newBalance: 70, newVersion: '5' },
      { accountId: to, type: 'Deposit', amount: 30, newBalance: 31, newVersion: '3' },
    ]);
    expect((await app.http.get(`/transfers/${transfer.id}`)).text).toBe(response.text);
    expect(await figuresOf(app, accountId)).toBe('balance:70.00,version:5,held:0.00,available:70.00');
  });

  it('captures a hold once, of two requests at the same moment', async () => {
    for (let round = 0; round < 5; round++) {
      const accountId = await openAccount(app, '100.00');
      const holdId = await placed(app, accountId, '40.00');
      const answers = await Promise.all([capture(app, holdId), capture(app, holdId)]);
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
      expect(await figuresOf(app, accountId)).toBe('balance:60.00,version:5,held:0.00,available:60.00');
    }
  });

  it('rehearses with dryRun', async () => {
    const [accountId, to] = [await openAccount(app, '100.00'), await openAccount(app)];
    const holdId = await placed(app, accountId, '40.00');
    const dry = await capture(app, holdId, { amount: 30 }, withKey('k'), '?dryRun=true');
    expect(statusAndText(dry)).toEqual({
      status: 200,
      text: '{"type":"Withdraw","amount":30.00,"newBalance":70.00,"newVersion":"5"}',
    });
    const moved = await capture(app, holdId, { to }, {}, '?dryRun=true');
    expect(JSON.parse(moved.text)).toEqual({
      legs: [
        { accountId, type: 'Withdraw', amount: 40, newBalance: 60, newVersion: '5' },
        { accountId: to, type: 'Deposit', amount: 40, newBalance: 40, newVersion: '2' },
      ],
    });
    expect(await figuresOf(app, accountId)).toBe('balance:100.00,version:3,held:40.00,available:60.00');
    expect((await capture(app, holdId, { amount: 30 }, withKey('k'))).status).toBe(201);
  });

  it('takes a key, also after the hold has ended', async () => {
    const [accountId, to] = [await openAccount(app, '100.00'), await openAccount(app)];
    const [one, other] = [await placed(app, accountId, '10.00'), await placed(app, accountId, '10.00')];
    const { id } = receiptIn(await capture(app, one, { amount: 4 }, withKey('a')));
    const again = await capture(app, one, { amount: 4 }, withKey('a'));
    expect(statusAndText(again)).toEqual({
      ...{ status: 409, text: `{"error":"Duplicate transaction","transactionId":"${id}"}` },
    });
    expect(again.headers.location).toBe(`/transactions/${id}`);
    const transfer = JSON.parse((await capture(app, other, { to }, withKey('b'))).text) as { id: string };
    const moved = await capture(app, other, { to }, withKey('b'));
    expect(moved.text).toBe(`{"error":"Duplicate transfer","transferId":"${transfer.id}"}`);
    expect((await capture(app, other, { to }, withKey('a'))).status).toBe(422);
  });

  it.each([
    ['hold0', 'holdId', {}],
    ['txn1', 'holdId', {}],
    ['1', 'holdId', {}],
    ['hold1', 'amount', { amount: 0 }],
    ['hold1', 'final', { final: 'yes' }],
    ['hold1', 'to', { to: 0 }],
    ['hold1', 'expectedVersion', { expectedVersion: 1 }],
  ])('of %s is rejected for its %s', async (holdId, field, body) => {
    const response = await capture(app, holdId, body);
    expect([response.status, fieldsIn(response)]).toEqual([400, [field]]);
  });

  it('does not go to the account of the hold itself, nor to one that does not exist', async () => {
    const accountId = await openAccount(app, '10.00');
    const holdId = await placed(app, accountId, '10.00');
    const toItself = await capture(app, holdId, { to: accountId });
    expect([toItself.status, fieldsIn(toItself)]).toEqual([400, ['to']]);
    expect(statusAndText(await capture(app, holdId, { to: 999_999 }))).toEqual({
      status: 404,
      text: '{"error":"Account not found","accountId":999999}',
    });
  });

  it('answers 404 for a hold that does not exist, or is another transaction', async () => {
    const accountId = await openAccount(app, '10.00');
    const { id } = receiptIn(await post(app, accountId, deposit('1')));
    for (const holdId of ['hold999999', `hold${id.slice(3)}`]) {
      const notFound = { status: 404, text: '{"error":"Hold not found"}' };
      expect(statusAndText(await capture(app, holdId))).toEqual(notFound);
      expect(statusAndText(await voidHold(app, holdId))).toEqual(notFound);
      expect(statusAndText(await app.http.get(`/holds/${holdId}`))).toEqual(notFound);
    }
  });
});

describe('POST /holds/{holdId}/void', () => {
  it('gives the money back', async () => {
    const accountId = await openAccount(app, '100.00');
    const holdId = await placed(app, accountId, '40.00', { description: 'Room 12' });
    await capture(app, holdId, { amount: 15, final: false });
    const dry = await voidHold(app, holdId, undefined, {}, '?dryRun=true');
    const response = await voidHold(app, holdId);
    expect(response.status).toBe(200);
    expect(response.headers.etag).toBe('"6"');
    expect(holdIn(response)).toMatchObject({
      ...{ id: holdId, status: 'voided', amount: 40, remaining: 0, captured: 15, description: 'Room 12' },
      ...{ held: 0, available: 85, newVersion: '6' },
    });
    expect(statusAndText(dry)).toEqual({ status: 200, text: response.text });
    expect(await figuresOf(app, accountId)).toBe('balance:85.00,version:6,held:0.00,available:85.00');
    const ended = { status: 409, text: '{"error":"Hold not active","holdStatus":"voided"}' };
    expect(statusAndText(await voidHold(app, holdId))).toEqual(ended);
    expect(statusAndText(await capture(app, holdId))).toEqual(ended);
  });

  it('takes a key', async () => {
    const accountId = await openAccount(app, '10.00');
    const holdId = await placed(app, accountId, '4.00');
    expect((await voidHold(app, holdId, {}, withKey('v'))).status).toBe(200);
    const again = await voidHold(app, holdId, {}, withKey('v'));
    expect(again.text).toMatch(/^{"error":"Duplicate transaction","transactionId":"txn\d+"}$/);
    expect((await app.http.get(String(again.headers.location))).text).toContain('"type":"Release"');
  });

  it('does not follow a capture', async () => {
    const accountId = await openAccount(app, '10.00');
    const holdId = await placed(app, accountId, '4.00');
    await capture(app, holdId);
    expect(statusAndText(await voidHold(app, holdId))).toEqual({
      status: 409,
      text: '{"error":"Hold not active","holdStatus":"captured"}',
    });
  });
});

describe('the expiry of a hold', () => {
  it('is decided by the time, though nobody has written it down', async () => {
    const accountId = await openAccount(app, '10.00');
    const response = await placeHold(app, accountId, { amount: 4, expiresInSeconds: 1 });
    const { id, expiresAt } = holdIn(response);
    await until(expiresAt);
    const ended = { status: 409, text: '{"error":"Hold not active","holdStatus":"expired"}' };
    expect(statusAndText(await capture(app, id))).toEqual(ended);
    expect(statusAndText(await voidHold(app, id))).toEqual(ended);
    expect(holdIn(await app.http.get(`/holds/${id}`))).toMatchObject({ status: 'expired', remaining: 0 });
    const listed = await app.http.get(`/accounts/${accountId}/holds?status=expired`);
    expect(listed.text).toContain(`"id":"${id}"`);
    expect((await app.http.get(`/accounts/${accountId}/holds?status=active`)).text).toContain('"data":[]');
    expect(await figuresOf(app, accountId)).toBe('balance:10.00,version:3,held:4.00,available:6.00');
  });

  it('comes first when a withdrawal or a hold needs the money', async () => {
    const accountId = await openAccount(app, '10.00');
    const [one, other] = [
      await placed(app, accountId, '4.00', { expiresInSeconds: 60 }),
      await placed(app, accountId, '3.00'),
    ];
    expect((await post(app, accountId, withdrawal('5'))).status).toBe(422);
    await expireIn(app, one);
    const posted = await post(app, accountId, withdrawal('5'));
    expect(posted.text).toContain('"newBalance":5.00,"newVersion":"6"');
    expect(await figuresOf(app, accountId)).toBe('balance:5.00,version:6,held:3.00,available:2.00');
    await expireIn(app, other);
    expect(holdIn(await placeHold(app, accountId, { amount: 5 }))).toMatchObject({
      newVersion: '8',
      held: 5,
    });
  });
});

describe('the sweeper', () => {
  it('ends expired holds without any traffic, on one of two instances', async () => {
    const instances = await Promise.all(
      [1, 2].map(() => startInstance(app.databaseUrl, {}, { sweeper: { pollMs: 20 } })),
    );
    try {
      const accounts = await Promise.all([1, 2, 3].map(() => openAccount(app, '10.00')));
      const holds = await Promise.all(
        accounts.flatMap((accountId) =>
          [1, 2].map(() => placed(app, accountId, '2.00', { expiresInSeconds: 1 })),
        ),
      );
      const lasting = await Promise.all(
        accounts.map((accountId) => placed(app, accountId, '1.00', { expiresInSeconds: 60 })),
      );
      await eventually(async () => {
        for (const accountId of accounts)
          expect(await figuresOf(app, accountId)).toBe('balance:10.00,version:7,held:1.00,available:9.00');
      });
      for (const id of holds)
        expect(holdIn(await app.http.get(`/holds/${id}`))).toMatchObject({ status: 'expired', remaining: 0 });
      for (const id of lasting)
        expect(holdIn(await app.http.get(`/holds/${id}`))).toMatchObject({ status: 'active' });
      const counts = await Promise.all(instances.map(async ({ http }) => (await http.get('/metrics')).text));
      const expired = counts.map((text) =>
        Number(/bank_sweeper_expired_holds_total{shard="0"} (\d+)/.exec(text)?.[1] ?? 0),
      );
      // Those that the tests above left behind are among them.
      expect((expired[0] ?? 0) + (expired[1] ?? 0)).toBeGreaterThanOrEqual(6);
    } finally {
      await Promise.all(instances.map((instance) => instance.close()));
    }
  });

  it('leaves the work to the holder of the lease, until that runs out', async () => {
    const accountId = await openAccount(app, '10.00');
    const leaseAnother = (seconds: number) =>
      query(
        app.databaseUrl,
        `UPDATE bank.shard_identity
         SET sweeper_id = gen_random_uuid(), sweeper_leased_until = clock_timestamp() + $1 * interval '1 s'`,
        [seconds],
      );
    await leaseAnother(3_600);
    const instance = await startInstance(app.databaseUrl, {}, { sweeper: { pollMs: 20 } });
    try {
      await expireIn(app, await placed(app, accountId, '4.00', { expiresInSeconds: 60 }));
      await sleep(300);
      expect(await figuresOf(app, accountId)).toBe('balance:10.00,version:3,held:4.00,available:6.00');
      await leaseAnother(0);
      await eventually(async () =>
        expect(await figuresOf(app, accountId)).toBe('balance:10.00,version:4,held:0.00,available:10.00'),
      );
    } finally {
      await instance.close();
    }
  });

  it('and a capture at the moment of expiry: exactly one of the two takes effect', async () => {
    const instance = await startInstance(app.databaseUrl, {}, { sweeper: { pollMs: 1 } });
    try {
      const race = async (afterMs: number) => {
        const accountId = await openAccount(app, '10.00');
        const id = await placed(app, accountId, '4.00', { expiresInSeconds: 60 });
        await expireIn(app, id, afterMs);
        const { status } = await capture(app, id);
        await eventually(async () => expect(await figuresOf(app, accountId)).toContain('held:0.00'));
        expect([status, await figuresOf(app, accountId)]).toEqual(
          status === 201
            ? [201, 'balance:6.00,version:5,held:0.00,available:6.00']
            : [409, 'balance:10.00,version:4,held:0.00,available:10.00'],
        );
        return status;
      };
      // From at once to 17 s: however slow the machine is, some of them end while the capture is under way.
      const statuses = await Promise.all(Array.from({ length: 30 }, (_, n) => race(1.4 ** n - 1)));
      expect(new Set(statuses)).toEqual(new Set([201, 409]));
    } finally {
      await instance.close();
    }
  });

  it('goes on after the database has refused it', async () => {
    const accountId = await openAccount(app, '10.00');
    await query(
      app.databaseUrl,
      `CREATE FUNCTION bank.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no lease'; END $$`,
    );
    await query(
      app.databaseUrl,
      `CREATE TRIGGER refuse BEFORE UPDATE OF sweeper_id ON bank.shard_identity FOR EACH ROW EXECUTE FUNCTION bank.refuse()`,
    );
    const instance = await startInstance(app.databaseUrl, {}, { sweeper: { pollMs: 20 } });
    try {
      await expireIn(app, await placed(app, accountId, '4.00', { expiresInSeconds: 60 }));
      await eventually(async () =>
        expect((await instance.http.get('/metrics')).text).toMatch(
          /bank_sweeper_failures_total{shard="0"} [1-9]/,
        ),
      );
      expect(await figuresOf(app, accountId)).toContain('held:4.00');
      await query(app.databaseUrl, 'DROP TRIGGER refuse ON bank.shard_identity');
      await eventually(async () => expect(await figuresOf(app, accountId)).toContain('held:0.00'));
    } finally {
      await instance.close();
    }
  });
});

describe('GET /accounts/{accountId}/holds', () => {
  interface Page {
    readonly data: readonly { readonly id: string; readonly status: string }[];
    readonly nextCursor: string | null;
  }
  const page = async (path: string) => JSON.parse((await app.http.get(path).expect(200)).text) as Page;

  it('has the newest first, page by page, with a status or without', async () => {
    const accountId = await openAccount(app, '100.00');
    const ids: string[] = [];
    for (let n = 0; n < 5; n++) ids.unshift(await placed(app, accountId, '1.00'));
    const [newest = '', , third = ''] = ids;
    await voidHold(app, newest);
    await capture(app, third);
    const all = `/accounts/${accountId}/holds`;
    const walk = async (path: string) => {
      const found: string[] = [];
      let next: string | null = '';
      while (next !== null) {
        const { data, nextCursor } = await page(`${path}&limit=2${next && `&cursor=${next}`}`);
        found.push(...data.map(({ id }) => id));
        next = nextCursor;
      }
      return found;
    };
    expect(await walk(`${all}?`)).toEqual(ids);
    expect(await walk(`${all}?status=active`)).toEqual(ids.filter((id) => id !== newest && id !== third));
    expect(await walk(`${all}?status=VOIDED`)).toEqual([newest]);
    expect(await walk(`${all}?status=captured`)).toEqual([third]);
    expect((await page(all)).data.map(({ status }) => status)).toEqual([
      ...['voided', 'active', 'captured', 'active', 'active'],
    ]);
    const text = await app.http.get(all).set(TEXT_MONEY);
    const { text: numbers } = await app.http.get(all);
    expect(text.text).toBe(moneyAsText(numbers).replaceAll(/"(remaining|captured)":([\d.]+)/g, '"$1":"$2"'));
  });

  it('keeps its status in the cursor', async () => {
    const accountId = await openAccount(app, '100.00');
    for (let n = 0; n < 3; n++) await placed(app, accountId, '1.00');
    const path = `/accounts/${accountId}/holds?limit=1`;
    const { nextCursor } = await page(`${path}&status=active`);
    expect((await page(`${path}&cursor=${nextCursor}`)).data).toHaveLength(1);
    for (const other of [
      `${path}&status=voided&cursor=${nextCursor}`,
      `/accounts/${accountId + 1}/holds?cursor=${nextCursor}`,
    ]) {
      const refused = await app.http.get(other);
      expect([refused.status, fieldsIn(refused)]).toEqual([400, ['cursor']]);
    }
  });

  it('is empty for an account without holds, and 404 for none', async () => {
    const accountId = await openAccount(app);
    expect(await page(`/accounts/${accountId}/holds`)).toEqual({ data: [], nextCursor: null });
    expect((await app.http.get('/accounts/999999/holds')).text).toBe('{"error":"Account not found"}');
    const wrong = await app.http.get(`/accounts/${accountId}/holds?status=open`);
    expect([wrong.status, fieldsIn(wrong)]).toEqual([400, ['status']]);
  });
});

describe('holds of an owner', () => {
  let guarded: TestApp;
  let as: (owner: string | undefined) => Record<string, string>;
  let wallet: Wallet;
  const NOT_FOUND = { status: 404, text: '{"error":"Hold not found"}' };

  beforeAll(async () => {
    wallet = Wallet.of(app.databaseUrl);
    as = await wallet.senders(['ada', 'bob']);
    guarded = await startInstance(app.databaseUrl, { ...wallet.settings }, { sweeper: { pollMs: NEVER_MS } });
  });

  afterAll(() => guarded.close());

  const openFor = async (owner: string, openingDeposit?: number) => {
    const { text } = await app.http.post('/accounts').send({ owner, openingDeposit });
    return (JSON.parse(text) as { accountId: number }).accountId;
  };

  it('are unknown to others, whether or not the service has seen them before', async () => {
    const accountId = await openFor('ada', 10);
    const { id } = holdIn(await placeHold(guarded, accountId, { amount: 4 }, as('ada')));
    // Placed by another process, so that this one has to look for its account.
    const other = await placed(app, accountId, '2.00');
    for (const holdId of [id, other]) {
      expect(statusAndText(await capture(guarded, holdId, { amount: 1 }, as('bob')))).toEqual(NOT_FOUND);
      expect(statusAndText(await voidHold(guarded, holdId, {}, as('bob')))).toEqual(NOT_FOUND);
      expect(statusAndText(await guarded.http.get(`/holds/${holdId}`).set(as('bob')))).toEqual(NOT_FOUND);
    }
    const missing = { status: 404, text: '{"error":"Account not found"}' };
    expect(statusAndText(await placeHold(guarded, accountId, { amount: 1 }, as('bob')))).toEqual(missing);
    const list = (owner: string) => guarded.http.get(`/accounts/${accountId}/holds`).set(as(owner));
    expect(statusAndText(await list('bob'))).toEqual(missing);
    expect((await list('ada')).text).toContain(`"id":"${other}"`);
    expect(await figuresOf(app, accountId)).toBe('balance:10.00,version:4,held:6.00,available:4.00');
    expect((await capture(guarded, other, {}, as('ada'))).status).toBe(201);
    expect((await voidHold(guarded, id, {}, as(undefined))).status).toBe(200);
  });

  it('may be captured to a foreign account, of which nothing is told', async () => {
    const [mine, theirs] = [await openFor('ada', 10), await openFor('bob')];
    const { id } = holdIn(await placeHold(guarded, mine, { amount: 4 }, as('ada')));
    await change(app, theirs, { status: 'frozen' });
    const refused = await capture(guarded, id, { to: theirs }, as('ada'));
    expect(statusAndText(refused)).toEqual({
      ...{ status: 422, text: `{"error":"Counterparty refused","accountId":${theirs}}` },
    });
    await change(app, theirs, { status: 'open' });
    const captured = await capture(guarded, id, { to: theirs }, as('ada'));
    expect(captured.status).toBe(201);
    const { legs } = JSON.parse(captured.text) as { legs: object[] };
    expect(legs[0]).toMatchObject({ accountId: mine, newBalance: 6 });
    expect(Object.keys(legs[1] ?? {})).toEqual(['transactionId', 'accountId', 'type', 'amount']);
  });

  it('need scopes: of withdrawals, or of transfers where the money stays in the bank', async () => {
    const [accountId, to] = [await openFor('ada', 10), await openFor('ada')];
    const withdrawals = bearer(await wallet.key({ scopes: ['withdrawals:write'] }));
    const transfers = bearer(await wallet.key({ scopes: ['transfers:write'] }));
    const reading = bearer(await wallet.key({ scopes: ['transactions:read'] }));
    expect((await placeHold(guarded, accountId, { amount: 1 }, transfers)).status).toBe(403);
    const { id } = holdIn(await placeHold(guarded, accountId, { amount: 8 }, withdrawals));
    expect((await capture(guarded, id, { to }, withdrawals)).status).toBe(403);
    expect((await capture(guarded, id, {}, transfers)).status).toBe(403);
    expect((await voidHold(guarded, id, {}, transfers)).status).toBe(403);
    expect((await guarded.http.get(`/holds/${id}`).set(withdrawals)).status).toBe(403);
    expect((await guarded.http.get(`/holds/${id}`).set(reading)).status).toBe(200);
    expect((await capture(guarded, id, { to, amount: 1, final: false }, transfers)).status).toBe(201);
    expect((await capture(guarded, id, { amount: 1, final: false }, withdrawals)).status).toBe(201);
    expect((await voidHold(guarded, id, {}, withdrawals)).status).toBe(200);
  });

  it('and changes of accounts: status and limit are for those who manage, the rest for writers', async () => {
    const accountId = await openFor('ada', 10);
    const managing = bearer(await wallet.key({ scopes: ['accounts:manage'] }));
    const writing = bearer(await wallet.key({ scopes: ['accounts:write'], owner: 'ada' }));
    const status = async (body: object, key: Record<string, string>) =>
      (await change(guarded, accountId, body, key)).status;
    expect(await status({ status: 'frozen' }, writing)).toBe(403);
    expect(await status({ overdraftLimit: 1 }, writing)).toBe(403);
    expect(await status({ reference: 'a', status: 'open' }, writing)).toBe(403);
    expect(await status({ reference: 'a' }, managing)).toBe(403);
    expect(await status({ reference: 'a' }, writing)).toBe(200);
    expect(await status({ status: 'frozen', overdraftLimit: 1 }, managing)).toBe(200);
    const others = bearer(await wallet.key({ scopes: ['accounts:write'], owner: 'bob' }));
    expect(await status({ reference: 'a' }, others)).toBe(404);
    const near = await guarded.http.post('/accounts').set(others).send({ near: accountId });
    expect(statusAndText(near)).toEqual({
      ...{ status: 404, text: `{"error":"Account not found","accountId":${accountId}}` },
    });
    const events = await query<{ actor: string }>(
      app.databaseUrl,
      'SELECT actor FROM bank.account_events WHERE account_id = $1 ORDER BY revision',
      [accountId],
    );
    expect(events.map(({ actor }) => actor)).toEqual([
      expect.stringMatching(/^key:\d+$/),
      expect.stringMatching(/^key:\d+$/),
    ]);
  });
});
