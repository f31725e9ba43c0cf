import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Webhook } from 'standardwebhooks';
import type { Response } from 'supertest';
import type { Attempt, DeliveryState } from '../../src/messaging/webhooks/delivery-state.js';
import { Endpoints } from '../../src/messaging/webhooks/endpoints.js';
import { revokeKey } from '../../src/admin/keys.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { bearer, makeKey } from '../support/credentials.js';
import { createTestDatabase, query } from '../support/postgres.js';
import { deposit, eventually, fieldsIn, post, receiptIn } from '../support/requests.js';
import { Wallet } from '../support/wallet.js';
import { attempt, NOTHING_SENT, rememberState, WEBHOOK_KEYS } from '../support/webhooks.js';

const URL_ELSEWHERE = 'https://receiver.invalid/events';
const WANTED = { url: URL_ELSEWHERE, eventTypes: ['transaction.posted', 'hold.expired'] };

interface Shown {
  readonly id: string;
  readonly secret: string;
  readonly status: string;
  readonly formerSecretEndsAt?: string;
  readonly disabledAt?: string;
  readonly disabledBecause?: string;
}

let app: TestApp;
type Headers = Record<string, string>;

beforeAll(async () => {
  app = await startApp({ WEBHOOK_KEYS }, NOTHING_SENT);
});
afterAll(() => app.close());
beforeEach(() => query(app.databaseUrl, 'DELETE FROM bank.webhooks'));

const bodyOf = <T = Shown>({ text }: Response) => JSON.parse(text) as T;
const create = (body: object = WANTED, headers: Headers = {}, of = app) =>
  of.http.post('/webhooks').set(headers).send(body);
const created = async (body: object = WANTED, headers: Headers = {}, of = app) =>
  bodyOf(await create(body, headers, of).expect(201));
const get = (path: string, headers: Headers = {}) => app.http.get(`/webhooks${path}`).set(headers);
const change = (id: string, body: object, headers: Headers = {}) =>
  app.http.patch(`/webhooks/${id}`).set(headers).send(body);
const rotate = (id: string, body?: object) => app.http.post(`/webhooks/${id}/secret`).send(body);
const redeliver = (id: string, body: object) => app.http.post(`/webhooks/${id}/redeliveries`).send(body);

const active = (of = app) => of.app.get(Endpoints).active();
const numberOf = (id: string) => Number(id.slice(2));

/** Waits until what the service knows of the endpoints that get events is like this. */
const becomes = (expected: readonly object[], of = app) =>
  eventually(() => {
    expect(active(of)).toMatchObject(expected);
    return Promise.resolve();
  }, 10_000);

/** Waits until the service knows exactly these endpoints as those that get events. */
const becomeActive = (ids: readonly string[], of = app) =>
  becomes(
    ids.map((id) => ({ webhookId: numberOf(id) })),
    of,
  );

describe('POST /webhooks', () => {
  it('makes an endpoint, shows its secret once, and gives it events from then on', async () => {
    const { id: transaction } = receiptIn(await post(app, await openAccount(app), deposit('1')));
    await placeOf(transaction);
    const response = await create({ ...WANTED, description: 'Bookkeeping' }).expect(201);
    const { id, secret } = bodyOf(response);
    const [, createdAt] = /"createdAt":"([^"]+)"/.exec(response.text) ?? [];
    const shown =
      `"id":"${id}","url":"${URL_ELSEWHERE}","eventTypes":["transaction.posted","hold.expired"],` +
      `"status":"enabled","createdAt":"${createdAt}","description":"Bookkeeping"}`;
    expect(response.text).toBe(`{"secret":"${secret}",${shown}`);
    expect(response.headers).toMatchObject({ location: `/webhooks/${id}`, 'cache-control': 'no-store' });
    expect((await get(`/${id}`).expect(200)).text).toBe(`{${shown}`);
    expect((await get('').expect(200)).text).toBe(`{"data":[{${shown}],"nextCursor":null}`);
    await becomeActive([id]);
    expect(active()).toMatchObject([{ url: URL_ELSEWHERE, secrets: [secret], owner: undefined }]);
    const [cursor] = await cursorsOf(id);
    expect(cursor).toEqual({ position: await endOfLog(), state: null, requested: [] });
  });

  it.each([
    ['url', { url: 'http://receiver.invalid/events' }],
    ['url', { url: 'https://user:word@receiver.invalid/' }],
    ['url', { url: 'https://receiver.invalid/#part' }],
    ['url', { url: `https://receiver.invalid/${'x'.repeat(2_048)}` }],
    ['url', { url: 'ftp://receiver.invalid/' }],
    ['url', { url: 'receiver.invalid' }],
    ['url', { url: ' https://receiver.invalid/' }],
    ['url', { url: 'https://receiver.invalid/\n' }],
    ['url', { url: 7 }],
    ...[
      ...[
        '127.0.0.1',
        '127.1',
        '0x7f.1',
        '2130706433',
        '10.1.2.3',
        '192.168.0.1',
        '169.254.169.254',
        '0.0.0.0',
      ],
      ...['[::1]', '[::ffff:10.0.0.1]', '[fd00::1]', '[fe80::1]', '100.64.0.1', '224.0.0.1', '192.0.2.1'],
      ...['localhost', 'LOCALHOST', 'localhost.', 'bank.localhost'],
    ].map((host) => ['url', { url: `https://${host}/` }] as const),
    ['eventTypes', { eventTypes: [] }],
    ['eventTypes', { eventTypes: ['transaction.posted.v1'] }],
    ['eventTypes', { eventTypes: ['hold.placed', 'hold.placed'] }],
    ['eventTypes', { eventTypes: 'hold.placed' }],
    ['eventTypes', { eventTypes: undefined }],
    ['description', { description: 'a\nb' }],
    ['owner', { owner: '' }],
    ['secret', { secret: 'whsec_x' }],
  ])('refuses a wrong %s: %j', async (field, wrong) => {
    const response = await create({ ...WANTED, ...wrong });
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual([field]);
    expect((await get('')).text).toBe('{"data":[],"nextCursor":null}');
  });

  it('takes addresses of this machine and plain HTTP only where that is allowed', async () => {
    const here = { ...WANTED, url: 'http://127.0.0.1:8080/events' };
    expect(fieldsIn(await create(here))).toEqual(['url']);
    const local = await startInstance(app.databaseUrl, {
      ...{ WEBHOOK_KEYS, WEBHOOK_PRIVATE_ADDRESSES: 'on' },
    });
    try {
      const { id } = await created(here, {}, local);
      // To change something else takes no new look at it.
      await change(id, { description: 'x' }).expect(200);
      expect(fieldsIn(await change(id, { url: here.url }))).toEqual(['url']);
    } finally {
      await local.close();
    }
  });

  it('needs a key to encrypt secrets with; everything else goes on without', async () => {
    const { id, secret } = await created();
    const without = await startInstance(app.databaseUrl);
    try {
      const refused = await create(WANTED, {}, without).expect(503);
      expect(refused.text).toBe('{"error":"Webhooks not configured"}');
      expect(refused.headers['x-error-code']).toBe('WEBHOOKS_NOT_CONFIGURED');
      const shown = await without.http.get(`/webhooks/${id}`).expect(200);
      expect(bodyOf(shown).status).toBe('secret_unreadable');
      await without.http.get('/health/ready').expect(200);
      await becomeActive([], without);
    } finally {
      await without.close();
    }
    const other = await startInstance(app.databaseUrl, { WEBHOOK_KEYS: randomBytes(32).toString('base64') });
    try {
      const rotated = bodyOf(await other.http.post(`/webhooks/${id}/secret`).expect(200));
      await becomeActive([id], other);
      expect(rotated).toMatchObject({ status: 'enabled' });
      expect(active(other)).toMatchObject([{ secrets: [rotated.secret] }]);
      expect(rotated.secret).not.toBe(secret);
    } finally {
      await other.close();
    }
  });

  it('makes ten for an owner and a hundred for the bank, also at the same moment', async () => {
    const ofAda = await Promise.all(Array.from({ length: 12 }, () => create({ ...WANTED, owner: 'ada' })));
    expect(ofAda.map(({ status }) => status).sort()).toEqual([...Array<number>(10).fill(201), 422, 422]);
    await query(
      app.databaseUrl,
      `INSERT INTO bank.webhooks (url, event_types, secret)
       SELECT '${URL_ELSEWHERE}', '{*}', '' FROM generate_series(1, 89)`,
    );
    await created();
    const refused = await create().expect(422);
    expect(refused.text).toBe('{"error":"Too many webhooks"}');
    expect(refused.headers['x-error-code']).toBe('TOO_MANY_WEBHOOKS');
  });
});

describe('its secret', () => {
  it('is in no table, and neither is the key', async () => {
    const { secret } = await created();
    const bytes = Buffer.from(secret.slice('whsec_'.length), 'base64');
    const tables = await query<{ name: string }>(
      app.databaseUrl,
      `SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
       WHERE table_schema = 'bank'`,
    );
    const texts = await Promise.all(
      tables.map(({ name }) =>
        query<{ row: string }>(app.databaseUrl, `SELECT t::text AS row FROM ${name} t`),
      ),
    );
    const everything = texts
      .flat()
      .map(({ row }) => row)
      .join('\n');
    expect(everything).toContain(URL_ELSEWHERE);
    for (const hidden of [bytes, Buffer.from(secret), Buffer.from(WEBHOOK_KEYS, 'base64')]) {
      for (const encoding of ['base64', 'hex', 'utf8'] as const)
        expect(everything.includes(hidden.toString(encoding))).toBe(false);
    }
  });

  it('is replaced, and both sign until the former one ends', async () => {
    const { id, secret } = await created();
    const first = bodyOf(await rotate(id).expect(200));
    expect(Date.parse(first.formerSecretEndsAt ?? '') - Date.now()).toBeGreaterThan(23.9 * 3_600_000);
    await becomes([{ secrets: [first.secret, secret] }]);
    expect((await get(`/${id}`)).text).not.toContain('whsec_');
    const second = bodyOf(await rotate(id, { overlapHours: 0 }).expect(200));
    expect(second.formerSecretEndsAt).toBeUndefined();
    await becomes([{ secrets: [second.secret] }]);
    const third = bodyOf(await rotate(id, { overlapHours: '168' }).expect(200));
    await query(app.databaseUrl, `UPDATE bank.webhooks SET former_secret_ends = now()`);
    await becomes([{ secrets: [third.secret] }]);
    expect((await get(`/${id}`)).text).not.toContain('formerSecretEndsAt');
    for (const overlapHours of [169, -1, 1.5, 'x', true])
      expect(fieldsIn(await rotate(id, { overlapHours }))).toEqual(['overlapHours']);
  });
});

describe('PATCH and DELETE /webhooks/{webhookId}', () => {
  it('change what they name, and end it', async () => {
    const { id } = await created({ ...WANTED, description: 'x' });
    const moved = { url: 'https://receiver.invalid/v2', eventTypes: ['*'], description: null };
    const { description, ...rest } = moved;
    expect(description).toBeNull();
    const changed = bodyOf<object>(await change(id, moved).expect(200));
    expect(changed).toMatchObject(rest);
    expect(changed).not.toHaveProperty('description');
    await becomes([rest]);
    expect(fieldsIn(await change(id, {}))).toEqual(['body']);
    expect(fieldsIn(await change(id, { owner: 'bob' }))).toEqual(['owner']);
    expect((await app.http.delete(`/webhooks/${id}`).expect(204)).text).toBe('');
    for (const gone of [
      await app.http.delete(`/webhooks/${id}`),
      await get(`/${id}`),
      await change(id, moved),
      await rotate(id),
      await get(`/${id}/deliveries`),
      await get(`/${id}/deliveries/txn1`),
      await redeliver(id, { since: '2026-01-01' }),
    ]) {
      expect(gone.status).toBe(404);
      expect(gone.text).toBe('{"error":"Webhook not found"}');
      expect(gone.headers['x-error-code']).toBe('WEBHOOK_NOT_FOUND');
    }
    await becomeActive([]);
    expect(app.app.get(Endpoints).known()).toEqual(new Set());
  });

  it('switch it off and on again, as the service does with one that is gone', async () => {
    const { id } = await created();
    await becomeActive([id]);
    const off = bodyOf(await change(id, { status: 'Disabled' }).expect(200));
    expect(off).toMatchObject({ status: 'disabled', disabledBecause: 'request' });
    await becomeActive([]);
    expect(app.app.get(Endpoints).known()).toEqual(new Set([numberOf(id)]));
    expect(bodyOf(await change(id, { status: 'disabled' }))).toEqual(off);
    expect(bodyOf(await change(id, { status: 'enabled' }))).not.toHaveProperty('disabledAt');
    await becomeActive([id]);
    await app.app.get(Endpoints).disable(numberOf(id), WANTED.url, 'gone');
    expect(active()).toEqual([]);
    expect(bodyOf(await get(`/${id}`))).toMatchObject({ status: 'disabled', disabledBecause: 'gone' });
    // That it was asked to be off, too, does not hide why it is.
    expect(bodyOf(await change(id, { status: 'disabled' }))).toMatchObject({ disabledBecause: 'gone' });
    await remember(id, { failingSince: '2026-01-01T00:00:00.000Z', dropped: 3 });
    await change(id, { status: 'enabled' }).expect(200);
    expect(await cursorsOf(id)).toMatchObject([{ state: expect.not.stringContaining('failingSince') }]);
    expect((await get(`/${id}/deliveries`)).text).toBe('{"data":[],"dropped":3,"shardsDown":[]}');
  });

  it.each(['1', 'wh0', 'wh', 'wh01', 'WH1', 'hold1', 'wh1.0', 'wh%00'])('refuse the id %s', async (id) => {
    for (const response of [await get(`/${id}`), await app.http.delete(`/webhooks/${id}`)]) {
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual(['webhookId']);
    }
  });
});

describe('GET /webhooks', () => {
  it('has them in pages', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 5; n++) ids.push((await created()).id);
    const seen: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const response: Response = await get(`?limit=2${cursor && `&cursor=${cursor}`}`).expect(200);
      const page = bodyOf<{ data: Shown[]; nextCursor: string | null }>(response);
      expect(page.data.length).toBeLessThanOrEqual(2);
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.nextCursor;
    }
    expect(seen).toEqual(ids);
    expect(fieldsIn(await get('?cursor=x'))).toEqual(['cursor']);
    expect(fieldsIn(await get('?limit=0'))).toEqual(['limit']);
  });
});

describe('while the first shard is down', () => {
  it.each([
    ['for as long as API keys are believed', 900_000, 1],
    ['not at all, where these are not', 0, 0],
  ])('endpoints are known %s', async (_, keysStaleMs, expected) => {
    const database = await createTestDatabase('webhooks');
    const overrides = { ...NOTHING_SENT, auth: { keysStaleMs } };
    const lost = await startInstance(database.url, { WEBHOOK_KEYS }, overrides);
    try {
      const { id, secret } = await created(WANTED, {}, lost);
      await becomeActive([id], lost);
      await database.drop();
      const endpoints = lost.app.get(Endpoints);
      await eventually(() => {
        expect(endpoints.known()).toBeUndefined();
        expect(active(lost)).toHaveLength(expected);
        return Promise.resolve();
      }, 15_000);
      expect(active(lost).flatMap(({ secrets }) => secrets)).toEqual(expected ? [secret] : []);
    } finally {
      await lost.close();
      await database.drop();
    }
  });
});

describe('the endpoints of an owner', () => {
  let guarded: TestApp;
  let wallet: Wallet;
  beforeAll(async () => {
    wallet = Wallet.of(app.databaseUrl);
    guarded = await startInstance(app.databaseUrl, { ...wallet.settings, WEBHOOK_KEYS });
  });
  afterAll(() => guarded.close());
  const as = (credential: string) => bearer(credential);

  it('are of their accounts, and nobody else sees them', async () => {
    const [ada, bob, bank] = [
      await wallet.key({ owner: 'ada' }),
      await wallet.key({ owner: 'bob' }),
      await wallet.key(),
    ].map(as) as [Headers, Headers, Headers];
    const { id } = await created(WANTED, ada, guarded);
    const ofBob = await created({ ...WANTED, owner: 'bob' }, bank, guarded);
    expect(fieldsIn(await create({ ...WANTED, owner: 'ada' }, bob, guarded))).toEqual(['owner']);
    const mine = bodyOf<{ data: Shown[] }>(await guarded.http.get('/webhooks').set(ada));
    expect(mine.data).toMatchObject([{ id, owner: 'ada' }]);
    const everybody = bodyOf<{ data: Shown[] }>(await guarded.http.get('/webhooks').set(bank));
    expect(everybody.data).toMatchObject([{ owner: 'ada' }, { owner: 'bob' }]);
    await becomeActive([id, ofBob.id], guarded);
    expect(active(guarded)).toMatchObject([{ owner: 'ada' }, { owner: 'bob' }]);
    const paths = ['', '/deliveries', '/deliveries/txn1'];
    const [theirs, nobodys] = [ofBob.id, 'wh900001'].map((target) => [
      ...paths.map((path) => guarded.http.get(`/webhooks/${target}${path}`)),
      guarded.http.patch(`/webhooks/${target}`).send({ status: 'disabled' }),
      guarded.http.delete(`/webhooks/${target}`),
      guarded.http.post(`/webhooks/${target}/secret`),
      guarded.http.post(`/webhooks/${target}/redeliveries`).send({ since: '2026-01-01' }),
    ]) as [Test[], Test[]];
    for (const [index, request] of theirs.entries()) {
      const [their, nobody] = [await request.set(ada), await nobodys[index]?.set(ada)];
      expect(their.status).toBe(404);
      expect(their.text).toBe(nobody?.text);
    }
    expect(bodyOf(await guarded.http.get(`/webhooks/${ofBob.id}`).set(bob))).toMatchObject({
      status: 'enabled',
    });
  });

  it('end with the key that made them, and go on with one that takes them over', async () => {
    const shards = [{ url: app.databaseUrl, schema: 'bank' }];
    const scopes = ['webhooks:write'] as const;
    const { key, keyId } = await makeKey(app, { owner: 'ada', scopes: [...scopes] });
    const { id } = await created(WANTED, as(key), guarded);
    await becomeActive([id], guarded);
    await revokeKey(shards, keyId);
    await becomeActive([], guarded);
    const next = await makeKey(app, { owner: 'ada', scopes: [...scopes] });
    const path = `/webhooks/${id}`;
    expect(bodyOf(await guarded.http.get(path).set(as(next.key))).status).toBe('key_ended');
    const taken = await guarded.http.patch(path).set(as(next.key)).send({ status: 'enabled' });
    expect(bodyOf(taken)).toMatchObject({ status: 'enabled', owner: 'ada' });
    await becomeActive([id], guarded);
    // The bank's own key takes nothing over.
    await guarded.http
      .patch(path)
      .set(as(await wallet.key()))
      .send({ status: 'enabled' })
      .expect(200);
    await query(app.databaseUrl, `UPDATE bank.api_keys SET expires_at = now() WHERE key_id = $1`, [
      next.keyId,
    ]);
    await becomeActive([], guarded);
  });
});

describe('deliveries', () => {
  let id: string;
  let accountId: number;

  beforeEach(async () => {
    accountId = await openAccount(app);
    ({ id } = await created());
  });

  const failing = (last: Attempt, givenUp: boolean) => ({
    ...{ position: last.position, index: last.index, accountId: last.accountId },
    ...{ last, givenUp, firstFailedAt: '2026-05-01T11:59:00.000Z', nextAt: '2026-05-01T12:01:00.000Z' },
    waiting: [[9, 1] as [number, number]],
  });
  const OF_HOLD = { eventId: 'hold132/6', type: 'hold.captured.v1' as const };

  it('are listed, each event once, the last attempt first', async () => {
    const refused = { status: 503, answer: 'down "again"' };
    await remember(id, {
      failures: [
        failing(attempt({ ...OF_HOLD, ...refused, number: 2, startedAt: '2026-05-01T12:00:05.000Z' }), false),
        failing(
          attempt({ eventId: 'tr7', type: 'transfer.completed.v1', status: undefined, answer: 'no answer' }),
          true,
        ),
      ],
      recent: [
        attempt({ ...OF_HOLD, ...refused, number: 2, startedAt: '2026-05-01T12:00:05.000Z' }),
        attempt({ ...OF_HOLD, ...refused, startedAt: '2026-05-01T12:00:01.000Z' }),
        attempt({ eventId: 'txn9', ...refused, startedAt: '2026-05-01T11:00:00.000Z' }),
        attempt({ startedAt: '2026-05-01T10:00:00.000Z' }),
      ],
      failingSince: '2026-05-01T12:00:00.000Z',
    });
    const listed = async (filter = '') => {
      const response = await get(`/${id}/deliveries${filter}`).expect(200);
      const { data } = bodyOf<{ data: { eventId: string; status: string }[] }>(response);
      return data.map(({ eventId, status }) => `${eventId} ${status}`);
    };
    const all = ['hold132/6 retrying', 'tr7 given_up', 'txn9 dropped', 'txn1 accepted'];
    expect(await listed()).toEqual(all);
    for (const each of all) expect(await listed(`?status=${each.split(' ')[1]}`)).toEqual([each]);
    expect(fieldsIn(await get(`/${id}/deliveries?status=gone`))).toEqual(['status']);
    const inspected = await get(`/${id}/deliveries/hold132%2F6`).expect(200);
    const attempts =
      '[{"number":2,"startedAt":"2026-05-01T12:00:05.000Z","durationMs":12,"httpStatus":503,"answer":"down \\"again\\""},' +
      '{"number":1,"startedAt":"2026-05-01T12:00:01.000Z","durationMs":12,"httpStatus":503,"answer":"down \\"again\\""}]';
    expect(inspected.text).toContain(`"attempts":${attempts}`);
    expect(inspected.text).toContain(
      '"firstFailedAt":"2026-05-01T11:59:00.000Z","nextAttemptAt":"2026-05-01T12:01:00.000Z","waiting":1',
    );
    // No such row is in the log.
    expect(inspected.text).not.toContain('"request"');
    expect((await get(`/${id}/deliveries`)).text).toContain('"failingSince":"2026-05-01T12:00:00.000Z"');
  });

  it('show the request as it was sent, which verifies with the secret', async () => {
    const { secret } = bodyOf(await rotate(id).expect(200));
    const { id: eventId } = receiptIn(await post(app, accountId, deposit('7.25')));
    const place = { eventId, position: await placeOf(eventId) };
    const startedAt = new Date().toISOString();
    await remember(id, { recent: [attempt({ ...place, accountId, startedAt })] });
    const { request } = bodyOf<{ request: { url: string; headers: Headers; body: string } }>(
      await get(`/${id}/deliveries/${place.eventId}`).expect(200),
    );
    expect(request.url).toBe(URL_ELSEWHERE);
    expect(JSON.parse(request.body)).toMatchObject({
      id: place.eventId,
      data: { amount: '7.25', accountId },
    });
    expect(request.headers['webhook-id']).toBe(place.eventId);
    expect(request.headers['webhook-signature']).toMatch(/^v1,\S{44} v1,\S{44}$/);
    expect(new Webhook(secret).verify(request.body, request.headers)).toMatchObject({ id: place.eventId });
  });

  it('are made again, one or all since a time', async () => {
    await remember(id, { recent: [attempt({ ...OF_HOLD, position: 12, index: 3 })] });
    const again = await redeliver(id, { eventId: 'hold132/6' }).expect(202);
    expect(again.text).toBe('{"shardsDown":[],"eventId":"hold132/6"}');
    await redeliver(id, { eventId: 'hold132/6' }).expect(202);
    expect(await cursorsOf(id)).toMatchObject([{ requested: ['12.3'] }]);
    const unknown = await redeliver(id, { eventId: 'txn5' }).expect(404);
    expect(unknown.text).toBe('{"error":"Delivery not found"}');
    expect(unknown.headers['x-error-code']).toBe('DELIVERY_NOT_FOUND');
    await query(
      app.databaseUrl,
      `UPDATE bank.event_cursors SET requested = array_fill('1.1'::text, '{1000}') WHERE receiver LIKE 'webhook:%'`,
    );
    const full = await redeliver(id, { eventId: 'hold132/6' }).expect(422);
    expect(full.text).toBe('{"error":"Too many redeliveries"}');
    expect(full.headers['x-error-code']).toBe('TOO_MANY_REDELIVERIES');
    const [before] = await cursorsOf(id);
    expect(before?.position).toBeGreaterThan(0);
    const since = await redeliver(id, { since: '2020-01-01' }).expect(202);
    expect(since.text).toBe('{"shardsDown":[],"since":"2020-01-01T00:00:00.000Z"}');
    const [after] = await cursorsOf(id);
    expect(after?.position).toBeLessThan(before?.position ?? 0);
    await redeliver(id, { since: new Date().toISOString() }).expect(202);
    expect(await cursorsOf(id)).toMatchObject([{ position: after?.position }]);
    for (const [field, body] of [
      ['body', {}],
      ['body', { eventId: 'txn1', since: '2020-01-01' }],
      ['eventId', { eventId: 'txn' }],
      ['since', { since: 'yesterday' }],
    ] as const)
      expect(fieldsIn(await redeliver(id, body))).toEqual([field]);
  });

  it.each(['txn', '1', 'hold132%2F0', 'hold132%2F6%2F1', 'txn1%00', '%2F1'])(
    'have no event %s',
    async (eventId) => {
      expect(fieldsIn(await get(`/${id}/deliveries/${eventId}`))).toEqual(['eventId']);
    },
  );
});

type Test = ReturnType<TestApp['http']['get']>;

interface Cursor {
  readonly position: number;
  readonly state: string | null;
  readonly requested: readonly string[];
}

/** What the only shard keeps for an endpoint. */
function cursorsOf(id: string): Promise<Cursor[]> {
  return query<Cursor>(
    app.databaseUrl,
    `SELECT position::int, state, requested FROM bank.event_cursors WHERE receiver = $1`,
    [`webhook:${numberOf(id)}`],
  );
}

async function endOfLog(): Promise<number> {
  const sql = `SELECT position::int FROM bank.event_cursors WHERE receiver = 'log'`;
  const [row] = await query<{ position: number }>(app.databaseUrl, sql);
  return row?.position ?? 0;
}

/** Waits until a transaction's event is in the log, and tells where. */
async function placeOf(eventId: string): Promise<number> {
  const sql = `SELECT position::int FROM bank.event_log WHERE $1 = ANY (transaction_ids)`;
  let rows: { position: number }[] = [];
  await eventually(async () => {
    rows = await query(app.databaseUrl, sql, [eventId.slice('txn'.length)]);
    expect(rows).toHaveLength(1);
  }, 10_000);
  return rows[0]?.position ?? 0;
}

const remember = (id: string, state: Partial<DeliveryState>) => rememberState(app.databaseUrl, id, state);
