import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import type { Response } from 'supertest';
import type { ShardAddress } from '../../src/config/shard-address.js';
import type { AccountChanges } from '../../src/domain/command.js';
import { parseMoney } from '../../src/domain/money.js';
import { Ledger } from '../../src/domain/ports.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { startInstance, type TestApp } from '../support/app.js';
import { openInBoth } from '../support/between-shards.js';
import { bearer } from '../support/credentials.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { eventually, fieldsIn, JSON_TYPE } from '../support/requests.js';
import { Wallet } from '../support/wallet.js';

let database: TestDatabase;
let app: TestApp;
let ledger: Ledger;
let as: (owner?: string) => Record<string, string>;
let asAdmin: Record<string, string>;
/** An account of each shard, beside which the others are opened. */
let near: number[];

beforeAll(async () => {
  database = await createEmptyTestDatabase('between-shards');
  const shards: ShardAddress[] = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  const wallet = new Wallet(shards);
  const senders = await wallet.senders(['ada', 'bob']);
  as = (owner) => senders(owner);
  asAdmin = bearer(await wallet.key({ scopes: ['admin'] }));
  app = await startInstance(shards, wallet.settings, { transfers: { pollMs: 50, dueAfterMs: 0 } });
  ledger = app.app.get(Ledger, { strict: false });
  near = await openInBoth(ledger);
});

afterAll(async () => {
  await app.close();
  await database.drop();
});

const cents = (amount: string) => parseMoney(amount, 2) ?? 0n;

async function open(shard: 0 | 1, amount = '0.00', owner?: string): Promise<number> {
  const openingDeposit = amount === '0.00' ? undefined : cents(amount);
  return (await ledger.openAccount({ openingDeposit, owner, near: near[shard] ?? 0 }, THE_SERVICE)).accountId;
}

const change = (accountId: number, changes: AccountChanges) =>
  ledger.execute({ type: 'change', accountId, changes });

const send = async (path: string, body: object, headers = as()): Promise<Response> =>
  app.http
    .post(path)
    .set({ 'content-type': JSON_TYPE, ...headers })
    .send(JSON.stringify(body));

const get = async (path: string, headers = as()): Promise<Response> =>
  app.http.get(path).set({ ...headers, 'cache-control': 'no-cache' });

const transfer = (body: object, headers?: Record<string, string>) => send('/transfers', body, headers);

const withKey = (key: string, headers = as()) => ({ ...headers, 'idempotency-key': key });

interface TransferAnswer {
  readonly id: string;
  readonly status: string;
  readonly failure?: string;
  readonly reverses?: string;
  readonly legs: readonly Record<string, unknown>[];
}
const transferIn = ({ text }: Pick<Response, 'text'>) => JSON.parse(text) as TransferAnswer;

/** Balance, what is held, and version. */
async function stateOf(accountId: number): Promise<[balance: number, held: number, version: number]> {
  const { balance, held, version } = JSON.parse((await get(`/accounts/${accountId}`)).text) as Record<
    string,
    number
  >;
  return [balance ?? NaN, held ?? NaN, version ?? NaN];
}

const pendingIn = (shard: 0 | 1) =>
  query(database.url, `SELECT transfer_id FROM bank_${shard}.transfers WHERE status = 'pending'`);

describe('a transfer between shards', () => {
  it('moves the money, and is the same for everybody who looks at it', async () => {
    const [from, to] = [await open(0, '100.00'), await open(1, '5.00')];
    const response = await transfer({ from, to, amount: 25.5, description: 'Rent', reference: 'r-1' });
    expect(response.status).toBe(201);
    const made = transferIn(response);
    expect(response.headers['location']).toBe(`/transfers/${made.id}`);
    expect(made).toMatchObject({
      status: 'completed',
      legs: [
        { accountId: from, type: 'Withdraw', amount: 25.5, newBalance: 74.5, newVersion: '5' },
        { accountId: to, type: 'Deposit', amount: 25.5, newBalance: 30.5, newVersion: '3' },
      ],
      description: 'Rent',
      reference: 'r-1',
    });
    expect(await stateOf(from)).toEqual([74.5, 0, 5]);
    expect(await stateOf(to)).toEqual([30.5, 0, 3]);
    expect((await get(`/transfers/${made.id}`)).text).toBe(response.text);
    for (const accountId of [from, to]) {
      const listed = await get(`/accounts/${accountId}/transfers`);
      expect(listed.text).toBe(`{"data":[${response.text}],"nextCursor":null}`);
    }
    for (const { transactionId } of made.legs) {
      const transaction = await get(`/transactions/${String(transactionId)}`);
      expect(JSON.parse(transaction.text)).toMatchObject({ transferId: made.id, description: 'Rent' });
    }
  });

  it('takes the form with two legs, and a version of the target', async () => {
    const [from, to] = [await open(0, '10.00'), await open(1)];
    const legs = (expectedVersion: number) => [
      { accountId: to, type: 'Deposit', amount: 1, expectedVersion },
      { accountId: from, type: 'Withdraw', amount: 1, expectedVersion: 2 },
    ];
    const refused = await transfer({ legs: legs(7) });
    expect([refused.status, refused.text]).toEqual([
      409,
      `{"error":"Version mismatch","CurrentVersion":1,"accountId":${to}}`,
    ]);
    expect(await stateOf(from)).toEqual([10, 0, 2]);
    expect((await transfer({ legs: legs(1) })).status).toBe(201);
    expect(await stateOf(from)).toEqual([9, 0, 5]);
  });

  it('refuses before a row is written, and keeps the key free', async () => {
    const [from, to] = [await open(0, '10.00'), await open(1)];
    const frozen = await open(1, '1.00');
    await change(frozen, { status: 'frozen' });
    const full = await open(1, '9999999999999999.99');
    const yen = (await ledger.openAccount({ near: to, currency: { code: 'JPY', decimals: 0 } }, THE_SERVICE))
      .accountId;
    const absent = 999_999 * 2 + to;
    const three = [
      { accountId: from, type: 'Withdraw', amount: 2 },
      { accountId: to, type: 'Deposit', amount: 1 },
      { accountId: frozen, type: 'Deposit', amount: 1 },
    ];
    const refusals: readonly (readonly [object, number, string])[] = [
      [{ from, to, amount: 11 }, 422, `{"error":"Insufficient Balance","accountId":${from}}`],
      [{ from, to: full, amount: 1 }, 422, `{"error":"Balance limit exceeded","accountId":${full}}`],
      [{ from, to: frozen, amount: 1 }, 422, `{"error":"Account frozen","accountId":${frozen}}`],
      [{ from: frozen, to: from, amount: 1 }, 422, `{"error":"Account frozen","accountId":${frozen}}`],
      [{ from, to: absent, amount: 1 }, 404, `{"error":"Account not found","accountId":${absent}}`],
      [{ from: absent, to: from, amount: 1 }, 404, `{"error":"Account not found","accountId":${absent}}`],
      [{ from, to: yen, amount: 1 }, 422, '{"error":"Currency mismatch"}'],
      [{ legs: three }, 422, '{"error":"Different shards"}'],
      [
        { from, to, amount: 1, expectedVersion: 3 },
        409,
        `{"error":"Version mismatch","CurrentVersion":2,"accountId":${from}}`,
      ],
    ];
    for (const [body, status, text] of refusals) {
      const response = await transfer(body, withKey('free'));
      expect([response.status, response.text]).toEqual([status, text]);
    }
    const decimals = await transfer({ from, to, amount: 1.005 }, withKey('free'));
    expect([decimals.status, fieldsIn(decimals)]).toEqual([400, ['amount']]);
    expect(await stateOf(from)).toEqual([10, 0, 2]);
    expect((await transfer({ from, to, amount: 10 }, withKey('free'))).status).toBe(201);
  });

  it('is made once with one key, however many send it at the same moment', async () => {
    const [from, to] = [await open(0, '100.00'), await open(1)];
    const body = { from, to, amount: 5 };
    const answers = await Promise.all(Array.from({ length: 10 }, () => transfer(body, withKey('once'))));
    const made = answers.filter(({ status }) => status === 201);
    expect(made).toHaveLength(1);
    const { id } = transferIn(made[0] as Response);
    for (const answer of answers.filter(({ status }) => status !== 201)) {
      // One that came before the first was decided is told that it is pending.
      expect([202, 409]).toContain(answer.status);
      expect(answer.headers['location']).toBe(`/transfers/${id}`);
    }
    const again = await transfer(body, withKey('once'));
    expect([again.status, again.text]).toEqual([409, `{"error":"Duplicate transfer","transferId":"${id}"}`]);
    const other = await transfer({ ...body, amount: 6 }, withKey('once'));
    expect([other.status, other.headers['x-error-code']]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED']);
    // Nor is anything else posted with it.
    const deposit = await send(
      `/accounts/${from}/transactions`,
      { type: 'Deposit', amount: 5 },
      withKey('once'),
    );
    expect(deposit.headers['x-error-code']).toBe('IDEMPOTENCY_KEY_REUSED');
    expect(await stateOf(from)).toEqual([95, 0, 5]);
    expect(await stateOf(to)).toEqual([5, 0, 2]);
  });

  it('is rehearsed without a trace', async () => {
    const [from, to] = [await open(0, '10.00'), await open(1, '1.00')];
    const rehearsed = await send('/transfers?dryRun=true', { from, to, amount: 4 }, withKey('dry'));
    expect(rehearsed.status).toBe(200);
    expect(JSON.parse(rehearsed.text)).toEqual({
      legs: [
        { accountId: from, type: 'Withdraw', amount: 4, newBalance: 6, newVersion: '5' },
        { accountId: to, type: 'Deposit', amount: 4, newBalance: 5, newVersion: '3' },
      ],
    });
    expect(await stateOf(from)).toEqual([10, 0, 2]);
    const made = await transfer({ from, to, amount: 4 }, withKey('dry'));
    expect(made.status).toBe(201);
    expect(transferIn(made).legs).toMatchObject([{ newBalance: 6, newVersion: '5' }, { newBalance: 5 }]);
    const refused = await send('/transfers?dryRun=true', { from, to, amount: 40 });
    expect(refused.headers['x-error-code']).toBe('INSUFFICIENT_BALANCE');
  });

  it('tells nobody about accounts that are not theirs', async () => {
    const [ada, bob] = [await open(0, '10.00', 'ada'), await open(1, '3.00', 'bob')];
    const response = await transfer({ from: ada, to: bob, amount: 2 }, as('ada'));
    expect(response.status).toBe(201);
    const { id, legs } = transferIn(response);
    expect(legs[0]).toHaveProperty('newBalance', 8);
    expect(legs[1]).not.toHaveProperty('newBalance');
    expect(legs[1]).not.toHaveProperty('newVersion');
    expect((await get(`/transfers/${id}`, as('ada'))).text).toBe(response.text);
    const seenByBob = transferIn(await get(`/transfers/${id}`, as('bob')));
    expect(seenByBob.legs[0]).not.toHaveProperty('newBalance');
    expect(seenByBob.legs[1]).toHaveProperty('newBalance', 5);
    const stranger = await transfer({ from: bob, to: ada, amount: 1 }, as('ada'));
    expect([stranger.status, stranger.text]).toEqual([
      404,
      `{"error":"Account not found","accountId":${bob}}`,
    ]);
    await change(bob, { status: 'frozen' });
    const refused = await transfer({ from: ada, to: bob, amount: 1 }, as('ada'));
    expect([refused.status, refused.text]).toEqual([
      422,
      `{"error":"Counterparty refused","accountId":${bob}}`,
    ]);
    const others = [await open(0, '1.00'), await open(1)] as const;
    const hidden = transferIn(await transfer({ from: others[0], to: others[1], amount: 1 }));
    const denied = await get(`/transfers/${hidden.id}`, as('ada'));
    const unknown = await get('/transfers/tr999999', as('ada'));
    expect([denied.status, denied.text]).toEqual([unknown.status, unknown.text]);
  });

  it('is an item of a batch like any other', async () => {
    const [from, to] = [await open(0, '10.00'), await open(1)];
    const items = [
      { type: 'Transfer', from, to, amount: 1 },
      { type: 'Transfer', from, to, amount: 100 },
      { type: 'Deposit', accountId: to, amount: 2 },
    ];
    const response = await send('/transactions/batch', items);
    const results = JSON.parse(response.text) as { status: number; code?: string }[];
    expect(results.map(({ status, code }) => code ?? status)).toEqual([201, 'INSUFFICIENT_BALANCE', 201]);
    const atomic = await send('/transactions/batch?atomic=true', items.slice(0, 1));
    expect(atomic.headers['x-error-code']).toBe('DIFFERENT_SHARDS');
    expect(await stateOf(from)).toEqual([9, 0, 5]);
    expect(await stateOf(to)).toEqual([3, 0, 3]);
  });

  it('leaves the money where it was when the target refuses in the end', async () => {
    const [from, to] = [await open(0, '10.00'), await open(1)];
    const body = { from, to, amount: 4 };
    // The target is frozen between the look at it and the decision.
    const answer = await whileLocked(to, async (client) => {
      const sent = transfer(body, withKey('failed'));
      void sent.catch(() => undefined);
      await eventually(async () => expect(await stateOf(from)).toEqual([10, 4, 3]));
      const repeat = await transfer(body, withKey('failed'));
      expect([repeat.status, transferIn(repeat)]).toMatchObject([202, { status: 'pending' }]);
      expect((await get(repeat.headers['location'] ?? '')).text).toBe(repeat.text);
      const listed = JSON.parse((await get(`/accounts/${from}/transfers`)).text) as {
        data: TransferAnswer[];
      };
      expect(listed.data).toEqual([transferIn(repeat)]);
      await client.query(`UPDATE bank_1.accounts SET status = 'frozen' WHERE account_id = $1`, [to]);
      return { sent, id: transferIn(repeat).id };
    });
    const refused = await answer.sent;
    expect([refused.status, refused.text]).toEqual([422, `{"error":"Account frozen","accountId":${to}}`]);
    expect(refused.headers['location']).toBe(`/transfers/${answer.id}`);
    expect(await stateOf(from)).toEqual([10, 0, 4]);
    expect(await stateOf(to)).toEqual([0, 0, 1]);
    const failed = transferIn(await get(`/transfers/${answer.id}`));
    expect(failed).toMatchObject({ status: 'failed', failure: 'ACCOUNT_FROZEN' });
    expect(failed.legs).toEqual([
      { transactionId: null, accountId: from, type: 'Withdraw', amount: 4 },
      { transactionId: null, accountId: to, type: 'Deposit', amount: 4 },
    ]);
    // Its key is spent: a repeat is refused like the first, whatever the account is now.
    const still = await transfer(body, withKey('failed'));
    expect([still.status, still.text]).toEqual([refused.status, refused.text]);
    expect((await transfer({ ...body, amount: 5 }, withKey('failed'))).headers['x-error-code']).toBe(
      'IDEMPOTENCY_KEY_REUSED',
    );
    await query(database.url, `UPDATE bank_1.accounts SET status = 'open' WHERE account_id = $1`, [to]);
    const again = await transfer(body, withKey('failed'));
    expect([again.status, again.text]).toEqual([refused.status, refused.text]);
    const reversal = await send(`/transfers/${answer.id}/reversal`, {});
    expect([reversal.status, reversal.headers['x-error-code']]).toEqual([409, 'TRANSFER_NOT_COMPLETED']);
  });
});

/** Runs work while an account's row is locked by another session, which is committed then. */
async function whileLocked<T>(accountId: number, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: database.url });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query(
      `SELECT FROM bank_${ledger.shardOf(accountId)}.accounts WHERE account_id = ${accountId} FOR UPDATE`,
    );
    return await work(client);
  } finally {
    await client.query('COMMIT');
    await client.end();
  }
}

describe('a capture for an account of another shard', () => {
  const place = async (accountId: number, amount: number, more: object = {}) => {
    const { id } = JSON.parse((await send(`/accounts/${accountId}/holds`, { amount, ...more })).text) as {
      id: string;
    };
    return id;
  };

  it('takes a part and keeps the rest, or ends the hold', async () => {
    const [from, to] = [await open(0, '100.00'), await open(1)];
    const hold = await place(from, 50);
    const part = await send(`/holds/${hold}/capture`, { amount: 20, final: false, to }, withKey('part'));
    expect(part.status).toBe(201);
    expect(transferIn(part)).toMatchObject({
      status: 'completed',
      legs: [
        { accountId: from, amount: 20, newBalance: 80, newVersion: '5' },
        { accountId: to, amount: 20, newBalance: 20, newVersion: '2' },
      ],
    });
    expect(JSON.parse((await get(`/holds/${hold}`)).text)).toMatchObject({
      ...{ remaining: 30, captured: 20, status: 'active' },
    });
    const again = await send(`/holds/${hold}/capture`, { amount: 20, final: false, to }, withKey('part'));
    expect([again.status, again.headers['location']]).toEqual([409, `/transfers/${transferIn(part).id}`]);
    const rest = await send(`/holds/${hold}/capture`, { amount: 10, to, description: 'Last' });
    expect(rest.status).toBe(201);
    expect(transferIn(rest)).toMatchObject({ description: 'Last' });
    expect(JSON.parse((await get(`/holds/${hold}`)).text)).toMatchObject({
      ...{ remaining: 0, captured: 30, status: 'captured' },
    });
    expect(await stateOf(from)).toEqual([70, 0, 7]);
    expect(await stateOf(to)).toEqual([30, 0, 3]);
    const listed = JSON.parse((await get(`/accounts/${from}/transfers`)).text) as { data: TransferAnswer[] };
    expect(listed.data.map(({ id }) => id)).toEqual([transferIn(rest).id, transferIn(part).id]);
  });

  it('is rehearsed without a trace', async () => {
    const [from, to] = [await open(0, '100.00'), await open(1)];
    const hold = await place(from, 50);
    const rehearsed = await send(`/holds/${hold}/capture?dryRun=true`, { amount: 20, to });
    expect(rehearsed.status).toBe(200);
    expect(JSON.parse(rehearsed.text)).toMatchObject({
      legs: [
        { accountId: from, newBalance: 80, newVersion: '5' },
        { accountId: to, newBalance: 20, newVersion: '2' },
      ],
    });
    expect(JSON.parse((await get(`/holds/${hold}`)).text)).not.toHaveProperty('capturing');
  });

  it('lets the hold wait while it is under way', async () => {
    const [from, to] = [await open(0, '100.00'), await open(1)];
    const hold = await place(from, 50, { expiresInSeconds: 2 });
    const { sent } = await whileLocked(to, async () => {
      const answer = send(`/holds/${hold}/capture`, { amount: 20, final: false, to });
      void answer.catch(() => undefined);
      await eventually(async () =>
        expect(JSON.parse((await get(`/holds/${hold}`)).text)).toMatchObject({ capturing: 20 }),
      );
      for (const [path, body] of [
        ['void', {}],
        ['capture', {}],
        ['capture', { to }],
      ] as const) {
        const refused = await send(`/holds/${hold}/${path}`, body);
        expect([refused.status, refused.headers['x-error-code']]).toEqual([409, 'HOLD_BEING_CAPTURED']);
      }
      const exceeding = await send(`/holds/${hold}/capture`, { amount: 31, final: false });
      expect(exceeding.headers['x-error-code']).toBe('HOLD_EXCEEDED');
      // It expires meanwhile, and what is under way stays.
      await eventually(async () =>
        expect(JSON.parse((await get(`/holds/${hold}`)).text)).toMatchObject({
          status: 'expired',
          remaining: 20,
        }),
      );
      expect(await stateOf(from)).toEqual([100, 50, 3]);
      return { sent: answer };
    });
    expect([201, 202]).toContain((await sent).status);
    await eventually(async () => expect(await stateOf(from)).toEqual([80, 0, 6]));
    expect(await stateOf(to)).toEqual([20, 0, 2]);
  });
});

describe('a reversal of a transfer between shards', () => {
  it('pays back from its target, in parts and never more than it was', async () => {
    const [from, to] = [await open(0, '100.00'), await open(1)];
    const made = transferIn(await transfer({ from, to, amount: 40 }));
    const reverse = (body: object, headers?: Record<string, string>) =>
      send(`/transfers/${made.id}/reversal`, body, headers);
    const part = await reverse({ amount: 15 }, withKey('back'));
    expect(part.status).toBe(201);
    expect(transferIn(part)).toMatchObject({
      ...{ status: 'completed', reverses: made.id },
      legs: [
        { accountId: to, type: 'Withdraw', newBalance: 25 },
        { accountId: from, type: 'Deposit', newBalance: 75 },
      ],
    });
    expect((await get(`/transfers/${transferIn(part).id}`)).text).toBe(part.text);
    expect((await reverse({ amount: 15 }, withKey('back'))).status).toBe(409);
    const exceeding = await reverse({ amount: 26 });
    expect(exceeding.headers['x-error-code']).toBe('REVERSAL_EXCEEDED');
    const both = await Promise.all([reverse({ amount: 25 }), reverse({ amount: 25 })]);
    expect(both.map(({ status }) => status).sort()).toEqual([201, 422]);
    expect((await reverse({})).headers['x-error-code']).toBe('REVERSAL_EXCEEDED');
    expect((await stateOf(from))[0]).toBe(100);
    expect((await stateOf(to))[0]).toBe(0);
    const twice = await send(`/transfers/${transferIn(part).id}/reversal`, {});
    expect(twice.headers['x-error-code']).toBe('NOT_REVERSIBLE');
    const leg = await send(`/transactions/${String(made.legs[1]?.['transactionId'])}/reversal`, {});
    expect([leg.status, leg.headers['x-error-code']]).toEqual([409, 'PART_OF_TRANSFER']);
  });

  it('is refused in an atomic batch, whole or in part', async () => {
    const [from, to] = [await open(0, '100.00'), await open(1, '1.00')];
    const made = transferIn(await transfer({ from, to, amount: 40 }));
    const reversal = { type: 'Reversal', transferId: made.id };
    for (const transactions of [[reversal], [{ type: 'Deposit', accountId: from, amount: 1 }, reversal]]) {
      const response = await send('/transactions/batch?atomic=true', transactions);
      expect([response.status, response.headers['x-error-code']]).toEqual([422, 'DIFFERENT_SHARDS']);
    }
    expect([await stateOf(from), await stateOf(to)]).toEqual([
      [60, 0, 5],
      [41, 0, 3],
    ]);
    const each = await send('/transactions/batch', [reversal]);
    expect(JSON.parse(each.text)).toMatchObject([{ status: 201, body: { status: 'completed' } }]);
    expect([(await stateOf(from))[0], (await stateOf(to))[0]]).toEqual([100, 1]);
  });

  it('gives its claim back when it fails', async () => {
    const [from, to] = [await open(0, '100.00'), await open(1)];
    const made = transferIn(await transfer({ from, to, amount: 40 }));
    await change(from, { status: 'frozen' });
    expect((await send(`/transfers/${made.id}/reversal`, {})).headers['x-error-code']).toBe('ACCOUNT_FROZEN');
    await change(from, { status: 'open' });
    expect((await send(`/transfers/${made.id}/reversal`, {})).status).toBe(201);
  });

  it('may be forced by operators when the money is gone', async () => {
    const [from, to] = [await open(0, '100.00'), await open(1)];
    const made = transferIn(await transfer({ from, to, amount: 40 }));
    await send(`/accounts/${to}/transactions`, { type: 'Withdraw', amount: 30 });
    const path = `/transfers/${made.id}/reversal`;
    expect((await send(path, {})).headers['x-error-code']).toBe('INSUFFICIENT_BALANCE');
    expect((await send(path, { force: true }, asAdmin)).status).toBe(201);
    expect((await stateOf(to))[0]).toBe(-30);
  });
});

it('leaves nothing pending', async () => {
  await eventually(async () => {
    expect([...(await pendingIn(0)), ...(await pendingIn(1))]).toEqual([]);
  });
});
