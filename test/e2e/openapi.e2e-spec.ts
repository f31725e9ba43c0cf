import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '@scalable-banking/embedded-postgres';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { capture, change, placed, placeHold, voidHold } from '../support/holds.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { OpenApiContract, type Answer } from '../../tools/fuzz/contract.js';
import { bearer, makeKey } from '../support/credentials.js';
import { EventStreamClient } from '../support/event-stream.js';
import { createTestDatabase, query } from '../support/postgres.js';
import { openWithHistory } from '../support/history.js';
import { routesOf } from '../support/routes.js';
import { NDJSON_TYPE, postBatch, statusesIn } from './batches.js';
import { idOfSubmission } from '../support/submissions.js';
import { attempt, NOTHING_SENT, rememberDelivery, rememberState, WEBHOOK_KEYS } from '../support/webhooks.js';
import { eventually, sendRaw, TEXT_MONEY } from '../support/requests.js';

interface ErrorBody {
  readonly error: string;
  readonly details?: readonly { readonly field: string; readonly message: string }[];
}

const NOBODY = 999_999_999;
const contract = new OpenApiContract();

/** Every answer that a test has seen, as `operation status`, and its media type where money is text. */
const seen = new Set<string>();

/** Fails unless the answer has the status, and is as the document describes it. */
function expectDocumented(operationId: string, status: number, answer: Answer): void {
  expect({ operationId, status: answer.status, text: answer.text }).toMatchObject({ operationId, status });
  expect({ operationId, status, problems: contract.answerProblems(operationId, answer) }).toEqual({
    operationId,
    status,
    problems: [],
  });
  if (status >= 400 && operationId !== 'getReadiness') {
    const examples = contract.examples(operationId, status) as ErrorBody[];
    const body = JSON.parse(answer.text) as ErrorBody;
    const example = examples.find(({ error }) => error === body.error);
    expect(example).toBeDefined();
    for (const { field, message } of example?.details ?? []) {
      const same = body.details?.find((problem) => problem.field === field);
      if (same) expect(same.message).toBe(message);
    }
  }
  const [, textMoney = ''] = /^([^;]+; money=string)/.exec(answer.headers['content-type'] ?? '') ?? [];
  seen.add(`${operationId} ${status} ${textMoney}`.trimEnd());
}

/** The components that a definition refers to, directly or through others. */
function referredTo(definition: unknown, found = new Set<string>()): Set<string> {
  for (const [, name = ''] of JSON.stringify(definition).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
    if (found.has(name)) continue;
    found.add(name);
    referredTo(contract.document.components.schemas[name], found);
  }
  return found;
}

describe('openapi.json', () => {
  let app: TestApp;
  let accountId: number;
  const post = (id: number, body: object, headers: Record<string, string> = {}) =>
    app.http.post(`/accounts/${id}/transactions`).set(headers).send(body);

  beforeAll(async () => {
    app = await startApp({ WEBHOOK_KEYS }, NOTHING_SENT);
    accountId = await openAccount(app, '1000.00');
  });
  afterAll(() => app.close());

  it('is the document that the service serves', async () => {
    const served = await app.http
      .get('/openapi.json')
      .expect(200)
      .expect('content-type', /^application\/json/);
    expect(JSON.parse(served.text)).toEqual(contract.document);
  });

  it('has the version of the package', () => {
    const text = readFileSync(join(process.cwd(), 'package.json'), 'utf8');
    expect(contract.document.info.version).toBe((JSON.parse(text) as { version: string }).version);
  });

  it('has each type that a client generates as a schema of its own, titled with its name', () => {
    const unnamed: string[] = [];
    const look = (path: string, node: unknown): void => {
      if (typeof node !== 'object' || node === null) return;
      if ('properties' in node && !('title' in node)) unnamed.push(path);
      for (const [key, value] of Object.entries(node)) look(`${path}/${key}`, value);
    };
    look('#', contract.document);
    expect(unnamed).toEqual([]);
    for (const [name, { title }] of Object.entries(contract.document.components.schemas)) {
      expect(title).toBe(name);
    }
  });

  it('tells the body of any error last of several, since a client takes the first that fits', () => {
    const found: string[][] = [];
    const look = (node: unknown): void => {
      if (typeof node !== 'object' || node === null) return;
      if ('anyOf' in node) found.push((node.anyOf as { $ref: string }[]).map(({ $ref }) => $ref));
      Object.values(node).forEach(look);
    };
    look(contract.document);
    const anyError = '#/components/schemas/ErrorBody';
    const withAnyError = found.filter((references) => references.includes(anyError));
    expect(withAnyError).not.toHaveLength(0);
    for (const references of withAnyError) expect(references.at(-1)).toBe(anyError);
  });

  it('makes no field of a request one that has a default: generated types would require it', () => {
    const inRequests = new Set(
      contract.routes.flatMap(({ operation: { requestBody } }) => [...referredTo(requestBody ?? {})]),
    );
    expect(inRequests).toContain('BatchWithMode');
    for (const name of inRequests) {
      expect(JSON.stringify(contract.document.components.schemas[name])).not.toContain('"default"');
    }
  });

  it('describes exactly the routes of the application', async () => {
    const routes = await routesOf(app.databaseUrl);
    const documented = Object.entries(contract.document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(documented.sort()).toEqual(routes.sort());
  });

  it('describes all answers with money in both forms', () => {
    const { schemas } = contract.document.components;
    const withMoney = Object.keys(schemas).filter((name) => referredTo(schemas[name]).has('Money'));
    expect(withMoney).toContain('BatchResults');
    for (const name of withMoney) {
      const twin = schemas[`${name}WithTextMoney`];
      expect([name, [...referredTo(twin ?? {})]]).toEqual([name, expect.arrayContaining(['TextMoney'])]);
      expect([name, [...referredTo(twin ?? {})]]).toEqual([name, expect.not.arrayContaining(['Money'])]);
    }
    const successes = contract.routes.map(({ operation: { responses } }) =>
      contract.follow(responses[200] ?? responses[201] ?? {}),
    );
    for (const { content = {} } of successes) {
      const usual = content['application/json'];
      if (!usual || !referredTo(usual.schema).has('Money')) continue;
      const schemas = usual.schema.anyOf ?? [usual.schema];
      const inText = content['application/json; money=string']?.schema;
      expect(inText?.anyOf ?? [inText]).toEqual(
        schemas.map(({ $ref }) => ({ $ref: `${$ref}WithTextMoney` })),
      );
    }
  });

  /** Makes a transfer of 1.00 from the first account to a new one; its id. */
  async function makeTransfer(): Promise<string> {
    const body = { from: accountId, to: await openAccount(app), amount: '1.00' };
    return (JSON.parse((await app.http.post('/transfers').send(body)).text) as { id: string }).id;
  }

  async function makeWebhook(): Promise<string> {
    const body = { url: 'https://receiver.invalid/', eventTypes: ['*'] };
    const { id } = JSON.parse((await app.http.post('/webhooks').send(body)).text) as { id: string };
    await rememberDelivery(app.databaseUrl, id);
    return id;
  }

  async function makeTransaction(): Promise<string> {
    const posted = await post(accountId, { amount: '1.00', type: 'Deposit' });
    return (JSON.parse(posted.text) as { id: string }).id;
  }

  describe('request bodies', () => {
    /** Where the examples of some operations are sent. */
    const ELSEWHERE: Readonly<Record<string, () => Promise<string>>> = {
      reverseTransaction: async () => `/transactions/${await makeTransaction()}/reversal`,
      reverseTransfer: async () => `/transfers/${await makeTransfer()}/reversal`,
      // To accounts 2 and 3.
      postTransfer: async () => {
        while ((await openAccount(app)) < 3);
        return '/transfers';
      },
    };
    /** How the examples of holds, of changes of accounts and of webhooks are sent. */
    const OF_HOLDS: Readonly<Record<string, (body: object) => Promise<Answer>>> = {
      placeHold: (body) => placeHold(app, accountId, body),
      captureHold: async (body) => {
        while ((await openAccount(app)) < 2);
        return capture(app, await placed(app, accountId, '50.00'), body);
      },
      voidHold: async (body) => voidHold(app, await placed(app, accountId, '1.00'), body),
      changeAccount: async (body) => change(app, await openAccount(app), body),
      createWebhook: (body) => app.http.post('/webhooks').send(body),
      changeWebhook: async (body) => app.http.patch(`/webhooks/${await makeWebhook()}`).send(body),
      rotateWebhookSecret: async (body) =>
        app.http.post(`/webhooks/${await makeWebhook()}/secret`).send(body),
      redeliver: async (body) => {
        const id = await makeWebhook();
        await rememberState(app.databaseUrl, id, { recent: [attempt({ eventId: 'hold132/6' })] });
        return app.http.post(`/webhooks/${id}/redeliveries`).send(body);
      },
    };
    const examples = [...contract.operations.values()].flatMap(({ operationId, requestBody }) =>
      Object.entries(requestBody?.content['application/json']?.examples ?? {}).map(([name, { value }]) => ({
        operationId,
        name,
        body: value as { expectedversion?: number; expectedVersion?: string },
      })),
    );

    it.each(examples)(
      'the service accepts the example $name of $operationId',
      async ({ operationId, body }) => {
        expect(contract.requestProblems(operationId, body)).toEqual([]);
        if (operationId === 'openAccount') {
          expectDocumented(operationId, 201, await app.http.post('/accounts').send(body));
          return;
        }
        if (operationId === 'postBatch') {
          expectDocumented(operationId, 200, await postBatch(app, JSON.stringify(body)));
          return;
        }
        const sendOwn = OF_HOLDS[operationId];
        if (sendOwn) {
          const answer = await sendOwn(body);
          expectDocumented(operationId, answer.status, answer);
          expect(answer.status).toBeLessThan(300);
          return;
        }
        if (operationId in ELSEWHERE) {
          const path = await ELSEWHERE[operationId]?.();
          expectDocumented(operationId, 201, await app.http.post(path ?? '').send(body));
          return;
        }
        const id = await openAccount(app, '1000.00');
        for (
          let version = 2;
          version < Number(body.expectedversion ?? body.expectedVersion ?? 2);
          version++
        ) {
          await post(id, { amount: '0.01', type: 'Deposit' }).expect(201);
        }
        expectDocumented(operationId, 201, await post(id, body));
      },
    );

    it.each([
      [{ 'moneyWithdraw/Deposit': '9999999999.99', typeOfTransaction: 'Credit' }],
      [{ amount: 0.07, type: 'Debit' }],
      [{ 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit', expectedversion: null }],
      [{ amount: 49, type: 'Deposit', expectedVersion: null }],
    ])('document and service both accept %j', async (body) => {
      expect(contract.requestProblems('postTransaction', body)).toEqual([]);
      await post(accountId, body).expect(201);
    });

    it.each([
      [{}],
      [{ 'moneyWithdraw/Deposit': 49 }],
      [{ typeOfTransaction: 'Deposit' }],
      [{ 'moneyWithdraw/Deposit': 0, typeOfTransaction: 'Deposit' }],
      [{ 'moneyWithdraw/Deposit': -1, typeOfTransaction: 'Deposit' }],
      [{ 'moneyWithdraw/Deposit': '1e2', typeOfTransaction: 'Deposit' }],
      [{ 'moneyWithdraw/Deposit': '0', typeOfTransaction: 'Deposit' }],
      [{ 'moneyWithdraw/Deposit': '0.00', typeOfTransaction: 'Deposit' }],
      [{ 'moneyWithdraw/Deposit': '0.00001', typeOfTransaction: 'Deposit' }],
      [{ 'moneyWithdraw/Deposit': true, typeOfTransaction: 'Deposit' }],
      [{ 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Transfer' }],
      [{ 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit', expectedversion: 0 }],
      [{ 'moneyWithdraw/Deposit': null, typeOfTransaction: 'Deposit' }],
      [{ 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit', note: 'gift' }],
      [{ 'moneyWithdraw/Deposit': 49, amount: 49, typeOfTransaction: 'Deposit' }],
    ])('document and service both reject %j', async (body) => {
      expect(contract.requestProblems('postTransaction', body)).not.toEqual([]);
      expectDocumented('postTransaction', 400, await post(accountId, body));
    });

    it.each([
      [{ openingDeposit: null }],
      [{ openingDeposit: 0 }],
      [{ owner: '' }],
      [{ owner: 7 }],
      [{ balance: 5 }],
    ])('document and service both reject the opening %j', async (body) => {
      expect(contract.requestProblems('openAccount', body)).not.toEqual([]);
      expectDocumented('openAccount', 400, await app.http.post('/accounts').send(body));
    });
  });

  describe('answers', () => {
    const get = (path: string, headers: Record<string, string> = {}) => app.http.get(path).set(headers);
    const deposit = { 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit' };

    it('of reading accounts', async () => {
      const id = await openAccount(app, '350.00');
      expectDocumented('getBalance', 200, await get(`/accounts/${id}/balance`));
      expectDocumented('getBalance', 304, await get(`/accounts/${id}/balance`, { 'if-none-match': '"2"' }));
      expectDocumented('getAccount', 304, await get(`/accounts/${id}`, { 'if-none-match': '"2.0"' }));
      expectDocumented('getBalance', 400, await get('/accounts/x/balance'));
      expectDocumented('getBalance', 404, await get(`/accounts/${NOBODY}/balance`));
      expectDocumented('getAccountProof', 200, await get(`/accounts/${id}/proof?fromVersion=1`));
      expectDocumented('getAccountProof', 400, await get('/accounts/x/proof'));
      expectDocumented('getAccountProof', 404, await get(`/accounts/${NOBODY}/proof`));
      expectDocumented('getAccountProof', 409, await get(`/accounts/${id}/proof?fromVersion=3`));
      expectDocumented('getBalance', 409, await get(`/accounts/${id}/balance?minVersion=3`));
      expectDocumented('getAccount', 200, await get(`/accounts/${id}`));
      expectDocumented('getAccount', 400, await get('/accounts/0'));
      expectDocumented('getAccount', 404, await get(`/accounts/${NOBODY}`));
      expectDocumented('listAccounts', 200, await get('/accounts?limit=1'));
      expectDocumented('listAccounts', 400, await get('/accounts?limit=0'));
    });

    it('of reading transactions', async () => {
      const { id } = JSON.parse((await post(accountId, deposit)).text) as { id: string };
      expectDocumented('getTransaction', 200, await get(`/transactions/${id}`));
      expectDocumented('getTransaction', 400, await get('/transactions/131'));
      expectDocumented('getTransaction', 404, await get(`/transactions/txn${NOBODY}`));
      expectDocumented('listTransactions', 200, await get(`/accounts/${accountId}/transactions?limit=1`));
      expectDocumented('listTransactions', 400, await get(`/accounts/${accountId}/transactions?type=gift`));
      expectDocumented('listTransactions', 404, await get(`/accounts/${NOBODY}/transactions`));
    });

    it('of the summary', async () => {
      const summary = (query = '', headers = {}) => get(`/ledger/summary${query}`, headers);
      await eventually(async () => expect((await summary()).status).toBe(200), 20_000);
      expectDocumented('getLedgerSummary', 200, await summary());
      expectDocumented('getLedgerSummary', 200, await summary('', TEXT_MONEY));
      expectDocumented('getLedgerSummary', 400, await summary('?at=2025-01-01'));
    });

    it('of live events', async () => {
      const limited = await startInstance(app.databaseUrl, {}, { events: { maxStreamsPerUser: 0 } });
      for (const [operationId, path, wrong] of [
        ['streamAccountEvents', `/accounts/${accountId}/events`, '0'],
        ['streamEvents', '/events', 'x'],
      ] as const) {
        const stream = await EventStreamClient.open(app.url + path);
        const { status, headers } = stream;
        expectDocumented(operationId, 200, { status, headers: headers as Record<string, string>, text: '' });
        stream.close();
        expectDocumented(operationId, 400, await get(path, { 'last-event-id': wrong }));
        expectDocumented(operationId, 429, await limited.http.get(path));
      }
      await limited.close();
      expectDocumented('streamAccountEvents', 404, await get(`/accounts/${NOBODY}/events`));
      expectDocumented('streamEvents', 410, await get('/events', { 'last-event-id': String(NOBODY) }));
    });

    it('of statements', async () => {
      const today = new Date().toISOString();
      const statement = (query: string, id = accountId, headers = {}) =>
        get(`/accounts/${id}/statement?${query}`, headers);
      await post(accountId, { ...deposit, description: 'Rent' });
      for (const format of ['json', 'csv', 'pdf', 'camt.053']) {
        const answer = await statement(`from=2025-01-01&to=${today}&format=${format}`);
        // A PDF is no text, so supertest keeps none.
        expectDocumented('getStatement', 200, { ...answer, text: format === 'pdf' ? '' : answer.text });
      }
      const inText = await statement(`from=2025-01-01&to=${today}`, accountId, TEXT_MONEY);
      expectDocumented('getStatement', 200, inText);
      expectDocumented('getStatement', 400, await statement('from=2025-06-01&to=2025-05-01'));
      expectDocumented('getStatement', 404, await statement('from=2025-05-01&to=2025-06-01', NOBODY));
      const client = new Client({ connectionString: app.databaseUrl });
      await client.connect();
      const long = await openWithHistory(client, 10_001);
      await client.end();
      const tooLong = await statement('from=2025-01-01&to=2026-01-01&format=pdf', long);
      expectDocumented('getStatement', 422, tooLong);
    });

    it('of opening accounts', async () => {
      const open = (body: object) =>
        app.http.post('/accounts').set('idempotency-key', 'an-opening').send(body);
      expectDocumented('openAccount', 201, await open({ openingDeposit: 1 }));
      expectDocumented('openAccount', 409, await open({ openingDeposit: 1 }));
      expectDocumented('openAccount', 422, await open({ openingDeposit: 2 }));
    });

    it('of posting', async () => {
      const id = await openAccount(app, '9999999999999999.00');
      const withdrawal = { amount: '9999999999999999.99', type: 'Withdraw' };
      const key = { 'idempotency-key': 'the-key' };
      expectDocumented('postTransaction', 404, await post(NOBODY, deposit));
      expectDocumented('postTransaction', 409, await post(id, { ...deposit, expectedversion: 7 }));
      expectDocumented('postTransaction', 412, await post(id, deposit, { 'if-match': '"7"' }));
      expectDocumented('postTransaction', 422, await post(id, deposit));
      expectDocumented('postTransaction', 422, await post(id, withdrawal));
      expectDocumented('postTransaction', 201, await post(id, { amount: '0.01', type: 'Deposit' }, key));
      expectDocumented('postTransaction', 409, await post(id, { amount: '0.01', type: 'Deposit' }, key));
      expectDocumented('postTransaction', 422, await post(id, { amount: '0.02', type: 'Deposit' }, key));
    });

    it('of submissions', async () => {
      const id = await openAccount(app);
      const submission = `/submissions/${await idOfSubmission(app.databaseUrl, id, 'submitted')}`;
      expect((await get(submission)).text).toContain('"status":"queued"');
      await post(id, { amount: 1, type: 'Deposit' }, { 'idempotency-key': 'submitted' });
      expect((await get(submission)).text).toContain('"status":"posted"');
      for (const headers of [{}, TEXT_MONEY])
        expectDocumented('getSubmission', 200, await get(submission, headers));
      expectDocumented('getSubmission', 400, await get(`/submissions/${'x'.repeat(1_001)}`));
      expectDocumented('getSubmission', 404, await get('/submissions/x.y'));
    });

    it('of dry runs', async () => {
      for (const headers of [{}, TEXT_MONEY]) {
        const dry = (path: string, body: object) =>
          app.http.post(`${path}?dryRun=true`).set(headers).send(body);
        const transfer = { from: accountId, to: await openAccount(app), amount: 1 };
        expectDocumented('postTransaction', 200, await dry(`/accounts/${accountId}/transactions`, deposit));
        expectDocumented('postTransfer', 200, await dry('/transfers', transfer));
        const transaction = await makeTransaction();
        expectDocumented('reverseTransaction', 200, await dry(`/transactions/${transaction}/reversal`, {}));
        expectDocumented(
          'reverseTransfer',
          200,
          await dry(`/transfers/${await makeTransfer()}/reversal`, {}),
        );
      }
    });

    it('of transfers and reversals', async () => {
      const send = (path: string, body: object, headers: Record<string, string> = {}) =>
        app.http.post(path).set(headers).send(body);
      const key = { 'idempotency-key': 'of-a-transfer' };
      const to = await openAccount(app);
      const transfer = { from: accountId, to, amount: 1, description: 'x', metadata: { a: [1, null] } };
      for (const [status, body, headers] of [
        [201, transfer, key],
        [201, transfer, TEXT_MONEY],
        [400, {}, {}],
        [404, { ...transfer, to: NOBODY }, {}],
        [409, transfer, key],
        [409, { ...transfer, expectedVersion: 1 }, {}],
        [422, { ...transfer, amount: 2 }, key],
        [422, { ...transfer, amount: '9999999999999999' }, {}],
      ] as const) {
        expectDocumented('postTransfer', status, await send('/transfers', body, headers));
      }
      const id = await makeTransfer();
      const back = `/transfers/${id}/reversal`;
      for (const [status, path, body, headers] of [
        [201, back, { amount: '0.20', effectiveDate: '2025-05-02' }, key],
        [201, back, { amount: '0.20' }, TEXT_MONEY],
        [409, back, { amount: '0.20', effectiveDate: '2025-05-02' }, key],
        [422, back, { amount: '0.30' }, key],
        [422, back, { amount: 1 }, {}],
        [400, '/transfers/131/reversal', {}, {}],
        [404, `/transfers/tr${NOBODY}/reversal`, {}, {}],
      ] as const) {
        expectDocumented('reverseTransfer', status, await send(path, body, headers));
      }
      const ofReversal = { 'idempotency-key': 'of-a-reversal' };
      const undo = `/transactions/${await makeTransaction()}/reversal`;
      for (const [status, path, body, headers] of [
        [201, undo, { amount: '0.20', reference: 'x' }, ofReversal],
        [201, undo, { amount: '0.20' }, TEXT_MONEY],
        [409, undo, { amount: '0.20', reference: 'x' }, ofReversal],
        [409, `/transactions/${id.replace('tr', 'txn')}/reversal`, {}, {}],
        [422, undo, { amount: '0.30' }, ofReversal],
        [422, undo, { amount: 1 }, {}],
        [400, '/transactions/131/reversal', {}, {}],
        [404, `/transactions/txn${NOBODY}/reversal`, {}, {}],
      ] as const) {
        expectDocumented('reverseTransaction', status, await send(path, body, headers));
      }
      for (const headers of [{}, TEXT_MONEY]) {
        expectDocumented('getTransfer', 200, await get(`/transfers/${id}`, headers));
        expectDocumented('listTransfers', 200, await get(`/accounts/${to}/transfers`, headers));
        expectDocumented('listTransactions', 200, await get(`/accounts/${to}/transactions`, headers));
      }
      expectDocumented('getTransfer', 400, await get('/transfers/131'));
      expectDocumented('getTransfer', 404, await get(`/transfers/tr${NOBODY}`));
      expectDocumented('listTransfers', 400, await get('/accounts/x/transfers'));
      expectDocumented('listTransfers', 404, await get(`/accounts/${NOBODY}/transfers`));
    });

    it.each([
      ['postTransfer', '/transfers'],
      ['reverseTransfer', '/transfers/tr1/reversal'],
      ['reverseTransaction', '/transactions/txn1/reversal'],
      ['openAccount', '/accounts'],
      ['postTransaction', '/accounts/1/transactions'],
      ['placeHold', '/accounts/1/holds'],
      ['captureHold', '/holds/hold1/capture'],
      ['voidHold', '/holds/hold1/void'],
      ['postBatch', '/transactions/batch', 9 * 1024 * 1024],
    ])('of %s to bodies that it does not read', async (operationId, path, tooLarge = 17_000) => {
      const large = { openingDeposit: '1'.repeat(tooLarge) };
      expectDocumented(operationId, 413, await app.http.post(path).send(large));
      expectDocumented(operationId, 415, await app.http.post(path).type('text/plain').send('{}'));
      expectDocumented(operationId, 400, await app.http.post(path).type('application/json').send('{'));
    });

    it('of holds', async () => {
      const key = { 'idempotency-key': 'of-a-hold' };
      const id = await openAccount(app, '100.00');
      const hold = {
        amount: 5,
        expiresInSeconds: 60,
        reference: 'x',
        metadata: { a: [] },
        effectiveDate: '2026-05-01',
      };
      for (const [status, account, body, headers, query] of [
        [200, id, hold, {}, '?dryRun=true'],
        [200, id, hold, TEXT_MONEY, '?dryRun=true'],
        [201, id, hold, key, ''],
        [201, id, hold, TEXT_MONEY, ''],
        [400, id, {}, {}, ''],
        [404, NOBODY, hold, {}, ''],
        [409, id, hold, key, ''],
        [409, id, { ...hold, expectedVersion: 1 }, {}, ''],
        [412, id, hold, { 'if-match': '"1"' }, ''],
        [422, id, { amount: 5000 }, {}, ''],
        [422, id, { amount: 6 }, key, ''],
      ] as const) {
        expectDocumented('placeHold', status, await placeHold(app, account, body, headers, query));
      }
      const holdId = await placed(app, id, '10.00');
      const to = await openAccount(app);
      const part = { amount: 1, final: false };
      for (const [status, of, body, headers, query] of [
        [200, holdId, part, {}, '?dryRun=true'],
        [200, holdId, { ...part, to }, TEXT_MONEY, '?dryRun=true'],
        [201, holdId, part, { 'idempotency-key': 'of-a-capture' }, ''],
        [201, holdId, part, TEXT_MONEY, ''],
        [201, holdId, { ...part, to }, {}, ''],
        [201, holdId, { ...part, to }, TEXT_MONEY, ''],
        [400, 'hold0', {}, {}, ''],
        [404, `hold${NOBODY}`, {}, {}, ''],
        [404, holdId, { to: NOBODY }, {}, ''],
        [409, holdId, part, { 'idempotency-key': 'of-a-capture' }, ''],
        [422, holdId, { amount: 50 }, {}, ''],
      ] as const) {
        expectDocumented('captureHold', status, await capture(app, of, body, headers, query));
      }
      for (const [status, of, headers] of [
        [400, 'hold0', {}],
        [404, `hold${NOBODY}`, {}],
        [200, holdId, TEXT_MONEY],
        [409, holdId, {}],
        [422, await placed(app, id, '1.00'), key],
      ] as const) {
        expectDocumented('voidHold', status, await voidHold(app, of, {}, headers));
      }
      for (const headers of [{}, TEXT_MONEY]) {
        expectDocumented('getHold', 200, await get(`/holds/${holdId}`, headers));
        expectDocumented('listHolds', 200, await get(`/accounts/${id}/holds`, headers));
      }
      expectDocumented('getHold', 400, await get('/holds/131'));
      expectDocumented('getHold', 404, await get(`/holds/hold${NOBODY}`));
      expectDocumented('listHolds', 400, await get(`/accounts/${id}/holds?status=gone`));
      expectDocumented('listHolds', 404, await get(`/accounts/${NOBODY}/holds`));
    });

    it('of changes of accounts', async () => {
      const id = await openAccount(app, '1.00');
      for (const [status, account, body, headers] of [
        [200, id, { overdraftLimit: 5, reference: 'x', metadata: { a: 1 } }, {}],
        [200, id, { status: 'open' }, TEXT_MONEY],
        [400, id, {}, {}],
        [404, NOBODY, { status: 'open' }, {}],
        [412, id, { status: 'open' }, { 'if-match': '"1.9"' }],
        [422, id, { status: 'closed' }, {}],
      ] as const) {
        expectDocumented('changeAccount', status, await change(app, account, body, headers));
      }
      const large = { reference: '1'.repeat(17_000) };
      expectDocumented('changeAccount', 413, await change(app, id, large));
      expectDocumented('changeAccount', 415, await change(app, id, '{}', { 'content-type': 'text/plain' }));
      expectDocumented('openAccount', 404, await app.http.post('/accounts').send({ near: NOBODY }));
    });

    it('of webhooks', async () => {
      const id = await makeWebhook();
      const webhook = `/webhooks/${id}`;
      const nowhere = `/webhooks/wh${NOBODY}`;
      const wanted = { url: 'https://receiver.invalid/', eventTypes: ['*'] };
      const create = (body: object) => app.http.post('/webhooks').send(body);
      expectDocumented('createWebhook', 201, await create(wanted));
      expectDocumented('createWebhook', 400, await create({}));
      expectDocumented('listWebhooks', 200, await get('/webhooks'));
      expectDocumented('listWebhooks', 400, await get('/webhooks?limit=0'));
      expectDocumented('getWebhook', 200, await get(webhook));
      expectDocumented('getWebhook', 400, await get('/webhooks/1'));
      expectDocumented('getWebhook', 404, await get(nowhere));
      expectDocumented('listDeliveries', 200, await get(`${webhook}/deliveries`));
      expectDocumented('listDeliveries', 400, await get(`${webhook}/deliveries?status=gone`));
      expectDocumented('listDeliveries', 404, await get(`${nowhere}/deliveries`));
      expectDocumented('getDelivery', 200, await get(`${webhook}/deliveries/txn1`));
      expectDocumented('getDelivery', 400, await get(`${webhook}/deliveries/txn`));
      expectDocumented('getDelivery', 404, await get(`${webhook}/deliveries/hold132%2F6`));
      const sent = [
        ['changeWebhook', '', { status: 'disabled' }, { url: 'x' }],
        ['rotateWebhookSecret', '/secret', { overlapHours: 1 }, { overlapHours: 169 }],
        ['redeliver', '/redeliveries', { eventId: 'txn1' }, {}],
      ] as const;
      for (const [operationId, path, good, bad] of sent) {
        const send = (to: string, body: object | string, type = 'application/json') =>
          app.http[path === '' ? 'patch' : 'post'](to + path)
            .type(type)
            .send(body);
        const right = operationId === 'redeliver' ? 202 : 200;
        expectDocumented(operationId, right, await send(webhook, good));
        expectDocumented(operationId, 400, await send(webhook, bad));
        expectDocumented(operationId, 404, await send(nowhere, good));
        expectDocumented(operationId, 413, await send(webhook, { url: 'x'.repeat(17_000) }));
        expectDocumented(operationId, 415, await send(webhook, '{}', 'text/plain'));
      }
      expectDocumented('createWebhook', 413, await create({ url: 'x'.repeat(17_000) }));
      expectDocumented('createWebhook', 415, await app.http.post('/webhooks').type('text/plain').send('{}'));
      const sql = `UPDATE bank.event_cursors SET requested = array_fill('1.1'::text, '{1000}') WHERE receiver = $1`;
      await query(app.databaseUrl, sql, [`webhook:${id.slice(2)}`]);
      const again = await app.http.post(`${webhook}/redeliveries`).send({ eventId: 'txn1' });
      expectDocumented('redeliver', 422, again);
      const ofAda = async () => create({ ...wanted, owner: 'ada' });
      while ((await ofAda()).status === 201);
      expectDocumented('createWebhook', 422, await ofAda());
      expectDocumented('deleteWebhook', 204, await app.http.delete(webhook));
      expectDocumented('deleteWebhook', 400, await app.http.delete('/webhooks/1'));
      expectDocumented('deleteWebhook', 404, await app.http.delete(webhook));
    });

    it('of posting batches', async () => {
      const id = await openAccount(app, '9999999999999999.00');
      const item = { accountId: id, amount: '0.01', type: 'Deposit', idempotencyKey: 'of-a-batch' };
      const each = await postBatch(app, [
        item,
        item,
        { ...item, amount: 1 },
        { ...item, accountId: NOBODY },
        { accountId: id, ...deposit, expectedversion: 9 },
        { accountId: id, ...deposit },
        {},
      ]);
      expect(statusesIn(each)).toEqual([201, 409, 422, 404, 409, 422, 400]);
      expectDocumented('postBatch', 200, each);
      const first = { accountId: id, ...deposit, 'moneyWithdraw/Deposit': '0.01' };
      const atomically = (second: object) => postBatch(app, [first, second], { query: '?atomic=true' });
      for (const [status, second] of [
        [200, first],
        [400, {}],
        [404, { ...first, accountId: NOBODY }],
        [409, item],
        [409, { ...first, expectedversion: 99 }],
        [413, { note: 'x'.repeat(17_000) }],
        [422, { accountId: id, ...deposit }],
      ] as const) {
        expectDocumented('postBatch', status, await atomically(second));
      }
      expectDocumented('postBatch', 400, await postBatch(app, []));
    });

    it('with money as text', async () => {
      const id = await openAccount(app, '350.00');
      const open = await app.http.post('/accounts').set(TEXT_MONEY).send({ openingDeposit: '1' });
      expectDocumented('openAccount', 201, open);
      const posted = await post(id, deposit, TEXT_MONEY);
      expectDocumented('postTransaction', 201, posted);
      expectDocumented('getBalance', 200, await get(`/accounts/${id}/balance`, TEXT_MONEY));
      expectDocumented('getAccount', 200, await get(`/accounts/${id}`, TEXT_MONEY));
      expectDocumented('listAccounts', 200, await get('/accounts?limit=2', TEXT_MONEY));
      expectDocumented('listTransactions', 200, await get(`/accounts/${id}/transactions`, TEXT_MONEY));
      expectDocumented('getTransaction', 200, await get(String(posted.headers.location), TEXT_MONEY));
      const items = [{ accountId: id, ...deposit }, {}];
      expectDocumented('postBatch', 200, await postBatch(app, items, { headers: TEXT_MONEY }));
      const lines = items.map((item) => JSON.stringify(item)).join('\n');
      const inLines = await postBatch(app, lines, { type: NDJSON_TYPE, headers: TEXT_MONEY });
      expectDocumented('postBatch', 200, inLines);
    });

    it('of health and metrics', async () => {
      expectDocumented('getLiveness', 200, await get('/health/live'));
      expectDocumented('getReadiness', 200, await get('/health/ready'));
      expectDocumented('getMetrics', 200, await get('/metrics'));
      const managed = await startInstance(app.databaseUrl, { MANAGEMENT_PORT: String(await freePort()) });
      try {
        expectDocumented('getMetrics', 404, await managed.http.get('/metrics'));
      } finally {
        await managed.close();
      }
    });

    it.each([
      [404, 'GET /nothing HTTP/1.1\r\nHost: bank\r\n'],
      [405, 'PUT /accounts HTTP/1.1\r\nHost: bank\r\n'],
      [204, 'OPTIONS /accounts HTTP/1.1\r\nHost: bank\r\n'],
      [416, 'GET /docs/swagger-ui.css HTTP/1.1\r\nHost: bank\r\nRange: bytes=99999999-\r\n'],
      [400, 'GET /health/live HTTP/9.9\r\nHost: bank\r\n'],
      [400, 'GET /accounts/%zz HTTP/1.1\r\nHost: bank\r\n'],
      [400, 'GET /health/live HTTP/1.1\r\n'],
      [417, 'GET /health/live HTTP/1.1\r\nHost: bank\r\nExpect: wonders\r\n'],
      [431, `GET /health/live HTTP/1.1\r\nHost: bank\r\nX-Long: ${'x'.repeat(20_000)}\r\n`],
    ])('to a request that is not for any operation: %i', async (status, head) => {
      const answer = await sendRaw(app, `${head}Connection: close\r\n\r\n`);
      expect({ status: answer.status, problems: contract.generalAnswerProblems(answer) }).toEqual({
        status,
        problems: [],
      });
    });

    it('of posting too much', async () => {
      const limited = await startInstance(app.databaseUrl, {
        RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1',
        RATE_LIMIT_BURST: '2',
      });
      try {
        const send = () => limited.http.post(`/accounts/${accountId}/transactions`).send(deposit);
        let answer = await send();
        expectDocumented('postTransaction', 201, answer);
        while (answer.status === 201) answer = await send();
        expectDocumented('postTransaction', 429, answer);
        const batch = Array.from({ length: 2 }, () => ({ accountId, ...deposit }));
        expectDocumented('postBatch', 429, await postBatch(limited, batch, { query: '?atomic=true' }));
        const tooMany = await postBatch(limited, [...batch, ...batch], { query: '?atomic=true' });
        expectDocumented('postBatch', 400, tooMany);
        const submit = (path: string, body: object) => limited.http.post(path).send(body);
        const transfer = { from: accountId, to: await openAccount(app), amount: 1 };
        const [id, transaction] = [await makeTransfer(), await makeTransaction()];
        // Each needs more than a second has.
        expectDocumented('postTransfer', 429, await submit('/transfers', transfer));
        expectDocumented('reverseTransfer', 429, await submit(`/transfers/${id}/reversal`, {}));
        let reversed = await submit(`/transactions/${transaction}/reversal`, { amount: '0.01' });
        while (reversed.status === 201)
          reversed = await submit(`/transactions/${transaction}/reversal`, { amount: '0.01' });
        expectDocumented('reverseTransaction', 429, reversed);
        expectDocumented('placeHold', 429, await placeHold(limited, accountId, { amount: 1 }));
        const placedHold = await placed(app, accountId, '1.00');
        expectDocumented('captureHold', 429, await capture(limited, placedHold));
        expectDocumented('voidHold', 429, await voidHold(limited, placedHold));
        expectDocumented('changeAccount', 429, await change(limited, accountId, { status: 'open' }));
        const open = () => limited.http.post('/accounts').send({});
        let opened = await open();
        while (opened.status === 201) opened = await open();
        expectDocumented('openAccount', 429, opened);
      } finally {
        await limited.close();
      }
    });

    it('when the database is lost', async () => {
      const database = await createTestDatabase('openapi');
      const lost = await startInstance(database.url, { BALANCE_CACHE: 'off', WEBHOOK_KEYS });
      try {
        const id = await openAccount(lost, '1.00');
        const submission = `/submissions/${await idOfSubmission(database.url, id, 'submitted')}`;
        await database.drop();
        const failed = (operationId: string, answer: Answer) => expectDocumented(operationId, 408, answer);
        failed('getBalance', await lost.http.get(`/accounts/${id}/balance`));
        failed('getAccountProof', await lost.http.get(`/accounts/${id}/proof`));
        failed('getAccount', await lost.http.get(`/accounts/${id}`));
        failed('listAccounts', await lost.http.get('/accounts'));
        failed('openAccount', await lost.http.post('/accounts').send({}));
        const hold = 'hold1';
        failed('placeHold', await placeHold(lost, id, { amount: 1 }));
        failed('captureHold', await capture(lost, hold));
        failed('voidHold', await voidHold(lost, hold));
        failed('getHold', await lost.http.get(`/holds/${hold}`));
        failed('listHolds', await lost.http.get(`/accounts/${id}/holds`));
        failed('changeAccount', await change(lost, id, { status: 'open' }));
        failed('listTransactions', await lost.http.get(`/accounts/${id}/transactions`));
        const statement = `/accounts/${id}/statement?from=2025-01-01&to=2025-02-01`;
        failed('getStatement', await lost.http.get(statement));
        failed('streamAccountEvents', await lost.http.get(`/accounts/${id}/events`));
        failed('getTransaction', await lost.http.get('/transactions/txn1'));
        failed('getTransfer', await lost.http.get('/transfers/tr1'));
        failed('getSubmission', await lost.http.get(submission));
        failed('getLedgerSummary', await lost.http.get('/ledger/summary'));
        failed('listTransfers', await lost.http.get(`/accounts/${id}/transfers`));
        failed('postTransfer', await lost.http.post('/transfers').send({ from: id, to: id + 1, amount: 1 }));
        failed('reverseTransfer', await lost.http.post('/transfers/tr1/reversal').send({}));
        failed('reverseTransaction', await lost.http.post('/transactions/txn1/reversal').send({}));
        failed('postTransaction', await lost.http.post(`/accounts/${id}/transactions`).send(deposit));
        const webhook = '/webhooks/wh1';
        const wanted = { url: 'https://receiver.invalid/', eventTypes: ['*'] };
        failed('createWebhook', await lost.http.post('/webhooks').send(wanted));
        failed('listWebhooks', await lost.http.get('/webhooks'));
        failed('getWebhook', await lost.http.get(webhook));
        failed('changeWebhook', await lost.http.patch(webhook).send({ status: 'enabled' }));
        failed('deleteWebhook', await lost.http.delete(webhook));
        failed('rotateWebhookSecret', await lost.http.post(`${webhook}/secret`).send({}));
        failed('listDeliveries', await lost.http.get(`${webhook}/deliveries`));
        failed('getDelivery', await lost.http.get(`${webhook}/deliveries/txn1`));
        failed('redeliver', await lost.http.post(`${webhook}/redeliveries`).send({ eventId: 'txn1' }));
        const batch = [{ accountId: id, ...deposit }];
        failed('postBatch', await postBatch(lost, batch, { query: '?atomic=true' }));
        const each = await postBatch(lost, batch);
        expectDocumented('postBatch', 200, each);
        expect(statusesIn(each)).toEqual([408]);
        expectDocumented('getReadiness', 503, await lost.http.get('/health/ready'));
      } finally {
        await lost.close();
        await database.drop();
      }
    });

    it('to a sender without a credential, or with insufficient scopes', async () => {
      const [reader, writer] = [
        await makeKey(app, { scopes: ['accounts:read'] }),
        await makeKey(app, { scopes: ['accounts:write'] }),
      ];
      const guarded = await startInstance(app.databaseUrl, { AUTH: 'on' });
      try {
        for (const { method, path, operation } of contract.routes) {
          const { operationId, security } = operation;
          if (!security || security.some((requirement) => Object.keys(requirement).length === 0)) continue;
          const url = path
            .replace('{accountId}', String(accountId))
            .replace('{transactionId}', 'txn1')
            .replace('{transferId}', 'tr1')
            .replace('{holdId}', 'hold1')
            .replace('{submissionId}', 'x.y')
            .replace('{webhookId}', 'wh1')
            .replace('{eventId}', 'txn1');
          const [needed] = security.flatMap((requirement) => Object.values(requirement).flat());
          const send = (headers: Record<string, string>) =>
            method === 'GET'
              ? guarded.http.get(url).set(headers)
              : guarded.http[method.toLowerCase() as 'delete' | 'patch' | 'post'](url)
                  .set(headers)
                  .send(method === 'DELETE' ? undefined : {});
          expectDocumented(operationId, 401, await send({}));
          const insufficient = needed === 'accounts:read' ? writer : reader;
          expectDocumented(operationId, 403, await send(bearer(insufficient.key)));
        }
      } finally {
        await guarded.close();
      }
    });

    // `integration/submissions` sees those of a broker.
    it('were all seen, except those of an overload, a defect and a broker', () => {
      const documented = [...contract.operations.values()].flatMap(({ operationId, responses }) =>
        Object.entries(responses).flatMap(([status, response]) => [
          `${operationId} ${status}`,
          ...Object.keys(contract.follow(response).content ?? {})
            .filter((type) => type.endsWith('; money=string'))
            .map((type) => `${operationId} ${status} ${type}`),
        ]),
      );
      const unseen = documented.filter((answer) => !seen.has(answer));
      expect(unseen.filter((answer) => !/ (202( .+)?|500|503)$/.test(answer))).toEqual([]);
    });
  });
});
