import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { archiveBank } from '../../src/admin/archive.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { startInstance, type TestApp } from '../support/app.js';
import { bearer } from '../support/credentials.js';
import {
  createEmptyTestDatabase,
  createTestDatabase,
  query,
  type TestDatabase,
} from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { Wallet, WalletWithTokens } from '../support/wallet.js';
import { pass } from '../support/clock.js';
import {
  accountBody,
  deposit,
  fieldsIn,
  JSON_TYPE,
  receiptIn,
  withdrawal,
  withoutTime,
} from '../support/requests.js';

/** Two shards, so that one batch uses both. */
let shards: ShardAddress[];
let database: TestDatabase;
let app: TestApp;
/** The headers of an owner, or of a service that sees all accounts. */
let as: (owner: string | undefined) => Record<string, string>;

/** Nobody would get this name today. */
const ODD_OWNER = 'Zoe\u0308 \u202e';
const OWNERS = [ODD_OWNER, 'ada', 'bob', 'eve', 'lea', 'max', 'kim', 'pat', 'old', 'new', 'newcomer'];

beforeAll(async () => {
  database = await createEmptyTestDatabase('ownership');
  shards = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  const wallet = new Wallet(shards);
  as = await wallet.senders(OWNERS);
  app = await startInstance(shards, wallet.settings);
});

afterAll(async () => {
  await app.close();
  await database.drop();
});

interface AccountBody {
  readonly accountId: number;
  readonly owner?: string;
}

async function open(owner: string | undefined, on = app): Promise<number> {
  const response = await on.http.post('/accounts').set(as(owner)).send({ openingDeposit: '100.00' });
  expect(response.status).toBe(201);
  return (JSON.parse(response.text) as AccountBody).accountId;
}

async function list(owner: string | undefined, query = '?limit=200') {
  const { text } = await app.http.get(`/accounts${query}`).set(as(owner)).expect(200);
  return JSON.parse(text) as { data: AccountBody[]; nextCursor: string | null };
}

/** A request, in which `{id}` stands for an account. */
interface Probe {
  readonly path: string;
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

const posting = (body: object, headers = {}): Probe => ({
  path: '/accounts/{id}/transactions',
  method: 'POST',
  headers: { 'content-type': JSON_TYPE, ...headers },
  body: JSON.stringify(body),
});
const batch = (items: string, query = '', type = JSON_TYPE): Probe => ({
  path: `/transactions/batch${query}`,
  method: 'POST',
  headers: { 'content-type': type },
  body: items,
});

/** The answer, byte by byte, except what differs between any two answers. */
async function answerTo(probe: Probe, id: number, owner: string | undefined, from = app): Promise<string> {
  const fill = (text: string) => text.replaceAll('{id}', String(id));
  const body = fill(probe.body ?? '');
  const headers = { host: 'bank', connection: 'close', ...as(owner), ...probe.headers };
  const client = await RawClient.open(from.url);
  client.send(
    `${probe.method ?? 'GET'} ${fill(probe.path)} HTTP/1.1\r\n` +
      Object.entries({ ...headers, 'content-length': Buffer.byteLength(body) })
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('') +
      `\r\n${body}`,
  );
  await client.closed;
  return client.received.replace(/^(date|x-request-id): .*\r\n/gim, '');
}

describe('an account of another owner', () => {
  const KEY = 'adas-own-key';
  /** As many as there is no account for. */
  const ABSENT = 1_000_001;
  let theirs: number;
  let mine: number;
  let theirTransaction: number;

  beforeAll(async () => {
    mine = await open('bob');
    theirs = await open('ada');
    const { id } = receiptIn(
      await app.http
        .post(`/accounts/${theirs}/transactions`)
        .set({ ...as('ada'), 'idempotency-key': KEY })
        .send(deposit('1.00')),
    );
    theirTransaction = Number(id.slice(3));
    // So that the cache has it, as it has an account that is in use.
    await app.http.get(`/accounts/${theirs}/balance`).set(as('ada')).expect(200);
  });

  const item = (posting: object, key?: string) =>
    JSON.stringify({ accountId: 0, ...posting, idempotencyKey: key }).replace('0', '{id}');
  // Refused by the ledger, so that it is answered the same each time.
  const own = () => JSON.stringify({ accountId: mine, ...withdrawal('9999.00') });

  const PROBES: Readonly<Record<string, Probe | (() => Probe)>> = {
    'the account': { path: '/accounts/{id}' },
    'the account, with the version that it has': {
      path: '/accounts/{id}',
      headers: { 'if-none-match': '"3"' },
    },
    'the account, with any version': { path: '/accounts/{id}', headers: { 'if-none-match': '*' } },
    'the balance': { path: '/accounts/{id}/balance' },
    'the balance from the database': {
      path: '/accounts/{id}/balance',
      headers: { 'cache-control': 'no-cache' },
    },
    'the balance of a version that it has': { path: '/accounts/{id}/balance?minVersion=3' },
    'the balance of a version that it has not': { path: '/accounts/{id}/balance?minVersion=4' },
    'the balance, with the version that it has': {
      path: '/accounts/{id}/balance',
      headers: { 'if-none-match': '"3"' },
    },
    'the head of its chain': { path: '/accounts/{id}/proof' },
    'the proof of its chain': { path: '/accounts/{id}/proof?fromVersion=1' },
    'the transactions': { path: '/accounts/{id}/transactions' },
    'the transactions of a type': { path: '/accounts/{id}/transactions?type=deposit&limit=1' },
    'a deposit': posting(deposit('1.00')),
    'a withdrawal of more than it holds': posting(withdrawal('5000.00')),
    'a deposit under a key that is used': posting(deposit('1.00'), { 'idempotency-key': KEY }),
    'another deposit under a key that is used': posting(deposit('2.00'), { 'idempotency-key': KEY }),
    'a deposit that expects the right version': posting({ ...deposit('1.00'), expectedVersion: 3 }),
    'a deposit that expects a wrong version': posting({ ...deposit('1.00'), expectedVersion: 9 }),
    'a deposit if it has a wrong version': posting(deposit('1.00'), { 'if-match': '"9"' }),
    'a deposit of nothing': posting(deposit('0')),
    'a batch of one': () => batch(`[${item(deposit('1.00'))}]`),
    'a batch with an account of its own': () => batch(`[${own()},${item(deposit('1.00'))},${own()}]`),
    'a batch under a key that is used': () =>
      batch(`[${item(deposit('1.00'), KEY)},${item(deposit('2.00'), KEY)},${item(deposit('1.00'), KEY)}]`),
    'a batch of withdrawals of more than it holds': () => batch(`[${item(withdrawal('5000.00'))}]`),
    'a batch that expects a wrong version': () =>
      batch(`[${item({ ...deposit('1.00'), expectedVersion: 9 })}]`),
    'a batch on lines': () => batch(`${own()}\n${item(deposit('1.00'), KEY)}\n`, '', 'application/x-ndjson'),
    'an atomic batch': () => batch(`[${item(deposit('1.00'), KEY)}]`, '?atomic=true'),
    'an atomic batch of several': () =>
      batch(`[${item(withdrawal('5000.00'))},${item(deposit('1.00'), KEY)}]`, '?atomic=true'),
    'an atomic batch with an account of its own': () =>
      batch(`[${own()},${item(deposit('1.00'), KEY)}]`, '?atomic=true'),
  };

  it.each(Object.entries(PROBES))('gets the same answer as one that does not exist: %s', async (_, given) => {
    const probe = typeof given === 'function' ? given() : given;
    const before = await answerTo({ path: '/accounts/{id}' }, theirs, 'ada');
    // In the same shard, so that a batch treats it the same way.
    const absent = await answerTo(probe, ABSENT + ((theirs + 1) % 2), 'bob');
    expect(absent).toMatch(/^HTTP\/1\.1 (404|400|200) /);
    expect(await answerTo(probe, theirs, 'bob')).toBe(absent);
    expect(await answerTo({ path: '/accounts/{id}' }, theirs, 'ada')).toBe(before);
  });

  it('stops an atomic batch, and each account that is not the sender’s is reported', async () => {
    const text = `[${own()},${item(deposit('1.00'))}]`.replace('{id}', String(mine + 2 * 500));
    const response = await app.http
      .post('/transactions/batch?atomic=true')
      .set({ ...as('bob'), 'content-type': JSON_TYPE })
      .send(text);
    expect(response.status).toBe(404);
    expect(response.text).toBe(
      '[{"status":424,"code":"NOT_APPLIED","body":{"error":"Not applied"}},' +
        '{"status":404,"code":"ACCOUNT_NOT_FOUND","body":{"error":"Account not found"}}]',
    );
  });

  it('is served to its owner and to those who may see all accounts', async () => {
    for (const sender of ['ada', undefined]) {
      const seen = await answerTo({ path: '/accounts/{id}' }, theirs, sender);
      expect(withoutTime({ text: seen })).toContain(accountBody(theirs, '101.00', 3, ',"owner":"ada"'));
    }
  });

  it.each(['in use', 'archived'])('has transactions that seem not to exist: %s', async (where) => {
    if (where === 'archived') await archiveBank(shards, new Date(Date.now() + 1_000));
    const probe = { path: '/transactions/txn{id}' };
    const absent = await answerTo(probe, ABSENT, 'bob');
    expect(absent).toMatch(/^HTTP\/1\.1 404 [\s\S]*{"error":"Transaction not found"}$/);
    expect(await answerTo(probe, theirTransaction, 'bob')).toBe(absent);
    for (const sender of ['ada', undefined]) {
      expect(await answerTo(probe, theirTransaction, sender)).toContain(`"accountId":${theirs}`);
    }
  });
});

describe('the rate limit', () => {
  it('does not count requests for missing accounts or those of other owners, which are rejected first', async () => {
    const wallet = new Wallet(shards);
    const limits = { RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1', RATE_LIMIT_BURST: '3' };
    const limited = await startInstance(shards, { ...wallet.settings, ...limits });
    try {
      const theirs = await open('ada');
      const left = async (id: number, sender: Record<string, string>) => {
        const posted = await limited.http.post(`/accounts/${id}/transactions`).set(sender).send(deposit('1'));
        return [posted.status, /r=(\d+)/.exec(String(posted.headers['ratelimit']))?.[1]];
      };
      const own = await open('bob');
      const sender = bearer(await wallet.key({ owner: 'bob' }));
      const withoutDeposits = bearer(await wallet.key({ scopes: ['transactions:write'], owner: 'bob' }));
      for (let sent = 0; sent < 4; sent++) {
        for (const id of [theirs, 1_000_001]) expect(await left(id, sender)).toEqual([404, undefined]);
        expect(await left(own, withoutDeposits)).toEqual([403, undefined]);
      }
      expect(await left(own, sender)).toEqual([201, '2']);
    } finally {
      await limited.close();
    }
  });
});

describe('while the database is lost', () => {
  it('reveals no more of another owner’s account than of a missing one', async () => {
    const doomed = await createTestDatabase('ownership');
    // Tokens are known for a minute, without the database; keys only for a moment.
    const wallet = await WalletWithTokens.open(doomed.url);
    const [asElsewhere, lost] = [
      as,
      await startInstance(doomed.url, { BALANCE_CACHE: 'off', ...wallet.settings }),
    ];
    const [ada, bob] = await Promise.all([wallet.token('ada'), wallet.token('bob')]);
    const carol = await wallet.provider.token('carol', ['admin']);
    as = (owner) => bearer(owner === 'ada' ? ada : owner === 'bob' ? bob : carol);
    try {
      const theirs = await open('ada', lost);
      for (const [sender, status] of [
        ['bob', 404],
        [undefined, 200],
      ] as const) {
        await lost.http.get(`/accounts/${theirs}`).set(as(sender)).expect(status);
      }
      await doomed.drop();
      for (const probe of [
        { path: '/accounts/{id}' },
        { path: '/accounts/{id}/balance' },
        posting(deposit('1')),
      ]) {
        const absent = await answerTo(probe, 1_000_001, 'bob', lost);
        expect(absent).toMatch(/^HTTP\/1\.1 408 [\s\S]*{"error":"Server Crashes","CurrentVersion":null}$/);
        expect(await answerTo(probe, theirs, 'bob', lost)).toBe(absent);
        expect(await answerTo(probe, theirs, undefined, lost)).toContain('"CurrentVersion":2}');
      }
    } finally {
      as = asElsewhere;
      await lost.close();
      await wallet.close();
      await doomed.drop();
    }
  });
});

describe('an account without an owner', () => {
  it('is seen only by those who may see all accounts', async () => {
    const accountId = await open(undefined);
    await app.http.get(`/accounts/${accountId}`).set(as('bob')).expect(404);
    const { text } = await app.http.get(`/accounts/${accountId}`).set(as(undefined)).expect(200);
    expect(withoutTime({ text })).toBe(accountBody(accountId, '100.00', 2));
  });
});

describe('opening an account', () => {
  const send = (owner: string | undefined, body: string) =>
    app.http.post('/accounts').set(as(owner)).set('content-type', JSON_TYPE).send(body);

  it.each(['{}', '{"owner":"eve"}'])('makes the opener its owner: %s', async (body) => {
    const response = await send('eve', body).expect(201);
    const { accountId } = JSON.parse(response.text) as AccountBody;
    expect(withoutTime(response)).toBe(accountBody(accountId, '0.00', 1, ',"owner":"eve"'));
    await app.http.get(`/accounts/${accountId}`).set(as('eve')).expect(200);
  });

  it('rejects another owner, and opens no account', async () => {
    const before = (await list(undefined)).data.length;
    const response = await send('eve', '{"owner":"ada"}').expect(400);
    expect(response.text).toBe(
      '{"error":"Invalid request","details":[{"field":"owner","message":"must be your own, or left out"}]}',
    );
    expect((await list(undefined)).data).toHaveLength(before);
  });

  it('keeps the keys of owners separate, even from those who may see all accounts', async () => {
    const openWith = (owner: string | undefined, body = '{}') =>
      send(owner, body).set('idempotency-key', 'the-same');
    const ids = [];
    for (const owner of ['ada', 'bob', undefined]) {
      const { text } = await openWith(owner).expect(201);
      ids.push((JSON.parse(text) as AccountBody).accountId);
    }
    expect(new Set(ids).size).toBe(3);
    const again = await openWith('ada').expect(409);
    expect(again.text).toBe(`{"error":"Duplicate account","accountId":${ids[0]}}`);
    // The owner's key, whoever opens for it.
    const onBehalf = await openWith(undefined, '{"owner":"ada"}').expect(409);
    expect(onBehalf.text).toBe(again.text);
  });

  it('lets those who may see all accounts name the owner', async () => {
    const { text } = await send(undefined, '{"openingDeposit":5,"owner":"Zoë 🏦 \\"x\\""}').expect(201);
    const { accountId } = JSON.parse(text) as AccountBody;
    expect(withoutTime({ text })).toBe(accountBody(accountId, '5.00', 2, ',"owner":"Zoë 🏦 \\"x\\""'));
    const stored = await app.http.get(`/accounts/${accountId}`).set(as(undefined));
    expect(stored.text).toBe(text);
  });

  it.each([
    '""',
    '1',
    '["ada"]',
    '" "',
    '"\\u200b"',
    '"\\u202eada"',
    '"Zoe\\u0308"',
    '{"a":1}',
    '"a\\u0000b"',
    '"a\\nb"',
    '"\\u0085"',
    '"\\ud800"',
    `"${'x'.repeat(256)}"`,
  ])('refuses the owner %s', async (owner) => {
    const response = await send(undefined, `{"owner":${owner}}`).expect(400);
    expect(fieldsIn(response)).toEqual(['owner']);
  });

  it('serves owners that have such names already', async () => {
    const opened = await send(ODD_OWNER, '{}').expect(201);
    expect(JSON.parse(opened.text)).toMatchObject({ owner: ODD_OWNER });
    const listing = await app.http.get('/accounts').set(as(ODD_OWNER)).expect(200);
    expect(JSON.parse(listing.text)).toMatchObject({ data: [{ owner: ODD_OWNER }] });
  });

  it('accepts an owner of 255 characters, however many bytes each has', async () => {
    await send(undefined, `{"owner":"${'🏦'.repeat(255)}"}`).expect(201);
  });
});

describe('listing accounts', () => {
  let own: number[];

  beforeAll(async () => {
    own = [];
    for (let count = 0; count < 5; count++) {
      own.push(await open('lea'));
      await open('max');
    }
  });

  it('shows an owner only their own, page by page', async () => {
    const seen: number[] = [];
    let query = '?limit=2';
    for (;;) {
      const { data, nextCursor } = await list('lea', query);
      expect(data.every(({ owner }) => owner === 'lea')).toBe(true);
      seen.push(...data.map(({ accountId }) => accountId));
      if (nextCursor === null) break;
      expect(data).toHaveLength(2);
      query = `?limit=2&cursor=${nextCursor}`;
    }
    expect(seen).toEqual(own);
  });

  it('shows nothing to an owner without accounts', async () => {
    expect(await list('newcomer')).toEqual({ data: [], nextCursor: null });
  });

  it('rejects a cursor that was made for somebody else', async () => {
    const cursorOf = async (owner: string | undefined) => (await list(owner, '?limit=1')).nextCursor ?? '';
    const refused = await app.http.get('/accounts?cursor=x').set(as('lea')).expect(400);
    for (const [maker, user] of [
      ['max', 'lea'],
      [undefined, 'lea'],
      ['lea', undefined],
    ] as const) {
      const response = await app.http
        .get(`/accounts?cursor=${await cursorOf(maker)}`)
        .set(as(user))
        .expect(400);
      expect(response.text).toBe(refused.text);
    }
    await app.http
      .get(`/accounts?cursor=${await cursorOf('lea')}`)
      .set(as('lea'))
      .expect(200);
  });

  it('rejects a cursor of an account’s transactions that was made for somebody else', async () => {
    const [accountId = 0] = own;
    await app.http.post(`/accounts/${accountId}/transactions`).set(as('lea')).send(deposit('1')).expect(201);
    const path = `/accounts/${accountId}/transactions?limit=1`;
    const { text } = await app.http.get(path).set(as('lea')).expect(200);
    const { nextCursor } = JSON.parse(text) as { nextCursor: string };
    await app.http.get(`${path}&cursor=${nextCursor}`).set(as('lea')).expect(200);
    for (const other of ['max', undefined]) {
      const response = await app.http.get(`${path}&cursor=${nextCursor}`).set(as(other)).expect(400);
      expect(fieldsIn(response)).toEqual(['cursor']);
    }
  });
});

describe('idempotency keys', () => {
  it('belong to their account: the same key on two accounts has no connection', async () => {
    const [one, other] = [await open('kim'), await open('pat')];
    const send = (accountId: number, owner: string) =>
      app.http
        .post(`/accounts/${accountId}/transactions`)
        .set({ ...as(owner), 'idempotency-key': 'the-same' })
        .send(deposit('1.00'));
    await send(one, 'kim').expect(201);
    await send(other, 'pat').expect(201);
    await send(one, 'kim').expect(409);
  });
});

describe('a change of the owner', () => {
  it('takes effect within 5 seconds where the account was in use', async () => {
    const accountId = await open('old');
    await app.http.get(`/accounts/${accountId}`).set(as('old')).expect(200);
    const schema = `bank_${(accountId - 1) % 2}`;
    await query(database.url, `UPDATE ${schema}.accounts SET owner = 'new' WHERE account_id = $1`, [
      accountId,
    ]);
    // Accounts of other owners are never remembered.
    await app.http.get(`/accounts/${accountId}`).set(as('new')).expect(200);
    try {
      pass(5_000);
      await app.http.get(`/accounts/${accountId}/balance`).set(as('old')).expect(404);
      const posting = app.http.post(`/accounts/${accountId}/transactions`).set(as('old'));
      await posting.send(deposit('1')).expect(404);
    } finally {
      jest.restoreAllMocks();
    }
  });
});
