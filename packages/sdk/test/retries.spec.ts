import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { startApp, type TestApp } from '../../../test/support/app.js';
import {
  BankClient,
  BankError,
  DuplicateError,
  IdempotencyKeyReusedError,
  InsufficientBalanceError,
  NetworkError,
  OutcomeUnknownError,
  RateLimitedError,
  TimeoutError,
  UnavailableError,
  type BankClientOptions,
} from '../src/index.js';
import { FaultyProxy, type Fault } from './faulty-proxy.js';

let app: TestApp;
let proxy: FaultyProxy;
let bank: BankClient;
let account: number;

beforeAll(async () => {
  app = await startApp();
  proxy = await FaultyProxy.start(app.url);
  bank = clientWith({});
});

afterAll(async () => {
  await proxy.stop();
  await app.close();
});

beforeEach(async () => {
  proxy.next();
  account = (await bank.accounts.open({ openingDeposit: '100.00' })).accountId;
  proxy.next();
});

const clientWith = (options: Partial<BankClientOptions>) =>
  new BankClient({ baseUrl: proxy.url, ...options });

/** An answer of the service, or, without a code, of a proxy before it. */
const answered = (status: number, code?: string, headers: Record<string, string> = {}): Fault => ({
  ...{ kind: 'answered', status, body: '{"error":"…"}' },
  headers: { ...headers, ...(code !== undefined && { 'x-error-code': code }) },
});
const keys = () => new Set(proxy.seen.map(({ headers }) => headers['idempotency-key']));
const versionNow = async () => (await bank.accounts.get(account)).version;
const failureOf = (call: Promise<unknown>) =>
  call.then(
    () => Promise.reject(new Error('the call has succeeded')),
    (error: unknown) => error as BankError,
  );

describe('a posting whose answer is lost', () => {
  const lost: Fault['kind'][] = ['answer lost', 'answer cut', 'request lost'];

  it.each(lost)('is applied once, and answered as if nothing had been: %s', async (kind) => {
    proxy.next({ kind } as Fault);
    const receipt = await bank.transactions.deposit(account, '5.00', { expectedVersion: 2 });
    expect(receipt).toMatchObject({ type: 'Deposit', amount: '5.00', newBalance: '105.00', newVersion: '3' });
    expect(await bank.transactions.get(receipt.id)).toMatchObject(receipt);
    expect(await versionNow()).toBe(3);
    expect(proxy.seen[1]?.body).toBe(proxy.seen[0]?.body);
    expect(proxy.seen[0]?.headers['idempotency-key']).toMatch(/^[\da-f-]{36}$/);
  });

  it('is sent with one key over all tries, and with another one in the next call', async () => {
    proxy.next({ kind: 'request lost' }, answered(503, 'OVERLOADED'), answered(408), answered(429));
    await bank.transactions.withdraw(account, '5.00');
    expect(proxy.seen).toHaveLength(5);
    expect(keys().size).toBe(1);
    await bank.transactions.withdraw(account, '5.00');
    expect(keys().size).toBe(2);
  });

  it('is found wherever it is: transfers, reversals, holds and accounts', async () => {
    const lose = () => proxy.next({ kind: 'answer lost' });
    lose();
    const other = await bank.accounts.open({ openingDeposit: '1.00' });
    expect(other).toMatchObject({ balance: '1.00', version: 2 });
    lose();
    const transfer = await bank.transfers.create({ from: account, to: other.accountId, amount: '10' });
    expect(transfer).toMatchObject({ status: 'completed', legs: [{ amount: '10.00' }, { amount: '10.00' }] });
    lose();
    expect(await bank.transfers.reverse(transfer.id)).toMatchObject({ reverses: transfer.id });
    const { id } = await bank.transactions.deposit(account, '3.00');
    lose();
    expect(await bank.transactions.reverse(id, { amount: '1' })).toMatchObject({
      reverses: id,
      amount: '1.00',
    });
    lose();
    const hold = await bank.holds.place(account, { amount: '7.00' });
    expect(hold).toMatchObject({ amount: '7.00', status: 'active' });
    lose();
    expect(await bank.holds.capture(hold.id, { amount: '2.00', final: false })).toMatchObject({
      ...{ type: 'Withdraw', amount: '2.00' },
    });
    lose();
    expect(
      await bank.holds.capture(hold.id, { amount: '1', final: false, to: other.accountId }),
    ).toMatchObject({
      legs: [{ amount: '1.00' }, { accountId: other.accountId }],
    });
    lose();
    expect(await bank.holds.void(hold.id)).toMatchObject({ id: hold.id, status: 'voided', captured: '3.00' });
    expect((await bank.accounts.balance(account)).balance).toBe('99.00');
  });

  it('is the success of its call even at the first try, if only the call knows the key', async () => {
    // A browser sends a request again by itself when its connection breaks.
    let sent = 0;
    const twice: typeof fetch = async (url, init) => {
      if (init?.method === 'POST' && sent++ === 0) await (await fetch(url, init)).text();
      return fetch(url, init);
    };
    const receipt = await clientWith({ fetch: twice }).transactions.deposit(account, '5.00');
    expect(receipt).toMatchObject({ newBalance: '105.00', newVersion: '3' });
    expect(await versionNow()).toBe(3);
  });

  it('is a DuplicateError with its id and the cause, if what was posted may not be read', async () => {
    proxy.next({ kind: 'answer lost' }, { kind: 'passed' }, answered(403, 'FORBIDDEN'));
    const error = await failureOf(bank.transactions.deposit(account, '5.00'));
    expect(error).toBeInstanceOf(DuplicateError);
    expect(error).toMatchObject({ id: expect.stringMatching(/^txn/), cause: { code: 'FORBIDDEN' } });
    expect(await versionNow()).toBe(3);
  });
});

describe("a caller's own key", () => {
  it('gets a DuplicateError in another call, and the result in the same one', async () => {
    const idempotencyKey = 'order-1';
    proxy.next({ kind: 'answer lost' });
    const { id } = await bank.transactions.deposit(account, '5.00', { idempotencyKey });
    const error = await failureOf(bank.transactions.deposit(account, '5.00', { idempotencyKey }));
    expect(error).toBeInstanceOf(DuplicateError);
    expect(error).toMatchObject({ id, status: 409, mayBeApplied: false, cause: undefined });
    expect(await versionNow()).toBe(3);
  });

  it('is never taken for success when it belongs to another request, lost answers or not', async () => {
    const idempotencyKey = 'order-2';
    const { id } = await bank.transactions.deposit(account, '5.00', { idempotencyKey });
    proxy.next({ kind: 'answer lost' });
    const error = await failureOf(bank.transactions.deposit(account, '6.00', { idempotencyKey }));
    expect(error).toBeInstanceOf(IdempotencyKeyReusedError);
    expect(error).toMatchObject({ id, status: 422 });
    expect(await versionNow()).toBe(3);
  });
});

describe('retries', () => {
  it.each([400, 401, 403, 404, 405, 409, 412, 413, 422, 500, 501])(
    '%i is not tried again',
    async (status) => {
      proxy.next(answered(status));
      expect(await failureOf(bank.transactions.deposit(account, '5.00'))).toMatchObject({ status });
      expect(proxy.seen).toHaveLength(1);
    },
  );

  it.each([408, 429, 502, 503, 504])('%i is', async (status) => {
    proxy.next(answered(status));
    await bank.transactions.deposit(account, '5.00');
    expect(proxy.seen).toHaveLength(2);
  });

  it('end after maxRetries, with the last answer', async () => {
    proxy.next(...Array<Fault>(5).fill(answered(503, 'OVERLOADED', { 'x-request-id': 'r-1' })));
    const error = await failureOf(bank.accounts.get(account, { maxRetries: 2 }));
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ code: 'OVERLOADED', requestId: 'r-1', message: '…' });
    expect(proxy.seen).toHaveLength(3);
  });

  it('wait as long as Retry-After says, in seconds or until a date', async () => {
    for (const value of ['1', () => new Date(Date.now() + 2_000).toUTCString()]) {
      proxy.next(
        answered(429, 'TOO_MANY_REQUESTS', { 'retry-after': typeof value === 'string' ? value : value() }),
      );
      const from = performance.now();
      await bank.accounts.get(account);
      // A date has whole seconds.
      expect(performance.now() - from).toBeGreaterThan(950);
      expect(performance.now() - from).toBeLessThan(3_000);
    }
  });

  it('end at once where Retry-After goes beyond maxElapsedMs', async () => {
    proxy.next(answered(429, 'TOO_MANY_REQUESTS', { 'retry-after': '3600' }));
    const from = performance.now();
    const error = await failureOf(bank.accounts.get(account));
    expect(error).toBeInstanceOf(RateLimitedError);
    expect(error).toMatchObject({ retryAfterMs: 3_600_000 });
    expect(performance.now() - from).toBeLessThan(1_000);
  });

  it('end after maxElapsedMs, the time of the tries included', async () => {
    proxy.next(...Array<Fault>(20).fill({ kind: 'silent' }));
    const from = performance.now();
    const error = await failureOf(
      bank.accounts.get(account, { timeoutMs: 300, maxElapsedMs: 800, maxRetries: 99 }),
    );
    expect(error).toBeInstanceOf(TimeoutError);
    expect(performance.now() - from).toBeLessThan(1_500);
    expect(proxy.seen.length).toBeGreaterThan(1);
  });

  it('are not made of a change without a key', async () => {
    proxy.next({ kind: 'answer lost' });
    const error = await failureOf(bank.accounts.update(account, { reference: 'customer 12' }));
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({ mayBeApplied: true });
    expect(proxy.seen).toHaveLength(1);
    expect(await bank.accounts.get(account)).toMatchObject({ reference: 'customer 12' });
  });

  it('are made of a batch, because its items have keys', async () => {
    proxy.next({ kind: 'answer lost' });
    const results = await bank.batches.post([
      { accountId: account, type: 'Deposit', amount: '1.00' },
      { accountId: account, type: 'Withdraw', amount: '1000.00' },
    ]);
    expect(results.map(({ code }) => code)).toEqual(['DUPLICATE_TRANSACTION', 'INSUFFICIENT_BALANCE']);
    expect(await versionNow()).toBe(3);
  });
});

describe('mayBeApplied', () => {
  it.each<[string, Fault[], boolean]>([
    ['a refusal', [], false],
    ['a refusal after the service said that nothing was applied', [answered(503, 'OVERLOADED')], false],
    ['a refusal after a lost answer', [{ kind: 'request lost' }], true],
    ['a refusal after an unknown outcome', [answered(503, 'OUTCOME_UNKNOWN')], true],
    ['a refusal after a 504 of a proxy', [answered(504)], true],
  ])('%s: %j', async (_, faults, expected) => {
    proxy.next(...faults);
    const error = await failureOf(bank.transactions.withdraw(account, '1000.00'));
    expect(error).toBeInstanceOf(InsufficientBalanceError);
    expect(error.mayBeApplied).toBe(expected);
  });

  it('is true of a posting that got no answer at all, and false of a question', async () => {
    const silent = Array<Fault>(2).fill({ kind: 'silent' });
    const once = { timeoutMs: 100, maxRetries: 0 };
    proxy.next(...silent);
    const posting = await failureOf(bank.transactions.deposit(account, '5.00', once));
    expect(posting).toBeInstanceOf(TimeoutError);
    expect(posting.mayBeApplied).toBe(true);
    expect((await failureOf(bank.accounts.get(account, once))).mayBeApplied).toBe(false);
  });

  it('is true of an outcome that the service does not know', async () => {
    proxy.next(answered(503, 'OUTCOME_UNKNOWN', { 'retry-after': '1' }));
    const error = await failureOf(bank.transactions.deposit(account, '5.00', { maxRetries: 0 }));
    expect(error).toBeInstanceOf(OutcomeUnknownError);
    expect(error).toMatchObject({ mayBeApplied: true, retryAfterMs: 1_000 });
  });
});

describe('an AbortSignal', () => {
  it.each<[string, Fault]>([
    ['while it waits for an answer', { kind: 'silent' }],
    ['while it waits for the next try', answered(503, 'OVERLOADED', { 'retry-after': '20' })],
  ])('ends a call with its reason %s', async (_, fault) => {
    proxy.next(fault);
    const controller = new AbortController();
    const reason = new Error('the user has left');
    const from = performance.now();
    setTimeout(() => controller.abort(reason), 100);
    await expect(bank.transactions.deposit(account, '1', { signal: controller.signal })).rejects.toBe(reason);
    expect(performance.now() - from).toBeLessThan(1_000);
    expect(proxy.seen).toHaveLength(1);
  });

  it('that has ended already sends nothing', async () => {
    const call = bank.transactions.deposit(account, '1', {
      signal: AbortSignal.abort(new Error('too late')),
    });
    await expect(call).rejects.toThrow('too late');
    expect(proxy.seen).toHaveLength(0);
  });
});

describe('a credential', () => {
  it('is asked for before each try', async () => {
    let asked = 0;
    const client = clientWith({ credential: () => Promise.resolve(`token-${++asked}`) });
    proxy.next(answered(503), answered(503), answered(401, 'UNAUTHORIZED'));
    expect(await failureOf(client.accounts.get(account))).toMatchObject({ code: 'UNAUTHORIZED' });
    expect(proxy.seen.map(({ headers }) => headers.authorization)).toEqual(
      [1, 2, 3].map((n) => `Bearer token-${n}`),
    );
  });

  it('that can not be had sends nothing, and fails with its own error', async () => {
    const error = new Error('signed out');
    const client = clientWith({ credential: () => Promise.reject(error) });
    await expect(client.transactions.deposit(account, '1')).rejects.toBe(error);
    expect(proxy.seen).toHaveLength(0);
  });

  it('never follows a Location to another server', async () => {
    const elsewhere = 'https://evil.example/transactions/txn1?x=1';
    proxy.next(
      { kind: 'request lost' },
      {
        ...answered(409, 'DUPLICATE_TRANSACTION', { location: elsewhere }),
        body: '{"transactionId":"txn1"}',
      } as Fault,
      answered(403),
    );
    await failureOf(clientWith({ credential: 'key' }).transactions.deposit(account, '1'));
    expect(proxy.seen[2]).toMatchObject({ method: 'GET', url: '/transactions/txn1' });
  });
});
