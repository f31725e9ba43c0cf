import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { balanceOf, deposit, post, receiptIn, withdrawal } from '../support/requests.js';

let app: TestApp;

beforeAll(async () => {
  app = await startApp();
});

afterAll(() => app.close());

const simultaneously = <T>(count: number, request: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => request(index)));

interface Answer {
  readonly status: number;
  readonly text: string;
}

const withStatus = <A extends Answer>(answers: readonly A[], status: number) =>
  answers.filter((answer) => answer.status === status);

describe('10 simultaneous withdrawals', () => {
  it('with one expectedVersion: one is applied, nine learn the version after it', async () => {
    const accountId = await openAccount(app, '1000.00');
    const answers = await simultaneously(10, () =>
      post(app, accountId, { ...withdrawal('100'), expectedversion: 2 }),
    );
    const [accepted, ...more] = withStatus(answers, 201);
    expect(more).toEqual([]);
    expect(accepted?.text).toContain('"newBalance":900.00,"newVersion":"3"');
    const refused = withStatus(answers, 409).map((answer) => answer.text);
    expect(refused).toEqual(new Array(9).fill('{"error":"Version mismatch","CurrentVersion":3}'));
    expect(await balanceOf(app, accountId)).toBe('{"balance":900.00,"version":3}');
  });

  it('with one If-Match: one is applied, nine get 412', async () => {
    const accountId = await openAccount(app, '1000.00');
    const answers = await simultaneously(10, () =>
      post(app, accountId, withdrawal('100'), { 'if-match': '"2"' }),
    );
    expect(withStatus(answers, 201)).toHaveLength(1);
    expect(withStatus(answers, 412)).toHaveLength(9);
    expect(await balanceOf(app, accountId)).toBe('{"balance":900.00,"version":3}');
  });

  it('without a version, on a sufficient balance: all are applied, one after the other', async () => {
    const accountId = await openAccount(app, '1000.00');
    const answers = await simultaneously(10, () => post(app, accountId, withdrawal('100')));
    expect(answers.map((answer) => answer.status)).toEqual(new Array(10).fill(201));
    const left = answers.map((answer) =>
      /"newBalance":(\d+)\.00,"newVersion":"(\d+)"/.exec(answer.text)?.slice(1, 3),
    );
    const expected = Array.from({ length: 10 }, (_, index) => [String(900 - 100 * index), String(3 + index)]);
    expect(left.sort((a, b) => Number(a?.[1]) - Number(b?.[1]))).toEqual(expected);
    expect(await balanceOf(app, accountId)).toBe('{"balance":0.00,"version":12}');
  });

  it('over the balance: as many are applied as it covers, the rest are rejected', async () => {
    const accountId = await openAccount(app, '350.00');
    const answers = await simultaneously(10, () => post(app, accountId, withdrawal('100')));
    expect(withStatus(answers, 201)).toHaveLength(3);
    const refused = withStatus(answers, 422).map((answer) => answer.text);
    expect(refused).toEqual(new Array(7).fill('{"error":"Insufficient Balance"}'));
    expect(await balanceOf(app, accountId)).toBe('{"balance":50.00,"version":5}');
  });
});

describe('50 simultaneous requests with one key', () => {
  it('are one transaction and 49 duplicates of it', async () => {
    const accountId = await openAccount(app, '1000.00');
    const headers = { 'idempotency-key': 'only-once' };
    const answers = await simultaneously(50, () => post(app, accountId, withdrawal('10'), headers));
    const [accepted, ...more] = withStatus(answers, 201);
    expect(more).toEqual([]);
    const { id } = receiptIn({ text: accepted?.text ?? '{}' });
    const duplicates = withStatus(answers, 409).map((answer) => answer.text);
    expect(duplicates).toEqual(
      new Array(49).fill(`{"error":"Duplicate transaction","transactionId":"${id}"}`),
    );
    expect(await balanceOf(app, accountId)).toBe('{"balance":990.00,"version":3}');
  });

  it('of two amounts are one transaction; the other amount is a reuse of its key', async () => {
    const accountId = await openAccount(app, '1000.00');
    const headers = { 'idempotency-key': 'two-amounts' };
    const answers = await simultaneously(50, (index) =>
      post(app, accountId, deposit(index % 2 === 0 ? '10' : '20'), headers),
    );
    expect(withStatus(answers, 201)).toHaveLength(1);
    expect(withStatus(answers, 409)).toHaveLength(24);
    expect(withStatus(answers, 422)).toHaveLength(25);
    expect(await balanceOf(app, accountId)).toMatch(/^{"balance":10[12]0\.00,"version":3}$/);
  });
});

const ACCOUNTS = 20;
const REQUESTS = 2_000;
const CLIENTS = 64;
const OPENING_CENTS = 10_000;

interface Planned {
  readonly account: number;
  readonly type: 'Deposit' | 'Withdraw';
  readonly cents: number;
  readonly key: string | undefined;
  /** Sent as expectedVersion, if any; right only by luck. */
  readonly version: number | undefined;
}

interface Done extends Planned, Answer {}

/** A fixed pseudorandom sequence, so that a failure can be repeated (mulberry32). */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function plan(): Planned[] {
  const random = chance(20_250_502);
  return Array.from({ length: REQUESTS }, () => ({
    // A third of all on one hot account.
    account: random(3) === 0 ? 0 : random(ACCOUNTS),
    type: random(2) === 0 ? 'Deposit' : 'Withdraw',
    cents: [1, 999, 2_500, 7_001][random(4)] ?? 1,
    key: random(2) === 0 ? `key-${random(40)}` : undefined,
    version: random(5) === 0 ? 2 + random(40) : undefined,
  }));
}

describe(`${REQUESTS} mixed requests over ${ACCOUNTS} accounts, from two instances on one database`, () => {
  let instances: TestApp[];
  let accountIds: number[];
  let done: Done[];

  async function send(planned: Planned, index: number): Promise<Done> {
    const { account, type, cents, key, version } = planned;
    const instance = instances[index % 2] as TestApp;
    const response = await fetch(`${instance.url}/accounts/${accountIds[account]}/transactions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(key !== undefined && { 'idempotency-key': key }) },
      body: JSON.stringify({
        type,
        amount: (cents / 100).toFixed(2),
        expectedVersion: version && String(version),
      }),
    });
    return { ...planned, status: response.status, text: await response.text() };
  }

  beforeAll(async () => {
    const settings = { BALANCE_CACHE: 'off' };
    const first = await startApp(settings);
    instances = [first, await startInstance(first.databaseUrl, settings)];
    accountIds = await simultaneously(ACCOUNTS, () => openAccount(first, '100.00'));
    const queue = [...plan().entries()];
    done = [];
    await simultaneously(CLIENTS, async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        done.push(await send(next[1], next[0]));
      }
    });
  }, 60_000);

  afterAll(async () => {
    await instances[1]?.close();
    await instances[0]?.close();
  });

  const ofAccount = (account: number) => done.filter((one) => one.account === account);

  it('gives only answers of the contract, and all of them', () => {
    const kinds = done.map(({ status, text }) => `${status} ${/"error":"([^"]*)"/.exec(text)?.[1] ?? ''}`);
    expect([...new Set(kinds)].sort()).toEqual([
      '201 ',
      '409 Duplicate transaction',
      '409 Version mismatch',
      '422 Idempotency key reused',
      '422 Insufficient Balance',
    ]);
    expect(done).toHaveLength(REQUESTS);
  });

  it('leaves clean books', async () => {
    const report = await verifyBank([{ url: instances[0]?.databaseUrl ?? '', schema: 'bank' }]);
    expect(report.faults).toEqual([]);
    expect(report.ok).toBe(true);
    expect(report.accounts).toBe(ACCOUNTS);
    expect(report.transactions).toBe(ACCOUNTS + withStatus(done, 201).length);
  });

  it('leaves in each account the opening deposit and the acknowledged transactions, on both instances', async () => {
    for (const [account, accountId] of accountIds.entries()) {
      let cents = OPENING_CENTS;
      for (const one of withStatus(ofAccount(account), 201))
        cents += one.type === 'Deposit' ? one.cents : -one.cents;
      const version = 2 + withStatus(ofAccount(account), 201).length;
      const expected = `{"balance":${(cents / 100).toFixed(2)},"version":${version}}`;
      for (const instance of instances) expect(await balanceOf(instance, accountId)).toBe(expected);
    }
  });

  it('gives each acknowledged transaction a version and an id of its own, without a gap', () => {
    for (let account = 0; account < ACCOUNTS; account++) {
      const versions = withStatus(ofAccount(account), 201).map((one) => Number(receiptIn(one).newVersion));
      const expected = versions.map((_, index) => 3 + index);
      expect(versions.sort((a, b) => a - b)).toEqual(expected);
    }
    const ids = withStatus(done, 201).map((one) => receiptIn(one).id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('applies each key once per account, and returns that transaction to the others', () => {
    const owners = new Map<string, { id: string; request: string }>();
    const nameOf = (one: Planned) => `${one.account} ${one.key}`;
    const requestOf = (one: Planned) => `${one.type} ${one.cents}`;
    for (const one of withStatus(done, 201)) {
      if (one.key === undefined) continue;
      expect(owners.has(nameOf(one))).toBe(false);
      owners.set(nameOf(one), { id: receiptIn(one).id, request: requestOf(one) });
    }
    const refused = done.filter((one) => /Duplicate|reused/.test(one.text));
    expect(refused.length).toBeGreaterThan(100);
    for (const one of refused) {
      const owner = owners.get(nameOf(one));
      const error = owner?.request === requestOf(one) ? 'Duplicate transaction' : 'Idempotency key reused';
      expect(one.text).toBe(`{"error":"${error}","transactionId":"${owner?.id}"}`);
    }
  });
});
