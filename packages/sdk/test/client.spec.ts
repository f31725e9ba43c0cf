import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { ERRORS } from '../../../src/http/errors/catalogue.js';
import { startApp, startInstance, type TestApp } from '../../../test/support/app.js';
import { makeKey } from '../../../test/support/credentials.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../../../test/support/postgres.js';
import { bootstrapShards } from '../../../src/sharding/bootstrap-shards.js';
import { Client } from 'pg';
import * as sdk from '../src/index.js';
import { errorOf } from '../src/errors.js';
import { isApplied, money, type BatchItem, type ErrorCode } from '../src/index.js';
import { postTransaction } from '../src/operations.js';

const failureOf = (call: Promise<unknown>) =>
  call.then(
    () => Promise.reject(new Error('the call has succeeded')),
    (error: unknown) => error as sdk.BankError,
  );

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of list) items.push(item);
  return items;
}

describe('the client', () => {
  let app: TestApp;
  let bank: sdk.BankClient;

  beforeAll(async () => {
    app = await startApp();
    bank = new sdk.BankClient({ baseUrl: `${app.url}/` });
  });

  afterAll(() => app.close());

  const open = async (openingDeposit: string) => (await bank.accounts.open({ openingDeposit })).accountId;

  it('opens, shows, changes and lists accounts', async () => {
    const account = await bank.accounts.open({ openingDeposit: '9999999999999999.99', reference: 'c-12' });
    expect(account).toMatchObject({ balance: '9999999999999999.99', version: 2, currency: 'USD' });
    const { accountId } = account;
    expect(await bank.accounts.get(accountId)).toMatchObject(account);
    const changed = await bank.accounts.update(accountId, { overdraftLimit: '10', ifMatch: '"2.0"' });
    expect(changed).toMatchObject({ overdraftLimit: '10.00', available: '10000000000000009.99' });
    const mismatch = await failureOf(bank.accounts.update(accountId, { status: 'closed', ifMatch: '"2.0"' }));
    expect(mismatch).toBeInstanceOf(sdk.RevisionMismatchError);
    expect(mismatch).toMatchObject({ status: 412, currentRevision: 1 });
    expect(await all(bank.accounts.list({ reference: 'c-12' }))).toEqual([changed]);
    expect(await bank.accounts.balance(accountId, { version: 1 })).toMatchObject({ balance: '0.00' });
  });

  it('posts, and lists what it posted over several pages, newest first', async () => {
    const accountId = await open('100.00');
    await bank.transactions.deposit(accountId, '0.10', { description: 'Salary', metadata: { shift: 3 } });
    const receipt = await bank.transactions.withdraw(accountId, '0.20', {
      expectedVersion: 3,
      reference: 'r',
    });
    expect(receipt).toMatchObject({ type: 'Withdraw', amount: '0.20', newBalance: '99.90', newVersion: '4' });
    const listed = await all(bank.transactions.list(accountId, { limit: 2 }));
    expect(listed.map(({ newVersion }) => newVersion)).toEqual(['4', '3', '2']);
    expect(listed[1]).toMatchObject({ description: 'Salary', metadata: { shift: 3 } });
    expect(listed.map(({ newBalance }) => newBalance).reduce(money.add)).toBe('300.00');
    const list = bank.transactions.list(accountId, { limit: 1, type: 'Deposit' });
    const first = await list.page();
    const next = await list.page(first.nextCursor ?? '');
    expect([first, next].map(({ data }) => data[0]?.newVersion)).toEqual(['3', '2']);
  });

  it('stops reading pages when the reader does', async () => {
    const accountId = await open('1.00');
    const asked: string[] = [];
    const client = new sdk.BankClient({
      baseUrl: app.url,
      fetch: (url, init) => (asked.push(url), fetch(url, init)),
    });
    for (let i = 0; i < 3; i++) await bank.transactions.deposit(accountId, '1');
    for await (const { newVersion } of client.transactions.list(accountId, { limit: 1 }))
      if (newVersion === '4') break;
    expect(asked).toHaveLength(2);
  });

  it('places, captures, voids and lists holds', async () => {
    const [accountId, other] = [await open('100.00'), await open('1.00')];
    const hold = await bank.holds.place(accountId, { amount: '30.00', expiresInSeconds: 60 });
    expect(hold).toMatchObject({ status: 'active', held: '30.00', available: '70.00' });
    expect(await bank.holds.capture(hold.id, { amount: '10', final: false })).toMatchObject({
      amount: '10.00',
    });
    const transfer = await bank.holds.capture(hold.id, { amount: '5', final: false, to: other });
    expect(transfer.legs.map(({ newBalance }) => newBalance)).toEqual(['85.00', '6.00']);
    expect(await bank.holds.void(hold.id)).toMatchObject({ status: 'voided', captured: '15.00' });
    expect(await all(bank.holds.list(accountId, { status: 'voided' }))).toMatchObject([{ id: hold.id }]);
    expect(await bank.holds.get(hold.id)).toMatchObject({ remaining: '0.00' });
    const again = await failureOf(bank.holds.void(hold.id));
    expect(again).toBeInstanceOf(sdk.HoldNotActiveError);
    expect(again).toMatchObject({ holdStatus: 'voided' });
  });

  it('transfers and reverses', async () => {
    const [from, to] = [await open('100.00'), await open('1.00')];
    const transfer = await bank.transfers.create({ from, to, amount: '25.50', description: 'Rent' });
    expect(transfer).toMatchObject({ status: 'completed', legs: [{ newBalance: '74.50' }, {}] });
    expect(await bank.transfers.settled(transfer)).toBe(transfer);
    expect(await bank.transfers.reverse(transfer.id, { amount: '5' })).toMatchObject({
      reverses: transfer.id,
    });
    expect((await all(bank.transfers.list(from))).at(-1)).toEqual(await bank.transfers.get(transfer.id));
    const { id } = await bank.transactions.withdraw(from, '4.00');
    expect(await bank.transactions.reverse(id)).toMatchObject({
      type: 'Deposit',
      amount: '4.00',
      reverses: id,
    });
  });

  it('has statements, as data and as files', async () => {
    const accountId = await open('100.00');
    const now = new Date().toISOString();
    const interval = { from: '2020-01-01', to: now };
    expect(await bank.accounts.statement(accountId, interval)).toMatchObject({
      ...{ closingBalance: '100.00', credits: 1, lines: [{ amount: '100.00' }] },
    });
    const csv = await bank.accounts.statementFile(accountId, { ...interval, format: 'csv' });
    expect(await csv.text()).toContain(`ClosingBalance,,,,,100.00,USD,${accountId}`);
    const pdf = await bank.accounts.statementFile(accountId, { ...interval, format: 'pdf' });
    expect(await pdf.slice(0, 5).text()).toBe('%PDF-');
  });

  it('has proofs that can be checked', async () => {
    const accountId = await open('100.00');
    const { hash, lines = [] } = await bank.accounts.proof(accountId, { fromVersion: 1 });
    expect(
      createHash('sha256')
        .update(`${'0'.repeat(64)}:${lines[0]}`)
        .digest('hex'),
    ).toBe(hash);
  });

  it('posts batches, of which some items may be refused, or all', async () => {
    const accountId = await open('100.00');
    const deposit: BatchItem = { type: 'Deposit', accountId, amount: '1.00' };
    const tooMuch: BatchItem = { type: 'Withdraw', accountId, amount: '1000.00' };
    const results = await bank.batches.post([deposit, tooMuch, { type: 'Hold', accountId, amount: '5' }]);
    expect(results.map(isApplied)).toEqual([true, false, true]);
    expect(results[1]).toMatchObject({ status: 422, code: 'INSUFFICIENT_BALANCE' });
    const refused = await bank.batches.post([deposit, tooMuch], { atomic: true });
    expect(refused.map(({ code }) => code)).toEqual(['NOT_APPLIED', 'INSUFFICIENT_BALANCE']);
    expect((await bank.accounts.balance(accountId)).balance).toBe('101.00');
    const malformed = await failureOf(bank.batches.post([]));
    expect(malformed).toBeInstanceOf(sdk.InvalidRequestError);
  });

  it('serves every other operation of the document, with the same retries and errors', async () => {
    const accountId = await open('100.00');
    const { data } = await postTransaction({
      ...{ client: bank.http, throwOnError: true, path: { accountId }, query: { dryRun: 'true' } },
      body: { type: 'Withdraw', amount: '1.00' },
    });
    expect(data).toEqual({ type: 'Withdraw', amount: '1.00', newBalance: '99.00', newVersion: '3' });
    const refused = postTransaction({
      ...{ client: bank.http, throwOnError: true, path: { accountId } },
      body: { type: 'Withdraw', amount: '1000.00' },
    });
    await expect(refused).rejects.toBeInstanceOf(sdk.InsufficientBalanceError);
  });

  it('makes requests that Deno takes, to which a client is something else', async () => {
    const original = globalThis.Request;
    globalThis.Request = class extends original {
      constructor(input: string | URL | Request, init?: RequestInit & { client?: unknown }) {
        if (init?.client !== undefined) throw new TypeError('`client` must be a Deno.HttpClient');
        super(input, init);
      }
    };
    try {
      expect(await bank.accounts.get(await open('1.00'))).toMatchObject({ balance: '1.00' });
    } finally {
      globalThis.Request = original;
    }
  });

  it('says what is wrong with a request', async () => {
    const accountId = await open('1.00');
    const error = await failureOf(bank.transactions.deposit(accountId, '1.005'));
    expect(error).toBeInstanceOf(sdk.InvalidRequestError);
    expect((error as sdk.InvalidRequestError).details).toMatchObject([{ field: 'amount' }]);
    expect(error.message).toMatch(/^Invalid request: amount must have at most 2 decimals/);
    expect(error.requestId).toMatch(/^[\da-f-]{36}$/);
    const conflict = await failureOf(bank.transactions.deposit(accountId, '1', { ifMatch: '"9"' }));
    expect(conflict).toBeInstanceOf(sdk.VersionMismatchError);
    expect(conflict).toMatchObject({ status: 412, currentVersion: 2 });
  });
});

describe('with credentials', () => {
  it('sends an API key, and is told what is missing', async () => {
    const app = await startApp({ AUTH: 'on' });
    try {
      const { key } = await makeKey(app, { scopes: ['accounts:read', 'admin'] });
      const { key: reader } = await makeKey(app, { name: 'reader', scopes: ['accounts:read'] });
      const as = (credential?: string) => new sdk.BankClient({ baseUrl: app.url, credential });
      const { accountId } = await as(key).accounts.open();
      const amount = '1.00';
      await as(key).transactions.deposit(accountId, amount);
      expect(await failureOf(as(reader).transactions.deposit(accountId, amount))).toBeInstanceOf(
        sdk.ForbiddenError,
      );
      expect(await failureOf(as().accounts.get(accountId))).toBeInstanceOf(sdk.UnauthorizedError);
      expect(await failureOf(as('wrong').accounts.get(accountId))).toBeInstanceOf(sdk.UnauthorizedError);
      expect(await failureOf(as(reader).accounts.get(99))).toBeInstanceOf(sdk.NotFoundError);
    } finally {
      await app.close();
    }
  });
});

describe('between shards', () => {
  let database: TestDatabase;
  let app: TestApp;
  let bank: sdk.BankClient;

  beforeAll(async () => {
    database = await createEmptyTestDatabase('sdk-shards');
    const shards = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
    await bootstrapShards(shards);
    app = await startInstance(shards, {}, { transfers: { pollMs: 50, dueAfterMs: 0 } });
    bank = new sdk.BankClient({ baseUrl: app.url });
  });

  afterAll(async () => {
    await app.close();
    await database.drop();
  });

  it('a transfer is pending until the other shard has decided, which can be waited for', async () => {
    const [from, to] = await inBothShards();
    const client = new Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query('BEGIN');
      await client.query(`SELECT FROM bank_${(to - 1) % 2}.accounts WHERE account_id = ${to} FOR UPDATE`);
      const request = { from, to, amount: '5.00', idempotencyKey: 'k' };
      const first = bank.transfers.create(request);
      const hasBegun = async () => (await bank.accounts.get(from)).held === '5.00';
      while (!(await hasBegun())) await new Promise((resolve) => setTimeout(resolve, 20));
      const pending = await bank.transfers.create(request);
      expect(pending).toMatchObject({ status: 'pending', legs: [{ transactionId: null }, {}] });
      const impatient = await failureOf(bank.transfers.settled(pending, { timeoutMs: 200 }));
      expect(impatient).toBeInstanceOf(sdk.TimeoutError);
      const settled = bank.transfers.settled(pending);
      await client.query('COMMIT');
      expect(await settled).toMatchObject({
        id: pending.id,
        status: 'completed',
        legs: [{}, { newBalance: '5.00' }],
      });
      expect((await bank.transfers.settled((await first).id)).status).toBe('completed');
    } finally {
      await client.end();
    }
  });

  async function inBothShards(): Promise<[number, number]> {
    const { accountId: from } = await bank.accounts.open({ openingDeposit: '10.00' });
    for (;;) {
      const { accountId: to } = await bank.accounts.open();
      const placed = await query(
        database.url,
        `SELECT FROM bank_${(from - 1) % 2}.accounts WHERE account_id = ${to}`,
      );
      if (placed.length === 0) return [from, to];
    }
  }
});

describe('errors', () => {
  /** The example of each error in docs/errors.md. */
  const examples = new Map(
    [...readFileSync('docs/errors.md', 'utf8').matchAll(/^## ([A-Z_]+)\n\n(\d+) `(\{.*\})`/gm)].map(
      ([, code = '', status, body]) => [code, { status: Number(status), body: body ?? '' }],
    ),
  );

  it('of the service all have a class that fits their status and keeps their code', () => {
    expect([...examples.keys()].sort()).toEqual(Object.keys(ERRORS).sort());
    for (const [code, { status, error: text }] of Object.entries(ERRORS)) {
      const { body = '' } = examples.get(code) ?? {};
      const error = errorOf(new Response(null, { status, headers: { 'x-error-code': code } }), body);
      expect(error).toMatchObject({ code: code satisfies string as ErrorCode, status });
      if (code !== 'NOT_READY') expect(error.message).toMatch(new RegExp(`^${text}`));
      expect([code, error.name]).toEqual([code, expectedClass(code, status).name]);
    }
  });

  /** Said in another way than in errors.ts. */
  function expectedClass(code: string, status: number): { name: string } {
    if (code.startsWith('DUPLICATE_')) return sdk.DuplicateError;
    if (code === 'VERSION_MISMATCH' || code === 'PRECONDITION_FAILED') return sdk.VersionMismatchError;
    if (code === 'REVISION_MISMATCH') return sdk.RevisionMismatchError;
    if (code === 'IDEMPOTENCY_KEY_REUSED') return sdk.IdempotencyKeyReusedError;
    if (code === 'INSUFFICIENT_BALANCE') return sdk.InsufficientBalanceError;
    if (code === 'HOLD_NOT_ACTIVE') return sdk.HoldNotActiveError;
    if (code === 'OUTCOME_UNKNOWN') return sdk.OutcomeUnknownError;
    if (status === 400) return sdk.InvalidRequestError;
    if (status === 401) return sdk.UnauthorizedError;
    if (status === 403) return sdk.ForbiddenError;
    if (status === 404) return sdk.NotFoundError;
    if (status === 429) return sdk.RateLimitedError;
    return [408, 503].includes(status) ? sdk.UnavailableError : sdk.BankError;
  }

  it.each([
    ['VERSION_MISMATCH', { currentVersion: 6 }],
    ['PRECONDITION_FAILED', { currentVersion: 6 }],
    ['REVISION_MISMATCH', { currentRevision: 3 }],
    ['HOLD_NOT_ACTIVE', { holdStatus: 'captured' }],
    ['DUPLICATE_TRANSACTION', { id: 'txn131' }],
    ['DUPLICATE_TRANSFER', { id: 'tr131' }],
    ['DUPLICATE_HOLD', { id: 'hold131' }],
    ['DUPLICATE_ACCOUNT', { id: 1 }],
    ['IDEMPOTENCY_KEY_REUSED', { id: 'txn131' }],
    ['INVALID_REQUEST', { details: [{ field: 'amount', message: '…' }] }],
  ])('%s has the members of its example', (code, members) => {
    const { status, body } = examples.get(code) ?? { status: 0, body: '' };
    const error = errorOf(new Response(null, { status, headers: { 'x-error-code': code } }), body);
    expect(error).toMatchObject(members);
  });

  it.each(['', '<html>Bad gateway</html>', 'null', '[]', '{"error":{}}'])(
    'of a proxy have the code of their status, whatever their body: %j',
    (body) => {
      const error = errorOf(new Response(null, { status: 502 }), body);
      expect(error).toBeInstanceOf(sdk.UnavailableError);
      expect(error).toMatchObject({ code: 'HTTP_502', message: 'HTTP status 502' });
    },
  );

  it('of a release to come are told by their status', () => {
    const headers = { 'x-error-code': 'WEBHOOK_NOT_FOUND' };
    const error = errorOf(new Response(null, { status: 404, headers }), '{"error":"Webhook not found"}');
    expect(error).toBeInstanceOf(sdk.NotFoundError);
    expect(error.code).toBe('WEBHOOK_NOT_FOUND');
  });
});
