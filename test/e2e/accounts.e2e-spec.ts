import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { capture, change, expireIn, figuresOf, placed, placeHold, voidHold } from '../support/holds.js';
import {
  accountBody,
  balanceOf,
  deposit,
  eventually,
  fieldsIn,
  JSON_TYPE,
  moneyAsText,
  post,
  TEXT_MONEY,
  TEXT_MONEY_TYPE,
  withdrawal,
  withoutTime,
} from '../support/requests.js';

let app: TestApp;
let client: Client;

beforeAll(async () => {
  app = await startApp({}, { sweeper: { pollMs: 100 } });
  client = new Client({ connectionString: app.databaseUrl });
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await app.close();
});

const rows = async (sql: string) => (await client.query<object>(sql)).rows;

const open = (body: string) => app.http.post('/accounts').set('content-type', JSON_TYPE).send(body);

/** The id of an account that does not exist yet, but will be next. */
async function nextId(): Promise<number> {
  return (await openAccount(app)) + 1;
}

describe('POST /accounts', () => {
  it('opens an empty account with version 1', async () => {
    const id = await nextId();
    const response = await open('{}');
    expect(response.status).toBe(201);
    expect(withoutTime(response)).toBe(accountBody(id, '0.00', 1));
    expect(response.headers).toMatchObject({
      location: `/accounts/${id}`,
      etag: '"1.0"',
      'content-type': 'application/json; charset=utf-8',
    });
  });

  it.each([
    ['1000.00', '1000.00'],
    ['1000', '1000.00'],
    ['0.1', '0.10'],
    ['"1000.00"', '1000.00'],
    ['0.01', '0.01'],
    ['9007199254740993.07', '9007199254740993.07'],
    ['9999999999999999.99', '9999999999999999.99'],
    ['"9999999999999999.99"', '9999999999999999.99'],
  ])('opens an account with %s in it and version 2', async (deposit, balance) => {
    const id = await nextId();
    const response = await open(`{"openingDeposit":${deposit}}`);
    expect(response.status).toBe(201);
    expect(withoutTime(response)).toBe(accountBody(id, balance, 2));
    expect(response.headers).toMatchObject({ location: `/accounts/${id}`, etag: '"2.0"' });
  });

  it('books the opening deposit as the first transaction', async () => {
    const id = await openAccount(app, '1000.00');
    const listing = await app.http.get(`/accounts/${id}/transactions`);
    expect(listing.text).toMatch(
      new RegExp(
        `^{"data":\\[{"id":"txn\\d+","accountId":${id},"type":"Deposit","amount":1000.00,` +
          '"newBalance":1000.00,"newVersion":"2","timestamp":"[^"]+"}\\],"nextCursor":null}$',
      ),
    );
  });

  it('posts no transaction for an empty account', async () => {
    const id = await openAccount(app);
    const listing = await app.http.get(`/accounts/${id}/transactions`);
    expect(listing.text).toBe('{"data":[],"nextCursor":null}');
  });

  it.each(['0', '-1', '"0.00"', '1e2', '0.001', '10000000000000000', 'true', 'null', '[]', '" 1 "'])(
    'rejects an opening deposit of %s and opens no account',
    async (deposit) => {
      const id = await nextId();
      const response = await open(`{"openingDeposit":${deposit}}`);
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual(['openingDeposit']);
      expect((await app.http.get(`/accounts/${id}`)).status).toBe(404);
    },
  );

  it.each(['null', ' null '])('opens an account without an owner when that is %j', async (owner) => {
    const id = await nextId();
    const response = await open(`{"owner":${owner}}`);
    expect(withoutTime(response)).toBe(accountBody(id, '0.00', 1));
  });

  it.each([
    [' ', 'visible'],
    ['\u200b\u3164', 'visible'],
    ['\u202eada', 'direction'],
    ['Jose\u0301', 'NFC'],
    ['', '1 to 255'],
  ])('rejects the owner %j, and says why', async (owner, words) => {
    const id = await nextId();
    const response = await open(JSON.stringify({ owner }));
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['owner']);
    expect(response.text).toContain(words);
    expect((await app.http.get(`/accounts/${id}`)).status).toBe(404);
  });

  it('shows the owners of accounts that have such names already', async () => {
    const id = await openAccount(app);
    await assignAccounts([{ url: app.databaseUrl, schema: 'bank' }], { accounts: [id], owner: 'Jose\u0301' });
    const response = await app.http.get(`/accounts/${id}`);
    expect(response.body).toMatchObject({ owner: 'Jose\u0301' });
  });

  it.each([
    ['an unknown field', '{"balance":1000.00}', 'balance'],
    ['a list', '[]', 'body'],
    ['null', 'null', 'body'],
    ['nothing', '', 'body'],
  ])('rejects a body with %s', async (_, body, field) => {
    const response = await open(body);
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual([field]);
  });
});

describe('Idempotency-Key of an opening', () => {
  const openWith = (key: string, body: string) => open(body).set('Idempotency-Key', key);
  const count = async () => (await rows('SELECT FROM bank.accounts')).length;

  it.each(['{"openingDeposit":5}', '{}'])('opens one account, however often %s is sent', async (body) => {
    const key = `once-${body.length}`;
    const first = await openWith(key, body).expect(201);
    const { accountId } = JSON.parse(first.text) as { accountId: number };
    const before = await count();
    for (let n = 0; n < 3; n++) {
      const again = await openWith(key, body);
      expect(again.status).toBe(409);
      expect(again.text).toBe(`{"error":"Duplicate account","accountId":${accountId}}`);
      expect(again.headers.location).toBe(`/accounts/${accountId}`);
      expect(again.headers.etag).toBeUndefined();
    }
    expect(await count()).toBe(before);
  });

  it('recognises the same request in another spelling, and the same key in quotes', async () => {
    const first = await openWith('a"b', '{"openingDeposit":5}').expect(201);
    const { accountId } = JSON.parse(first.text) as { accountId: number };
    for (const body of ['{"openingDeposit":"5.00"}', ' {"openingDeposit" : 5.0 } ']) {
      const again = await openWith('"a\\"b"', body).expect(409);
      expect(again.text).toBe(`{"error":"Duplicate account","accountId":${accountId}}`);
    }
  });

  it.each([
    ['{"openingDeposit":5}', '{"openingDeposit":5.01}'],
    ['{"openingDeposit":5}', '{}'],
    ['{}', '{"openingDeposit":5}'],
  ])('that was used for %s is rejected for %s', async (body, other) => {
    const key = `reused-${body}-${other}`.replaceAll(/["\s]/g, '');
    const first = await openWith(key, body).expect(201);
    const before = await count();
    const { accountId } = JSON.parse(first.text) as { accountId: number };
    const response = await openWith(key, other).expect(422);
    expect(response.text).toBe(`{"error":"Idempotency key reused","accountId":${accountId}}`);
    expect(await count()).toBe(before);
  });

  it('is not used up by a rejected request', async () => {
    await openWith('refused', '{"openingDeposit":0}').expect(400);
    await openWith('refused', '{"openingDeposit":1}').expect(201);
  });

  it('opens one account for simultaneous requests to two instances', async () => {
    const other = await startInstance(app.databaseUrl);
    try {
      const before = await count();
      const send = (n: number) =>
        (n % 2 ? app : other).http
          .post('/accounts')
          .set({ 'content-type': JSON_TYPE, 'idempotency-key': 'at-once' })
          .send('{"openingDeposit":7}');
      const answers = await Promise.all(Array.from({ length: 12 }, (_, n) => send(n)));
      const opened = answers.filter(({ status }) => status === 201);
      expect(opened).toHaveLength(1);
      const { accountId } = JSON.parse(opened[0]?.text ?? '') as { accountId: number };
      expect(new Set(answers.filter(({ status }) => status !== 201).map(({ text }) => text))).toEqual(
        new Set([`{"error":"Duplicate account","accountId":${accountId}}`]),
      );
      expect(await count()).toBe(before + 1);
    } finally {
      await other.close();
    }
  });

  it('belongs to the named owner or, without one, to the bank', async () => {
    const ids = new Set<number>();
    for (const body of ['{}', '{"owner":"ada"}', '{"owner":"bob"}']) {
      const { text } = await openWith('shared', body).expect(201);
      const { accountId } = JSON.parse(text) as { accountId: number };
      ids.add(accountId);
      const again = await openWith('shared', body).expect(409);
      expect(again.headers.location).toBe(`/accounts/${accountId}`);
    }
    expect(ids.size).toBe(3);
  });

  it('stays with the owner at the opening when the account gets another owner', async () => {
    const { text } = await openWith('given', '{"owner":"ada"}').expect(201);
    const { accountId } = JSON.parse(text) as { accountId: number };
    await assignAccounts([{ url: app.databaseUrl, schema: 'bank' }], { accounts: [accountId], owner: 'bob' });
    expect((await openWith('given', '{"owner":"ada"}')).status).toBe(409);
    expect((await openWith('given', '{"owner":"bob"}')).status).toBe(201);
  });

  it.each(['""', 'a b', '"abc', 'a, b', 'k'.repeat(256)])('like %j is rejected', async (key) => {
    const response = await openWith(key, '{}');
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['Idempotency-Key']);
  });

  it('is independent of the keys of transactions', async () => {
    const { text } = await openWith('both', '{}').expect(201);
    const { accountId } = JSON.parse(text) as { accountId: number };
    expect((await post(app, accountId, deposit('1'), { 'idempotency-key': 'both' })).status).toBe(201);
  });
});

describe('the entity tag of an account', () => {
  const assign = (accountId: number, owner: string | undefined) =>
    assignAccounts([{ url: app.databaseUrl, schema: 'bank' }], { accounts: [accountId], owner });
  const get = (accountId: number, tag?: string) =>
    app.http.get(`/accounts/${accountId}`).set(tag === undefined ? {} : { 'if-none-match': tag });

  it('changes with the owner and with the version', async () => {
    const accountId = await openAccount(app, '350.00');
    const etags = [(await get(accountId)).headers.etag];
    await assign(accountId, 'ada');
    const assigned = await get(accountId, '"2.0"').expect(200);
    expect(withoutTime(assigned)).toBe(accountBody(accountId, '350.00', 2, ',"owner":"ada"'));
    etags.push(assigned.headers.etag);
    await assign(accountId, 'ada');
    await post(app, accountId, deposit('1'));
    etags.push((await get(accountId)).headers.etag);
    await assign(accountId, undefined);
    etags.push((await get(accountId)).headers.etag);
    expect(etags).toEqual(['"2.0"', '"2.1"', '"3.1"', '"3.2"']);
    const balance = await app.http.get(`/accounts/${accountId}/balance`);
    expect(balance.headers.etag).toBe('"3"');
  });

  it.each(['"2.1"', 'W/"2.1"', '"2.0", "2.1"', '*'])('matches If-None-Match: %s', async (tag) => {
    const accountId = await openAccount(app, '1.00');
    await assign(accountId, 'ada');
    const response = await get(accountId, tag).expect(304);
    expect(response.text).toBe('');
    expect(response.headers.etag).toBe('"2.1"');
    const head = await app.http.head(`/accounts/${accountId}`).set('if-none-match', tag);
    expect(head.status).toBe(304);
    expect(head.headers.etag).toBe('"2.1"');
  });

  it.each(['"2"', '"2.0"', '"2.10"', '"2.01"', '"3.1"'])('does not match %s', async (tag) => {
    const accountId = await openAccount(app, '1.00');
    await assign(accountId, 'ada');
    await get(accountId, tag).expect(200);
  });

  it('is a condition of a posting, just as the version is', async () => {
    const accountId = await openAccount(app, '10.00');
    await assign(accountId, 'ada');
    const ifMatch = async (tag: string) =>
      (await post(app, accountId, deposit('1'), { 'if-match': tag })).status;
    expect([await ifMatch('"2.1"'), await ifMatch('"3.0"'), await ifMatch('"4"')]).toEqual([201, 201, 201]);
    expect([await ifMatch('"2.1"'), await ifMatch('W/"5.1"'), await ifMatch('"5.01"')]).toEqual([
      412, 412, 412,
    ]);
  });
});

describe('an account with money as text', () => {
  it.each(['9007199254740993.07', '9999999999999999.99'])('has all digits of %s', async (balance) => {
    const id = await nextId();
    const opened = await open(`{"openingDeposit":"${balance}"}`).set(TEXT_MONEY);
    expect(opened.status).toBe(201);
    expect(withoutTime(opened)).toBe(moneyAsText(accountBody(id, balance, 2)));
    const shown = { 'content-type': TEXT_MONEY_TYPE, etag: '"2.0-string"', vary: 'Accept' };
    expect(opened.headers).toMatchObject({ ...shown, location: `/accounts/${id}` });
    const text = await app.http.get(`/accounts/${id}`).set(TEXT_MONEY);
    expect(text.text).toBe(opened.text);
    expect(text.text).toBe(moneyAsText((await app.http.get(`/accounts/${id}`)).text));
    expect(text.headers).toMatchObject(shown);
  });

  it('has entity tags of its own, which change with the owner, too', async () => {
    const accountId = await openAccount(app, '1.00');
    await assignAccounts([{ url: app.databaseUrl, schema: 'bank' }], { accounts: [accountId], owner: 'ada' });
    const get = (tag: string, headers = {}) =>
      app.http.get(`/accounts/${accountId}`).set({ ...headers, 'if-none-match': tag });
    for (const tag of ['"2.1-string"', 'W/"2.1-string"', '"2.1", "2.1-string"', '*']) {
      const same = await get(tag, TEXT_MONEY);
      expect([same.status, same.text]).toEqual([304, '']);
      expect(same.headers).toMatchObject({ etag: '"2.1-string"', vary: 'Accept' });
    }
    for (const tag of ['"2.1"', '"2.0-string"', '"2-string"']) {
      const other = await get(tag, TEXT_MONEY);
      expect(withoutTime(other)).toBe(moneyAsText(accountBody(accountId, '1.00', 2, ',"owner":"ada"')));
    }
    const number = await get('"2.1-string"');
    expect(withoutTime(number)).toBe(accountBody(accountId, '1.00', 2, ',"owner":"ada"'));
    expect(number.headers.etag).toBe('"2.1"');
  });
});

describe('GET /accounts/{accountId}', () => {
  it('shows the account', async () => {
    const id = await openAccount(app, '350.00');
    const response = await app.http.get(`/accounts/${id}`);
    expect(response.status).toBe(200);
    expect(withoutTime(response)).toBe(accountBody(id, '350.00', 2));
    expect(response.headers.etag).toBe('"2.0"');
  });

  it('is reached by the Location of the opening, with the same tag', async () => {
    const opened = await open('{"openingDeposit":5}');
    const response = await app.http.get(String(opened.headers.location));
    expect(response.text).toBe(opened.text);
    expect(response.headers.etag).toBe(opened.headers.etag);
  });

  it('answers 404 for an account that was never opened', async () => {
    const response = await app.http.get('/accounts/999999');
    expect(response.status).toBe(404);
    expect(response.text).toBe('{"error":"Account not found"}');
  });
});

describe('opening an account', () => {
  const idIn = ({ text }: { readonly text: string }) => (JSON.parse(text) as { accountId: number }).accountId;

  it('keeps a reference and metadata, and says when', async () => {
    const before = Date.now();
    const response = await open(
      '{"reference":"customer 12","metadata":{"branch":7.10,"tags":["a"]},"owner":"ada"}',
    );
    const id = idIn(response);
    const more = ',"owner":"ada","reference":"customer 12","metadata":{"branch":7.10,"tags":["a"]}';
    expect(withoutTime(response)).toBe(accountBody(id, '0.00', 1, more));
    const { createdAt } = JSON.parse(response.text) as { createdAt: string };
    expect(Math.abs(Date.parse(createdAt) - before)).toBeLessThan(5_000);
    const read = await app.http.get(`/accounts/${id}`);
    expect(read.text).toBe(response.text);
    const listed = await app.http.get(`/accounts?limit=200`);
    expect(withoutTime(listed)).toContain(accountBody(id, '0.00', 1, more));
  });

  it.each([
    ['reference', '{"reference":""}'],
    ['reference', '{"reference":"a\\u0000b"}'],
    ['metadata', '{"metadata":[]}'],
    ['metadata', `{"metadata":{"a":"${'x'.repeat(4096)}"}}`],
    ['near', '{"near":0}'],
    ['near', '{"near":"x"}'],
  ])('rejects a wrong %s: %s', async (field, body) => {
    const response = await open(body);
    expect([response.status, fieldsIn(response)]).toEqual([400, [field]]);
  });

  it('near another account works, and near one that does not exist is 404, naming it', async () => {
    const near = await openAccount(app);
    expect((await open(`{"near":${near}}`)).status).toBe(201);
    expect((await open(`{"near":"${near}"}`)).status).toBe(201);
    const missing = await open('{"near":999999}').set('Idempotency-Key', 'near');
    expect([missing.status, missing.text]).toEqual([404, '{"error":"Account not found","accountId":999999}']);
    expect((await open(`{"near":${near}}`).set('Idempotency-Key', 'near')).status).toBe(201);
  });

  it('has a key that covers near, reference and metadata', async () => {
    const near = await openAccount(app);
    const send = (body: object) => open(JSON.stringify(body)).set('Idempotency-Key', 'covers');
    const body = { near, reference: 'a', metadata: { b: 1 } };
    const accountId = idIn(await send(body));
    const again = await send(body);
    expect([again.status, again.text]).toEqual([
      ...[409, `{"error":"Duplicate account","accountId":${accountId}}`],
    ]);
    for (const other of [{ ...body, reference: 'b' }, { ...body, metadata: { b: 2 } }, { near }])
      expect((await send(other)).status).toBe(422);
  });
});

describe('PATCH /accounts/{accountId}', () => {
  it('changes what it names, grows the revision and leaves the version', async () => {
    const accountId = await openAccount(app, '10.00');
    const response = await change(app, accountId, {
      ...{ status: 'Debits_Blocked', overdraftLimit: '5.00', reference: 'r', metadata: { a: 1 } },
    });
    expect(response.status).toBe(200);
    expect(response.headers.etag).toBe('"2.1"');
    expect(withoutTime(response)).toBe(
      `{"accountId":${accountId},"balance":10.00,"version":2,"held":0.00,"available":15.00,"overdraftLimit":5.00,` +
        '"currency":"USD","status":"debits_blocked","reference":"r","metadata":{"a":1}}',
    );
    expect((await app.http.get(`/accounts/${accountId}`)).text).toBe(response.text);
    const cleared = await change(app, accountId, '{"reference":null,"metadata":null}');
    expect(cleared.text).not.toMatch(/reference|metadata/);
    expect(cleared.headers.etag).toBe('"2.2"');
    const events = await rows(
      `SELECT revision, actor, changes FROM bank.account_events WHERE account_id = ${accountId} ORDER BY revision`,
    );
    expect(events).toMatchObject([
      { revision: 1, actor: null },
      { revision: 2, actor: null, changes: '{"reference":null,"metadata":null}' },
    ]);
  });

  it('changes nothing when it says what is there already', async () => {
    const accountId = await openAccount(app, '10.00');
    const response = await change(app, accountId, { status: 'open', overdraftLimit: 0 });
    expect([response.status, response.headers.etag]).toEqual([200, '"2.0"']);
  });

  it.each([
    ['body', '{}'],
    ['body', '[]'],
    ['status', '{"status":"shut"}'],
    ['status', '{"status":null}'],
    ['overdraftLimit', '{"overdraftLimit":-1}'],
    ['overdraftLimit', '{"overdraftLimit":null}'],
    ['overdraftLimit', '{"overdraftLimit":0.001}'],
    ['reference', '{"reference":""}'],
    ['metadata', '{"metadata":"x"}'],
    ['owner', '{"owner":"ada"}'],
    ['balance', '{"balance":1}'],
  ])('rejects a wrong %s: %s', async (field, body) => {
    const accountId = await openAccount(app);
    const response = await change(app, accountId, body);
    expect([response.status, fieldsIn(response)]).toEqual([400, [field]]);
  });

  it('depends on the revision that If-Match names, whatever the version', async () => {
    const accountId = await openAccount(app, '10.00');
    const ifMatch = (tag: string, reference: string) =>
      change(app, accountId, { reference }, { 'if-match': tag });
    for (const tag of ['"2.1"', '"2"', 'W/"2.0"']) {
      const mismatch = await ifMatch(tag, 'a');
      expect([mismatch.status, mismatch.text]).toEqual([
        ...[412, '{"error":"Revision mismatch","currentRevision":0}'],
      ]);
    }
    await post(app, accountId, deposit('1'));
    expect((await ifMatch('"2.0"', 'a')).status).toBe(200);
    expect((await ifMatch('"3.0", "9.1-string"', 'b')).status).toBe(200);
    expect((await ifMatch('*', 'c')).headers.etag).toBe('"3.3"');
    const wrong = await ifMatch('2', 'd');
    expect([wrong.status, fieldsIn(wrong)]).toEqual([400, ['If-Match']]);
  });

  it('answers 404 for an account that does not exist', async () => {
    const response = await change(app, 999_999, { status: 'open' });
    expect([response.status, response.text]).toEqual([404, '{"error":"Account not found"}']);
  });
});

describe('the status of an account', () => {
  const FROZEN = '{"error":"Account frozen"}';
  const BLOCKED = '{"error":"Debits blocked"}';
  const CLOSED = '{"error":"Account closed"}';
  /** What each status answers; undefined: it is accepted. */
  const TABLE = {
    open: { deposit: undefined, withdrawal: undefined, hold: undefined, capture: undefined, void: undefined },
    debits_blocked: {
      deposit: undefined,
      withdrawal: BLOCKED,
      hold: BLOCKED,
      capture: undefined,
      void: undefined,
    },
    frozen: { deposit: FROZEN, withdrawal: FROZEN, hold: FROZEN, capture: FROZEN, void: undefined },
  } as const;
  const cells = Object.entries(TABLE).flatMap(([status, row]) =>
    Object.entries(row).map(([what, refused]) => [status, what, refused] as const),
  );

  const attempt = async (what: string, accountId: number, holdId: string) => {
    switch (what) {
      case 'deposit':
        return post(app, accountId, deposit('1'));
      case 'withdrawal':
        return post(app, accountId, withdrawal('1'));
      case 'hold':
        return placeHold(app, accountId, { amount: 1 });
      case 'capture':
        return capture(app, holdId, { amount: 1 });
      default:
        return voidHold(app, holdId);
    }
  };

  it.each(cells)('%s: a %s is answered with %s', async (status, what, refused) => {
    const accountId = await openAccount(app, '10.00');
    const holdId = await placed(app, accountId, '2.00');
    expect((await change(app, accountId, { status })).status).toBe(200);
    const before = await figuresOf(app, accountId);
    const answer = await attempt(what, accountId, holdId);
    if (refused === undefined) expect(answer.status).toBeLessThan(300);
    else {
      expect([answer.status, answer.text]).toEqual([422, refused]);
      expect(await figuresOf(app, accountId)).toBe(before);
    }
  });

  it.each(Object.keys(TABLE))('%s: a hold still expires', async (status) => {
    const accountId = await openAccount(app, '10.00');
    const holdId = await placed(app, accountId, '2.00', { expiresInSeconds: 60 });
    await change(app, accountId, { status });
    await expireIn(app, holdId);
    await eventually(async () => expect(await figuresOf(app, accountId)).toContain('held:0.00'));
  });

  it('closed: nothing happens any more, and it stays so', async () => {
    const accountId = await openAccount(app);
    expect((await change(app, accountId, { status: 'closed' })).status).toBe(200);
    for (const what of ['deposit', 'withdrawal', 'hold']) {
      const answer = await attempt(what, accountId, '');
      expect([what, answer.status, answer.text]).toEqual([what, 422, CLOSED]);
    }
    for (const body of [{ status: 'open' }, { status: 'frozen' }, { overdraftLimit: 1 }]) {
      const answer = await change(app, accountId, body);
      expect([answer.status, answer.text]).toEqual([422, CLOSED]);
    }
    expect((await change(app, accountId, { status: 'closed', reference: 'old' })).status).toBe(200);
  });

  it('can be closed only without money and without holds', async () => {
    const accountId = await openAccount(app, '10.00');
    const close = () => change(app, accountId, { status: 'closed' });
    const notEmpty = '{"error":"Account not empty"}';
    expect(await close()).toMatchObject({ status: 422, text: notEmpty });
    await change(app, accountId, { overdraftLimit: 10 });
    const holdId = await placed(app, accountId, '10.00');
    await post(app, accountId, withdrawal('10'));
    expect(await figuresOf(app, accountId)).toBe('balance:0.00,version:4,held:10.00,available:0.00');
    expect(await close()).toMatchObject({ status: 422, text: notEmpty });
    await voidHold(app, holdId);
    expect((await close()).status).toBe(200);
  });
});

describe('an overdraft', () => {
  it('lets the balance go below zero, wherever it is read', async () => {
    const accountId = await openAccount(app, '10.00');
    await change(app, accountId, { overdraftLimit: '20.00' });
    const posted = await post(app, accountId, withdrawal('22.50'));
    expect(posted.text).toContain('"newBalance":-12.50,');
    expect(await balanceOf(app, accountId)).toBe('{"balance":-12.50,"version":3}');
    // From the cache.
    expect((await app.http.get(`/accounts/${accountId}/balance`)).text).toBe(
      '{"balance":-12.50,"version":3}',
    );
    const text = await app.http.get(`/accounts/${accountId}/balance`).set(TEXT_MONEY);
    expect(text.text).toBe('{"balance":"-12.50","version":3}');
    expect(await figuresOf(app, accountId)).toBe('balance:-12.50,version:3,held:0.00,available:7.50');
    const account = await app.http.get(`/accounts/${accountId}`).set(TEXT_MONEY);
    expect(account.text).toContain('"balance":"-12.50","version":3,"held":"0.00","available":"7.50"');
    const listed = await app.http.get(`/accounts/${accountId}/transactions?limit=1`);
    expect(listed.text).toContain('"newBalance":-12.50,"newVersion":"3"');
    const accounts = await app.http.get('/accounts?limit=200');
    expect(accounts.text).toContain(`{"accountId":${accountId},"balance":-12.50,`);
    const { id } = JSON.parse(posted.text) as { id: string };
    expect((await app.http.get(`/transactions/${id}`)).text).toContain('"newBalance":-12.50,');
    const proof = await app.http.get(`/accounts/${accountId}/proof?fromVersion=2`);
    expect(proof.text).toContain(':debit:22.50:-12.50:3:');
  });

  it('is spent by withdrawals and holds alike, and can not be lowered below what is used', async () => {
    const accountId = await openAccount(app);
    await change(app, accountId, { overdraftLimit: 10 });
    await placed(app, accountId, '4.00');
    expect((await post(app, accountId, withdrawal('6.01'))).text).toBe('{"error":"Insufficient Balance"}');
    expect((await post(app, accountId, withdrawal('5'))).status).toBe(201);
    const lower = async (overdraftLimit: string) => change(app, accountId, { overdraftLimit });
    expect(await lower('8.99')).toMatchObject({ status: 422, text: '{"error":"Overdraft in use"}' });
    expect((await lower('9.00')).status).toBe(200);
    expect((await post(app, accountId, withdrawal('0.01'))).status).toBe(422);
    await post(app, accountId, deposit('9'));
    expect((await lower('0')).status).toBe(200);
  });

  it('may be as large as an amount can be, and so is what is available', async () => {
    const accountId = await openAccount(app, '9999999999999999.99');
    await change(app, accountId, '{"overdraftLimit":9999999999999999.99}');
    expect(await figuresOf(app, accountId)).toContain('available:19999999999999999.98');
    expect((await post(app, accountId, withdrawal('9999999999999999.99'))).status).toBe(201);
    expect((await post(app, accountId, withdrawal('9999999999999999.99'))).status).toBe(201);
    expect(await balanceOf(app, accountId)).toBe('{"balance":-9999999999999999.99,"version":4}');
    expect((await post(app, accountId, withdrawal('0.01'))).status).toBe(422);
  });
});
