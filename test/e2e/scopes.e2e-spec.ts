import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Scope } from '../../src/access/principal.js';
import { startInstance, type TestApp } from '../support/app.js';
import { bearer } from '../support/credentials.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { WalletWithTokens } from '../support/wallet.js';
import { linesIn, NDJSON_TYPE, of, postBatch, resultsIn } from './batches.js';
import { deposit, JSON_TYPE, withdrawal } from '../support/requests.js';

type Sender = Record<string, string>;

let database: TestDatabase;
let wallet: WalletWithTokens;
let app: TestApp;
/** Of ada's. */
let accountId: number;
/** Of somebody else's, and of nobody's. */
let others: number[];

/** ada, who may withdraw, as a customer's app may. */
let customer: Sender;
/** A till: it may deposit, whosever account it is. */
let till: Sender;

beforeAll(async () => {
  database = await createTestDatabase('scopes');
  wallet = await WalletWithTokens.open(database.url);
  app = await startInstance(database.url, wallet.settings);
  const open = async (owner: string) => {
    const response = await post('/accounts', bearer(await wallet.token(owner)), { openingDeposit: '100.00' });
    return (JSON.parse(response.text) as { accountId: number }).accountId;
  };
  accountId = await open('ada');
  others = [await open('bob'), 9_000_001];
  customer = bearer(await wallet.provider.token('ada', ['transactions:write', 'accounts:write']));
  till = bearer(await wallet.key({ scopes: ['deposits:write'] }));
});

afterAll(async () => {
  await app.close();
  await wallet.close();
  await database.drop();
});

const post = (path: string, sender: Sender, body: string | object, on = app) =>
  on.http
    .post(path)
    .set({ 'content-type': JSON_TYPE, ...sender })
    .send(typeof body === 'string' ? body : JSON.stringify(body));

const postingTo = (id: number) => `/accounts/${id}/transactions`;
const BATCH = '/transactions/batch';
const ATOMIC = '/transactions/batch?atomic=true';
const FORBIDDEN = '{"error":"Forbidden"}';

const lacking = (scope: Scope) => `Bearer error="insufficient_scope", scope="${scope}"`;

async function balance(): Promise<string> {
  const reader = bearer(await wallet.key({ scopes: ['accounts:read'] }));
  return (await app.http.get(`/accounts/${accountId}`).set(reader)).text;
}

describe('a transaction needs the scope of its type', () => {
  it('a user’s own token can’t deposit money in any way', async () => {
    const before = await balance();
    for (const [path, body] of [
      [postingTo(accountId), deposit('1')],
      [postingTo(accountId), { 'moneyWithdraw/Deposit': 1, typeOfTransaction: 'credit' }],
      ['/accounts', { openingDeposit: 1 }],
      ['/accounts', { openingDeposit: '1', owner: 'ada' }],
    ] as const) {
      const { status, text, headers } = await post(path, customer, body);
      expect({ body, status, text }).toEqual({ body, status: 403, text: FORBIDDEN });
      expect(headers['www-authenticate']).toBe(lacking('deposits:write'));
    }
    expect(await balance()).toBe(before);
    expect((await post(postingTo(accountId), customer, withdrawal('1'))).status).toBe(201);
    expect((await post('/accounts', customer, {})).status).toBe(201);
  });

  it('a till can’t withdraw, and is told which scope could', async () => {
    const refused = await post(postingTo(accountId), till, withdrawal('1'));
    expect(refused.status).toBe(403);
    expect(refused.headers['www-authenticate']).toBe(lacking('withdrawals:write'));
    expect((await post(postingTo(accountId), till, deposit('1'))).status).toBe(201);
    const opened = await post('/accounts', till, { openingDeposit: 1 });
    expect(opened.headers['www-authenticate']).toBe(lacking('accounts:write'));
  });

  it('in a batch, each item is rejected by itself, as it would be alone', async () => {
    const items = [
      of(accountId, deposit('1')),
      of(accountId, withdrawal('1')),
      of(accountId, { amount: 'x' }),
    ];
    const answers = [
      await postBatch(app, items, { headers: customer }),
      await postBatch(app, items, { headers: till }),
    ];
    for (const { status, headers } of answers) {
      expect([status, headers['www-authenticate']]).toEqual([200, undefined]);
    }
    const results = answers.map((answer) =>
      resultsIn(answer).map(({ status, body }) => [status, body.error]),
    );
    expect(results).toEqual([
      [
        [403, 'Forbidden'],
        [201, undefined],
        [400, 'Invalid request'],
      ],
      [
        [201, undefined],
        [403, 'Forbidden'],
        [400, 'Invalid request'],
      ],
    ]);
    const lines = items.map((item) => JSON.stringify(item)).join('\n');
    const streamed = await postBatch(app, lines, { type: NDJSON_TYPE, headers: customer });
    expect(linesIn(streamed).map(({ status }) => status)).toEqual([403, 201, 400]);
  });

  it('a transfer, and a capture to an account, take transfers:write, alone and in a batch', async () => {
    const [bobs = 0] = others;
    const items = [
      { type: 'Transfer', from: accountId, to: bobs, amount: '1' },
      { type: 'Hold', accountId, amount: '1' },
      { type: 'Capture', holdId: 'hold900001', to: bobs },
      { type: 'Capture', holdId: 'hold900001' },
      { type: 'Void', holdId: 'hold900001' },
      { type: 'Reversal', transferId: 'tr900001' },
      { type: 'Reversal', transactionId: 'txn900001', force: true },
    ];
    const payer = bearer(await wallet.provider.token('ada', ['transfers:write']));
    const statuses = async (headers: Sender) =>
      resultsIn(await postBatch(app, items, { headers })).map(({ status }) => status);
    expect(await statuses(customer)).toEqual([403, 201, 403, 404, 404, 403, 403]);
    expect(await statuses(payer)).toEqual([201, 403, 404, 403, 403, 404, 403]);
    expect(await statuses(till)).toEqual([403, 403, 403, 403, 403, 403, 403]);
    const refused = await post('/transfers', customer, { from: accountId, to: bobs, amount: '1' });
    expect([refused.status, refused.headers['www-authenticate']]).toEqual([403, lacking('transfers:write')]);
  });

  it('accounts:manage counts for nothing with an owner', async () => {
    const owner = bearer(await wallet.provider.token('ada', ['accounts:manage', 'accounts:write']));
    const service = bearer(await wallet.key({ scopes: ['accounts:manage'] }));
    const freeze = (sender: Sender, status: string) =>
      app.http.patch(`/accounts/${accountId}`).set(sender).send({ status });
    const refused = await freeze(owner, 'frozen');
    expect([refused.status, refused.headers['www-authenticate']]).toEqual([403, lacking('accounts:manage')]);
    expect((await freeze(service, 'frozen')).status).toBe(200);
    expect((await post(postingTo(accountId), customer, withdrawal('1'))).status).toBe(422);
    expect((await freeze(service, 'open')).status).toBe(200);
  });

  it('in an atomic batch, one rejected item stops the others', async () => {
    const before = await balance();
    const items = [
      of(accountId, withdrawal('1')),
      of(accountId, deposit('1')),
      of(accountId, withdrawal('1')),
    ];
    const answer = await postBatch(app, items, { query: '?atomic=true', headers: customer });
    expect(answer.status).toBe(403);
    expect(answer.headers['www-authenticate']).toBe(lacking('deposits:write'));
    expect(resultsIn(answer)).toEqual([
      { status: 424, code: 'NOT_APPLIED', body: { error: 'Not applied' } },
      { status: 403, code: 'FORBIDDEN', body: { error: 'Forbidden' } },
      { status: 424, code: 'NOT_APPLIED', body: { error: 'Not applied' } },
    ]);
    expect(await balance()).toBe(before);
  });
});

describe('the checks come in this order', () => {
  it('any scope of the route; well-formed; the scope of the type; owner', async () => {
    const reader = bearer(await wallet.key({ scopes: ['accounts:read'] }));
    const malformed = { amount: 'x', type: 'Deposit' };
    for (const id of others) {
      const order = [
        await post(postingTo(id), {}, '{'),
        await post(postingTo(id), reader, '{'),
        await post(postingTo(id), customer, '{'),
        await post(postingTo(id), customer, malformed),
        await post(postingTo(id), { ...customer, 'if-match': 'x' }, deposit('1')),
        await post(postingTo(id), { ...customer, 'idempotency-key': 'a b' }, deposit('1')),
        await post(postingTo(id), customer, deposit('1')),
        await post(postingTo(id), customer, withdrawal('1')),
      ];
      expect(order.map(({ status }) => status)).toEqual([401, 403, 400, 400, 400, 400, 403, 404]);
      expect(order[1]?.headers['www-authenticate']).toBe(lacking('transactions:write'));
    }
    const opening = [
      await post('/accounts', reader, '{'),
      await post('/accounts', customer, { openingDeposit: 'x' }),
      await post('/accounts', customer, { openingDeposit: 1, owner: 'bob' }),
      await post('/accounts', customer, { openingDeposit: 1 }),
    ];
    expect(opening.map(({ status }) => status)).toEqual([403, 400, 400, 403]);
    const proof = async (query: string, id = accountId) =>
      (await app.http.get(`/accounts/${id}/proof${query}`).set(reader)).status;
    expect([await proof('?fromVersion=x'), await proof('?fromVersion=1', 9_000_001)]).toEqual([400, 403]);
    expect([await proof('', 9_000_001), await proof('')]).toEqual([404, 200]);
  });

  it('then the rate, which does not count what was rejected before; then the key', async () => {
    const limited = await startInstance(database.url, {
      ...wallet.settings,
      RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1',
      RATE_LIMIT_BURST: '2',
    });
    try {
      const send = async (path: string, body: object) => (await post(path, customer, body, limited)).status;
      const [bobs = 0] = others;
      const refused = [of(accountId, deposit('1')), of(bobs, withdrawal('1'))];
      for (let sent = 0; sent < 3; sent++) {
        expect(await send(postingTo(accountId), deposit('1'))).toBe(403);
        expect(await send(postingTo(bobs), withdrawal('1'))).toBe(404);
        expect(await send('/accounts', { openingDeposit: 1 })).toBe(403);
        expect(await send(ATOMIC, [...refused, ...refused])).toBe(403);
        expect(await send(BATCH, refused)).toBe(200);
      }
      const key = { 'idempotency-key': 'k' };
      const first = await post(postingTo(accountId), { ...customer, ...key }, withdrawal('1'), limited);
      expect([first.status, first.headers['ratelimit']]).toEqual([201, '"transactions";r=1;t=1']);
    } finally {
      await limited.close();
    }
    const retried = { ...customer, 'idempotency-key': 'k' };
    expect((await post(postingTo(accountId), retried, deposit('1'))).status).toBe(403);
    expect((await post(postingTo(accountId), retried, withdrawal('1'))).status).toBe(409);
  });
});

describe('what one scope reveals without another', () => {
  it('a sender that may only post learns the outcome, but reads nothing', async () => {
    const send = () => post(postingTo(accountId), { ...till, 'idempotency-key': 'till-1' }, deposit('1'));
    const { id } = JSON.parse((await send()).text) as { id: string };
    // Its own transaction, by the key that it has given it.
    expect(JSON.parse((await send()).text)).toEqual({ error: 'Duplicate transaction', transactionId: id });
    for (const path of [
      `/transactions/${id}`,
      `/accounts/${accountId}`,
      `/accounts/${accountId}/balance`,
      postingTo(accountId),
      `/accounts/${accountId}/proof`,
      '/accounts',
      '/metrics',
    ]) {
      for (const method of ['get', 'head'] as const) {
        expect({ path, status: (await app.http[method](path).set(till)).status }).toEqual({
          path,
          status: 403,
        });
      }
    }
  });

  it('the head of a chain needs no scope for transactions, its lines do', async () => {
    const reader = bearer(await wallet.key({ scopes: ['accounts:read'] }));
    const lines = `/accounts/${accountId}/proof?fromVersion=1`;
    const refused = await app.http.get(lines).set(reader);
    expect(refused.text).toBe(FORBIDDEN);
    expect(refused.headers['www-authenticate']).toBe(lacking('transactions:read'));
    const auditor = bearer(await wallet.key({ scopes: ['accounts:read', 'transactions:read'] }));
    expect((await app.http.get(lines).set(auditor)).text).toContain('credit:100.00:');
  });
});
