import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Response } from 'supertest';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import type { Effects } from '../../src/domain/books.js';
import type { AccountChanges, Command } from '../../src/domain/command.js';
import { formatMoney, parseMoney } from '../../src/domain/money.js';
import { Ledger } from '../../src/domain/ports.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { startInstance, type TestApp } from '../support/app.js';
import { bearer } from '../support/credentials.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';
import { deposit, fieldsIn, JSON_TYPE, moneyAsText, receiptIn, TEXT_MONEY } from '../support/requests.js';
import { Wallet } from '../support/wallet.js';

let database: TestDatabase;
let app: TestApp;
let ledger: Ledger;
/** The headers of an owner, or of a service that sees all accounts. */
let as: (owner?: string) => Record<string, string>;
let asAdmin: Record<string, string>;
/** An account of the shard in which all others are opened. */
let first: number;

beforeAll(async () => {
  database = await createEmptyTestDatabase('transfers');
  const shards: ShardAddress[] = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  const wallet = new Wallet(shards);
  const senders = await wallet.senders(['ada', 'bob']);
  as = (owner) => senders(owner);
  asAdmin = bearer(await wallet.key({ scopes: ['admin'] }));
  app = await startInstance(shards, wallet.settings);
  ledger = app.app.get(Ledger, { strict: false });
  first = await openAny();
});

afterAll(async () => {
  await app.close();
  await database.drop();
});

const cents = (amount: string) => parseMoney(amount, 2) ?? 0n;

async function openAny(): Promise<number> {
  return (await ledger.openAccount({}, THE_SERVICE)).accountId;
}

/** Opens an account in the shard of the others. */
async function open(amount = '0.00', owner?: string): Promise<number> {
  const openingDeposit = amount === '0.00' ? undefined : cents(amount);
  return (await ledger.openAccount({ openingDeposit, owner, near: first }, THE_SERVICE)).accountId;
}

const openAll = (...amounts: readonly string[]) => Promise.all(amounts.map((amount) => open(amount)));

const change = (accountId: number, changes: AccountChanges): Promise<Effects> =>
  ledger.execute({ type: 'change', accountId, changes });

/** Places a hold; its id. */
async function hold(accountId: number, amount: string, rest: Partial<Command> = {}): Promise<number> {
  const command = { type: 'hold', accountId, amount: cents(amount), ...rest } as Command;
  return (await ledger.execute(command)).holds[0]?.holdId ?? 0;
}

async function send(path: string, body: object | string, headers = as()): Promise<Response> {
  return app.http
    .post(path)
    .set({ 'content-type': JSON_TYPE, ...headers })
    .send(typeof body === 'string' ? body : JSON.stringify(body));
}

const get = async (path: string, headers = as()): Promise<Response> => app.http.get(path).set(headers);

const transfer = (body: object, headers?: Record<string, string>) => send('/transfers', body, headers);

const withKey = (key: string, headers = as()) => ({ ...headers, 'idempotency-key': key });

const balanceOf = async (accountId: number): Promise<string> =>
  (await get(`/accounts/${accountId}/balance`, { ...as(), 'cache-control': 'no-cache' })).text;

interface TransferAnswer {
  readonly id: string;
  readonly legs: readonly { readonly transactionId: string; readonly accountId: number }[];
  readonly timestamp: string;
}
const transferIn = ({ text }: Response) => JSON.parse(text) as TransferAnswer;

const TIME = /"timestamp":"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z"/;

/** An answer with the number of its first transaction as N, those after it as N+1 and so on, and its time as T. */
function generic({ text }: Response): string {
  const number = Number(/"(?:id|transactionId)":"(?:tr|txn)(\d+)"/.exec(text)?.[1]);
  const ofShard = (digits: string) => (Number(digits) - number) / 2;
  return text
    .replaceAll(
      /"(id|transactionId)":"(tr|txn)(\d+)"/g,
      (_, name: string, prefix: string, digits: string) => {
        const offset = ofShard(digits);
        return `"${name}":"${prefix}N${offset === 0 ? '' : `+${offset}`}"`;
      },
    )
    .replaceAll(new RegExp(TIME, 'g'), '"timestamp":"T"');
}

const simultaneously = <T>(count: number, request: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => request(index)));

const statusesOf = (answers: readonly Response[]) => answers.map(({ status }) => status).sort();

describe('POST /transfers', () => {
  it('moves money from one account to another', async () => {
    const [from, to] = (await openAll('100.00', '5.00')) as [number, number];
    const response = await transfer({ from, to, amount: '30.25' });
    expect(response.status).toBe(201);
    expect(generic(response)).toBe(
      `{"id":"trN","status":"completed","legs":[{"transactionId":"txnN","accountId":${from},"type":"Withdraw","amount":30.25,` +
        `"newBalance":69.75,"newVersion":"3"},{"transactionId":"txnN+1","accountId":${to},"type":"Deposit",` +
        `"amount":30.25,"newBalance":35.25,"newVersion":"3"}],"timestamp":"T"}`,
    );
    const { id, legs } = transferIn(response);
    expect(response.headers['location']).toBe(`/transfers/${id}`);
    expect(response.headers['etag']).toBeUndefined();
    expect(legs[0]?.transactionId).toBe(id.replace('tr', 'txn'));
    expect((await get(`/transfers/${id}`)).text).toBe(response.text);
    expect(await balanceOf(from)).toBe('{"balance":69.75,"version":3}');
    expect(await balanceOf(to)).toBe('{"balance":35.25,"version":3}');
  });

  it('moves money among several accounts, in the order of its legs', async () => {
    const [a, b, c] = (await openAll('100.00', '100.00', '0.00')) as [number, number, number];
    const legs = [
      { accountId: c, type: 'Credit', amount: '15' },
      { accountId: a, type: 'withdraw', amount: 10, expectedVersion: 2 },
      { accountId: String(b), type: 'DEBIT', amount: '5.00', expectedVersion: '2' },
    ];
    const response = await transfer({ legs });
    expect(response.status).toBe(201);
    const answered = transferIn(response).legs.map(({ accountId }) => accountId);
    expect(answered).toEqual([c, a, b]);
    expect(await Promise.all([a, b, c].map(balanceOf))).toEqual([
      '{"balance":90.00,"version":3}',
      '{"balance":95.00,"version":3}',
      '{"balance":15.00,"version":2}',
    ]);
  });

  it('takes 100 legs and no more', async () => {
    const payer = await open('99.00');
    const payees: number[] = [];
    // A few at a time, because a slow machine refuses what is too much for it.
    while (payees.length < 100) payees.push(...(await Promise.all([open(), open(), open(), open(), open()])));
    const to = (accountId: number) => ({ accountId, type: 'Deposit', amount: 1 });
    const legs = (count: number) => [
      { accountId: payer, type: 'Withdraw', amount: count },
      ...payees.slice(0, count).map(to),
    ];
    const tooMany = await transfer({ legs: legs(100) });
    expect(tooMany.status).toBe(400);
    expect(tooMany.text).toContain('{"field":"legs","message":"must be a list of 2 to 100 objects"}');
    const response = await transfer({ legs: legs(99) });
    expect(response.status).toBe(201);
    const { id } = transferIn(response);
    expect((await get(`/transfers/${id}`)).text).toBe(response.text);
    expect(await balanceOf(payees[98] ?? 0)).toBe('{"balance":1.00,"version":2}');
  });

  const leg = (accountId: unknown, type: string, amount: unknown, rest = {}) => ({
    ...{ accountId, type, amount },
    ...rest,
  });
  const pays = leg(1, 'Withdraw', '1');
  const gets = leg(2, 'Deposit', '1');

  it.each<readonly [string, unknown, readonly string[], string]>([
    ['the same account twice', { from: 1, to: '1', amount: 1 }, ['to'], 'must be another account than from'],
    ['nothing', {}, ['amount', 'from', 'to'], 'must be a positive integer'],
    ['no list', { legs: pays }, ['legs'], 'must be a list of 2 to 100 objects'],
    ['one leg', { legs: [pays] }, ['legs'], 'must be a list of 2 to 100 objects'],
    ['no legs', { legs: null }, ['legs'], 'must be a list of 2 to 100 objects'],
    ['more paid than got', { legs: [pays, leg(2, 'Deposit', '0.99')] }, ['legs'], 'must withdraw as much'],
    ['deposits alone', { legs: [gets, leg(1, 'Deposit', '1')] }, ['legs'], 'must withdraw as much'],
    ['an account twice', { legs: [pays, gets, leg(1, 'Deposit', '1')] }, ['legs[2].accountId'], 'of legs[0]'],
    [
      'wrong members of legs',
      { legs: [leg(0, 'Withdraw', '1'), leg(2, 'gift', '-1')] },
      ['legs[0].accountId', 'legs[1].amount', 'legs[1].type'],
      'must be one of: deposit',
    ],
    [
      'a misspelt member',
      { legs: [pays, leg(2, 'Deposit', '1', { expectedversion: 2 })] },
      ['legs[1].expectedversion'],
      'did you mean expectedVersion?',
    ],
    ['legs that are no objects', { legs: [pays, 7, null] }, ['legs[1]', 'legs[2]'], 'must be a JSON object'],
    ['both forms', { from: 1, legs: [pays, gets] }, ['from'], 'give either legs, or from, to and amount'],
    ['a misspelt form', { leg: [pays, gets] }, ['amount', 'from', 'leg', 'to'], 'did you mean legs?'],
    ['an unknown detail', { from: 1, to: 2, amount: 1, memo: 'x' }, ['memo'], 'is not a known field'],
    ['a list', [pays, gets], ['body'], 'must be a JSON object'],
  ])('refuses %s', async (_, body, fields, message) => {
    const response = await transfer(body as object);
    expect(response.status).toBe(400);
    expect(fieldsIn(response).sort()).toEqual(fields);
    expect(response.text).toContain(message);
  });

  it('refuses If-Match and unknown parameters', async () => {
    const body = { from: 1, to: 2, amount: 1 };
    const conditional = await transfer(body, { ...as(), 'if-match': '"2"' });
    expect(conditional.text).toContain('give expectedVersion in the body');
    expect(fieldsIn(await send('/transfers?dryrun=true', body))).toEqual(['dryrun']);
    expect(fieldsIn(await send('/transfers?dryRun=yes', body))).toEqual(['dryRun']);
  });

  it('says which account refused, and keeps the key free', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    const frozen = await open('10.00');
    await change(frozen, { status: 'frozen' });
    const full = await open('9999999999999999.99');
    const absent = 999_999 * 2 + first;
    const apart = [leg(from, 'Withdraw', 2), leg(to, 'Deposit', 1), leg(first + 1, 'Deposit', 1)];
    const refusals: readonly (readonly [object, number, string])[] = [
      [{ from, to, amount: 11 }, 422, `{"error":"Insufficient Balance","accountId":${from}}`],
      [{ from, to: full, amount: 1 }, 422, `{"error":"Balance limit exceeded","accountId":${full}}`],
      [{ from, to: frozen, amount: 1 }, 422, `{"error":"Account frozen","accountId":${frozen}}`],
      [{ from: frozen, to, amount: 1 }, 422, `{"error":"Account frozen","accountId":${frozen}}`],
      [{ from, to: absent, amount: 1 }, 404, `{"error":"Account not found","accountId":${absent}}`],
      [{ from: absent, to, amount: 1 }, 404, `{"error":"Account not found","accountId":${absent}}`],
      [{ legs: apart }, 422, '{"error":"Different shards"}'],
      [
        { from, to, amount: 11, expectedVersion: 3 },
        409,
        `{"error":"Version mismatch","CurrentVersion":2,"accountId":${from}}`,
      ],
      [
        {
          legs: [
            leg(from, 'Withdraw', 1, { expectedVersion: 2 }),
            leg(to, 'Deposit', 1, { expectedVersion: 7 }),
          ],
        },
        409,
        `{"error":"Version mismatch","CurrentVersion":1,"accountId":${to}}`,
      ],
    ];
    for (const [body, status, text] of refusals) {
      const response = await transfer(body, withKey('refused'));
      expect([response.status, response.text]).toEqual([status, text]);
      if (text.includes('shards')) expect(response.headers['x-error-code']).toBe('DIFFERENT_SHARDS');
    }
    expect((await transfer({ from, to, amount: 10 }, withKey('refused'))).status).toBe(201);
    expect(await balanceOf(from)).toBe('{"balance":0.00,"version":3}');
  });

  it('is made once with one key, however many send it at the same moment', async () => {
    const [from, to] = (await openAll('100.00', '0.00')) as [number, number];
    const answers = await simultaneously(10, () => transfer({ from, to, amount: 5 }, withKey('once')));
    expect(statusesOf(answers)).toEqual([201, ...new Array<number>(9).fill(409)]);
    const { id } = transferIn(answers.find(({ status }) => status === 201) as Response);
    for (const duplicate of answers.filter(({ status }) => status === 409)) {
      expect(duplicate.text).toBe(`{"error":"Duplicate transfer","transferId":"${id}"}`);
      expect(duplicate.headers['location']).toBe(`/transfers/${id}`);
    }
    expect(await balanceOf(to)).toBe('{"balance":5.00,"version":2}');
  });

  it('is a duplicate whatever has become of its accounts, and another request reuses the key', async () => {
    const [from, to, other] = (await openAll('10.00', '0.00', '0.00')) as [number, number, number];
    const body = { from, to, amount: 10, description: 'a', expectedVersion: 2 };
    const { id } = transferIn(await transfer(body, withKey('k')));
    await change(from, { status: 'frozen' });
    const again = await transfer(body, withKey('"k"'));
    expect([again.status, again.text]).toEqual([409, `{"error":"Duplicate transfer","transferId":"${id}"}`]);
    for (const different of [{ amount: 9 }, { to: other }, { description: 'b' }, { reference: 'a' }]) {
      const response = await transfer({ ...body, ...different }, withKey('k'));
      expect([response.status, response.text]).toEqual([
        422,
        `{"error":"Idempotency key reused","transferId":"${id}"}`,
      ]);
    }
    // As are the same movements by themselves.
    const posting = await send(
      `/accounts/${from}/transactions`,
      { amount: 10, type: 'Withdraw' },
      withKey('k'),
    );
    expect(posting.text).toBe(`{"error":"Idempotency key reused","transferId":"${id}"}`);
    // The key belongs to the account that pays.
    expect((await send(`/accounts/${to}/transactions`, deposit('1'), withKey('k'))).status).toBe(201);
  });

  it('finishes crosswise transfers under load, and keeps the sum', async () => {
    const accounts = await openAll('10.00', '10.00', '10.00', '10.00');
    const answers = await simultaneously(200, (index) => {
      const [from, to, third] = [0, 1, 2].map(
        (offset) => accounts[(index * 3 + offset * (1 + (index % 3))) % 4],
      );
      return index % 5 === 0 && third !== from
        ? transfer({
            legs: [leg(from, 'Withdraw', 3), leg(to, 'Deposit', 1), leg(third, 'Deposit', 2)],
          })
        : transfer({ from, to, amount: 1 + (index % 4) });
    });
    expect(answers.filter(({ status }) => status !== 201 && status !== 422).map(({ text }) => text)).toEqual(
      [],
    );
    expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThan(50);
    const balances = await Promise.all(accounts.map(balanceOf));
    const sum = balances.map((text) => cents(/[\d.]+/.exec(text)?.[0] ?? '')).reduce((a, b) => a + b, 0n);
    expect(formatMoney(sum, 2)).toBe('40.00');
  });

  it('goes below zero as far as the overdraft limit allows', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    await change(from, { overdraftLimit: 500n });
    expect((await transfer({ from, to, amount: '15.01' })).status).toBe(422);
    const response = await transfer({ from, to, amount: '15.00' });
    expect(response.text).toContain('"newBalance":-5.00,"newVersion":"3"');
    expect((await get(`/transfers/${transferIn(response).id}`)).text).toBe(response.text);
    const [row] = (JSON.parse((await get(`/accounts/${from}/transactions`)).text) as { data: object[] }).data;
    expect(row).toMatchObject({ newBalance: -5, transferId: transferIn(response).id });
  });

  it('has its money as text, and its errors as problems, where that is asked for', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    const made = await transfer({ from, to, amount: 1 }, { ...as(), ...TEXT_MONEY });
    expect(made.text).toContain('"amount":"1.00","newBalance":"9.00"');
    const { id } = transferIn(made);
    expect(moneyAsText((await get(`/transfers/${id}`)).text)).toBe(made.text);
    const listed = await get(`/accounts/${to}/transfers`, { ...as(), ...TEXT_MONEY });
    expect(listed.text).toBe(`{"data":[${made.text}],"nextCursor":null}`);
    const dry = await send('/transfers?dryRun=true', { from, to, amount: 1 }, { ...as(), ...TEXT_MONEY });
    expect(dry.text).toContain('"amount":"1.00","newBalance":"8.00"');
    const problem = await transfer({ from, to, amount: 10 }, { ...as(), accept: 'application/problem+json' });
    expect(JSON.parse(problem.text)).toMatchObject({
      ...{ type: '/docs/errors#insufficient_balance', status: 422, code: 'INSUFFICIENT_BALANCE' },
      ...{ error: 'Insufficient Balance', accountId: from },
    });
  });
});

describe('the details of a posting', () => {
  const DETAILS = {
    description: 'Rent, May "2026" – 😀',
    reference: 'order/4711',
    metadata: { amount: 0, tags: ['a', null, true], nested: { a: {} } },
    effectiveDate: '2026-05-01',
  };
  /** As it was sent: JSON.stringify would round the number. */
  const SOURCE = JSON.stringify(DETAILS).replace('"amount":0', '"amount":9007199254740993.07');
  const body = (members: object) => `${JSON.stringify(members).slice(0, -1)},${SOURCE.slice(1)}`;

  it('are those of a transfer and of each of its legs', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    const made = await send('/transfers', body({ from, to, amount: 1 }));
    expect(made.status).toBe(201);
    expect(made.text.endsWith(`,${SOURCE.slice(1)}`)).toBe(true);
    const { id, legs } = transferIn(made);
    expect((await get(`/transfers/${id}`)).text).toBe(made.text);
    expect((await get(`/accounts/${to}/transfers`)).text).toBe(`{"data":[${made.text}],"nextCursor":null}`);
    for (const { transactionId, accountId } of legs) {
      const one = (await get(`/transactions/${transactionId}`)).text;
      expect(one).toContain(SOURCE.slice(1, -1));
      expect(one).toContain(`"transferId":"${id}"`);
      expect((await get(`/accounts/${accountId}/transactions?limit=1`)).text).toContain(one);
    }
  });

  it('are told of a plain posting when it is read, and its receipt is as ever', async () => {
    const accountId = await open('10.00');
    const path = `/accounts/${accountId}/transactions`;
    const posted = await send(
      path,
      body({ 'moneyWithdraw/Deposit': 1, typeOfTransaction: 'Deposit' }),
      withKey('d'),
    );
    expect(generic(posted)).toBe(
      '{"id":"txnN","type":"Deposit","amount":1.00,"newBalance":11.00,"newVersion":"3","timestamp":"T"}',
    );
    const { id } = receiptIn(posted);
    const read = (await get(`/transactions/${id}`)).text;
    expect(read).toBe(
      `${posted.text.slice(0, -1).replace(`"${id}"`, `"${id}","accountId":${accountId}`)},${SOURCE.slice(1)}`,
    );
    const again = (rest: object) => send(path, { amount: 1, type: 'Deposit', ...rest }, withKey('d'));
    expect((await again({})).status).toBe(422);
    const same = await send(path, body({ amount: 1, type: 'Deposit' }), withKey('d'));
    expect([same.status, same.text]).toEqual([
      409,
      `{"error":"Duplicate transaction","transactionId":"${id}"}`,
    ]);
  });

  it.each([
    ['an empty description', 'description', ''],
    ['a long description', 'description', 'x'.repeat(501)],
    ['a description of two lines', 'description', 'a\nb'],
    ['a description with a NUL', 'description', 'nul\0'],
    ['a long reference', 'reference', 'x'.repeat(256)],
    ['a number as reference', 'reference', 7],
    ['a list as metadata', 'metadata', []],
    ['a text as metadata', 'metadata', 'text'],
    ['large metadata', 'metadata', { a: 'x'.repeat(4096) }],
    ['metadata with half a character', 'metadata', { a: '\ud800' }],
    ['a day that there is not', 'effectiveDate', '2026-02-30'],
    ['a time as a day', 'effectiveDate', '2026-02-03T00:00:00Z'],
  ])('are not %s', async (_, field, value) => {
    for (const response of [
      await transfer({ from: 1, to: 2, amount: 1, [field]: value }),
      await send(`/accounts/${first}/transactions`, { ...deposit('1'), [field]: value }),
      await send('/transactions/txn1/reversal', { [field]: value }),
      await send('/transfers/tr1/reversal', { [field]: value }),
    ]) {
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual([field]);
    }
  });
});

describe('GET /accounts/{accountId}/transfers', () => {
  it('pages through the transfers, newest first, past other transactions', async () => {
    const [from, to] = (await openAll('100.00', '0.00')) as [number, number];
    const ids: string[] = [];
    for (let amount = 1; amount <= 5; amount++) {
      ids.unshift(transferIn(await transfer({ from, to, amount })).id);
      await send(`/accounts/${from}/transactions`, deposit('1'));
    }
    const seen: string[] = [];
    let path = `/accounts/${from}/transfers?limit=2`;
    for (let pages = 1; ; pages++) {
      const page = JSON.parse((await get(path)).text) as {
        data: TransferAnswer[];
        nextCursor: string | null;
      };
      seen.push(...page.data.map(({ id }) => id));
      if (page.nextCursor === null) {
        expect(pages).toBe(3);
        break;
      }
      // What arrives meanwhile does not shift the pages.
      await transfer({ from, to, amount: '0.01' });
      path = `/accounts/${from}/transfers?limit=2&cursor=${page.nextCursor}`;
      expect(fieldsIn(await get(path.replace(`/${from}/`, `/${to}/`)))).toEqual(['cursor']);
    }
    expect(seen).toEqual(ids);
    expect((await get(`/accounts/${first}/transfers`)).text).toBe('{"data":[],"nextCursor":null}');
    expect((await get(`/accounts/${first + 2_000_000}/transfers`)).text).toBe(
      '{"error":"Account not found"}',
    );
  });
});

describe('a sender with an owner', () => {
  let [ours, theirs, nobodys]: number[] = [];

  beforeAll(async () => {
    [ours, theirs, nobodys] = await Promise.all([
      open('100.00', 'ada'),
      open('100.00', 'bob'),
      open('100.00'),
    ]);
  });

  it('pays from own accounts to any, and learns nothing of the others', async () => {
    for (const to of [theirs, nobodys]) {
      const made = await transfer({ from: ours, to, amount: 1 }, as('ada'));
      expect(generic(made)).toMatch(
        new RegExp(
          `^{"id":"trN","status":"completed","legs":\\[{"transactionId":"txnN","accountId":${ours},"type":"Withdraw","amount":1.00,` +
            `"newBalance":9\\d.00,"newVersion":"\\d"},{"transactionId":"txnN\\+1","accountId":${to},"type":"Deposit",` +
            '"amount":1.00}\\],"timestamp":"T"}$',
        ),
      );
      const { id } = transferIn(made);
      expect((await get(`/transfers/${id}`, as('ada'))).text).toBe(made.text);
      expect((await get(`/accounts/${ours}/transfers?limit=1`, as('ada'))).text).toContain(made.text);
    }
  });

  it('sees a transfer to an own account, without the balance of the payer', async () => {
    const { id } = transferIn(await transfer({ from: ours, to: theirs, amount: 1 }, as('ada')));
    const { legs } = JSON.parse((await get(`/transfers/${id}`, as('bob'))).text) as { legs: object[] };
    expect(legs).toEqual([
      { transactionId: id.replace('tr', 'txn'), accountId: ours, type: 'Withdraw', amount: 1 },
      expect.objectContaining({ accountId: theirs, newBalance: expect.any(Number) }),
    ]);
  });

  it('does not pay from another’s account', async () => {
    for (const from of [theirs, nobodys, first + 2_000_000]) {
      const refused = await transfer({ from, to: ours, amount: 1 }, as('ada'));
      expect([refused.status, refused.text]).toEqual([
        404,
        `{"error":"Account not found","accountId":${from}}`,
      ]);
    }
  });

  it('gets one answer for all that another’s account refuses', async () => {
    const [frozen, closed, full] = await Promise.all([
      open('1.00', 'bob'),
      open('0.00', 'bob'),
      open('9999999999999999.99', 'bob'),
    ]);
    await change(frozen, { status: 'frozen' });
    await change(closed, { status: 'closed' });
    for (const to of [frozen, closed, full]) {
      const refused = await transfer({ from: ours, to, amount: 1 }, as('ada'));
      expect([refused.status, refused.text]).toEqual([
        422,
        `{"error":"Counterparty refused","accountId":${to}}`,
      ]);
      expect(refused.headers['x-error-code']).toBe('COUNTERPARTY_REFUSED');
    }
    const legs = [
      { accountId: ours, type: 'Withdraw', amount: 1 },
      { accountId: theirs, type: 'Deposit', amount: 1, expectedVersion: 2 },
    ];
    expect(fieldsIn(await transfer({ legs }, as('ada')))).toEqual(['legs[1].expectedVersion']);
  });

  it('does not see transfers of others, and finds no way to reverse them', async () => {
    const { id } = transferIn(await transfer({ from: theirs, to: nobodys, amount: 1 }));
    for (const [path, body] of [
      [`/transfers/${id}`, undefined],
      [`/transfers/${id}/reversal`, {}],
      [`/transfers/tr${2_000_000 + first}`, undefined],
      [`/transfers/tr${2_000_000 + first}/reversal`, {}],
    ] as const) {
      const answer = body ? await send(path, body, as('ada')) : await get(path, as('ada'));
      expect([answer.status, answer.text]).toEqual([404, '{"error":"Transfer not found"}']);
    }
    expect((await get(`/accounts/${theirs}/transfers`, as('ada'))).text).toBe(
      '{"error":"Account not found"}',
    );
  });

  it('reverses what own accounts pay back, and nothing else', async () => {
    const { id } = transferIn(await transfer({ from: theirs, to: ours, amount: 5 }, as('bob')));
    const byPayer = await send(`/transfers/${id}/reversal`, {}, as('bob'));
    expect([byPayer.status, byPayer.text]).toEqual([
      404,
      `{"error":"Account not found","accountId":${ours}}`,
    ]);
    const reversed = await send(`/transfers/${id}/reversal`, {}, as('ada'));
    expect(reversed.status).toBe(201);
    expect(reversed.text).not.toContain(`"accountId":${theirs},"type":"Deposit","amount":5.00,"newBalance"`);
    expect(reversed.text).toContain(`"reverses":"${id}"`);
    expect((await get(`/transfers/${transferIn(reversed).id}`, as('ada'))).text).toBe(reversed.text);
    await change(theirs ?? 0, { status: 'frozen' });
    const second = transferIn(await transfer({ from: nobodys, to: ours, amount: 5 })).id;
    const third = await send(`/transfers/${second}/reversal`, { force: true }, as('ada'));
    expect([third.status, third.headers['www-authenticate']]).toEqual([
      403,
      'Bearer error="insufficient_scope", scope="admin"',
    ]);
    await change(theirs ?? 0, { status: 'open' });
  });
});

describe('the reversal of a transaction', () => {
  it('posts the opposite, which names it', async () => {
    const accountId = await open('10.00');
    const { id } = receiptIn(await send(`/accounts/${accountId}/transactions`, deposit('4')));
    const reversed = await send(`/transactions/${id}/reversal`, { description: 'a mistake' });
    expect(reversed.status).toBe(201);
    expect(generic(reversed)).toBe(
      `{"id":"txnN","accountId":${accountId},"type":"Withdraw","amount":4.00,"newBalance":10.00,"newVersion":"4",` +
        `"timestamp":"T","reverses":"${id}","description":"a mistake"}`,
    );
    const reversal = receiptIn(reversed);
    expect(reversed.headers).toMatchObject({ location: `/transactions/${reversal.id}`, etag: '"4"' });
    expect((await get(`/transactions/${reversal.id}`)).text).toBe(reversed.text);
    for (const again of [id, reversal.id]) {
      const refused = await send(`/transactions/${again}/reversal`, {});
      const text = again === id ? 'Reversal exceeded' : 'Not reversible';
      expect([refused.status, refused.text]).toEqual([422, `{"error":"${text}"}`]);
    }
  });

  it('is done in parts, never for more than it was, whoever asks at the same moment', async () => {
    const accountId = await open('100.00');
    const { id } = receiptIn(
      await send(`/accounts/${accountId}/transactions`, { amount: 10, type: 'Withdraw' }),
    );
    expect((await send(`/transactions/${id}/reversal`, { amount: '10.01' })).status).toBe(422);
    const answers = await simultaneously(8, () => send(`/transactions/${id}/reversal`, { amount: 3 }));
    expect(statusesOf(answers)).toEqual([201, 201, 201, 422, 422, 422, 422, 422]);
    const rest = await app.http.post(`/transactions/${id}/reversal`).set(as());
    expect(rest.text).toContain('"type":"Deposit","amount":1.00');
    expect(await balanceOf(accountId)).toBe('{"balance":100.00,"version":7}');
  });

  it('is done once with one key', async () => {
    const accountId = await open('100.00');
    const { id } = receiptIn(await send(`/accounts/${accountId}/transactions`, deposit('10')));
    const answers = await simultaneously(5, () =>
      send(`/transactions/${id}/reversal`, { amount: 2 }, withKey('r')),
    );
    expect(statusesOf(answers)).toEqual([201, 409, 409, 409, 409]);
    const made = receiptIn(answers.find(({ status }) => status === 201) as Response);
    const repeated = await send(`/transactions/${id}/reversal`, { amount: 2 }, withKey('r'));
    expect(repeated.text).toBe(`{"error":"Duplicate transaction","transactionId":"${made.id}"}`);
    expect(repeated.headers['location']).toBe(`/transactions/${made.id}`);
    const other = await send(`/transactions/${id}/reversal`, { amount: 3 }, withKey('r'));
    expect([other.status, other.text]).toEqual([
      422,
      `{"error":"Idempotency key reused","transactionId":"${made.id}"}`,
    ]);
  });

  it('needs the money, or an operator’s force, which is an overdraft', async () => {
    const accountId = await open('0.00');
    const { id } = receiptIn(await send(`/accounts/${accountId}/transactions`, deposit('10')));
    await send(`/accounts/${accountId}/transactions`, { amount: 4, type: 'Withdraw' });
    expect((await send(`/transactions/${id}/reversal`, {})).text).toBe('{"error":"Insufficient Balance"}');
    expect((await send(`/transactions/${id}/reversal`, { force: false })).status).toBe(422);
    expect((await send(`/transactions/${id}/reversal`, { force: true })).status).toBe(403);
    expect(fieldsIn(await send(`/transactions/${id}/reversal`, { force: 'true' }))).toEqual(['force']);
    const forced = await send(`/transactions/${id}/reversal`, { force: true }, asAdmin);
    expect(forced.text).toContain('"amount":10.00,"newBalance":-4.00,"newVersion":"4"');
    expect(await balanceOf(accountId)).toBe('{"balance":-4.00,"version":4}');
    expect((await send(`/accounts/${accountId}/transactions`, { amount: 1, type: 'Withdraw' })).status).toBe(
      422,
    );
  });

  it('of a held amount is refused, of a captured one it is not', async () => {
    const accountId = await open('10.00');
    const holdId = await hold(accountId, '6.00');
    expect((await send(`/transactions/txn${holdId}/reversal`, {})).text).toBe('{"error":"Not reversible"}');
    const { transactions } = await ledger.execute({
      type: 'capture',
      accountId,
      holdId,
      final: true,
      amount: 400n,
    });
    const [released, debited] = transactions.map(({ transactionId }) => `txn${transactionId}`);
    expect((await send(`/transactions/${released}/reversal`, {})).text).toBe('{"error":"Not reversible"}');
    expect((await send(`/transactions/${debited}/reversal`, {})).text).toContain(
      '"amount":4.00,"newBalance":10.00',
    );
    const rows = JSON.parse((await get(`/accounts/${accountId}/transactions`)).text) as { data: object[] };
    expect(rows.data).toMatchObject([
      { type: 'Deposit', reverses: debited },
      { type: 'Withdraw', holdId: `hold${holdId}`, newBalance: 6 },
      { type: 'Release', amount: 6, holdId: `hold${holdId}`, newHeld: 0 },
      { type: 'Hold', amount: 6, holdId: `hold${holdId}`, newHeld: 6, newBalance: 10 },
      { type: 'Deposit' },
    ]);
    for (const type of ['Hold', 'release'])
      expect((await get(`/accounts/${accountId}/transactions?type=${type}`)).text).toContain(`hold${holdId}`);
    const page = JSON.parse((await get(`/accounts/${accountId}/transactions?type=hold&limit=1`)).text) as {
      data: object[];
    };
    expect(page.data).toHaveLength(1);
  });

  it('is that of an account that takes it', async () => {
    const accountId = await open('10.00');
    const { id } = receiptIn(await send(`/accounts/${accountId}/transactions`, deposit('1')));
    await change(accountId, { status: 'debits_blocked' });
    expect((await send(`/transactions/${id}/reversal`, {})).text).toBe('{"error":"Debits blocked"}');
    await change(accountId, { status: 'frozen' });
    expect((await send(`/transactions/${id}/reversal`, {})).text).toBe('{"error":"Account frozen"}');
  });

  it('needs the owner of the account, and the scope of what it posts', async () => {
    const accountId = await open('10.00', 'ada');
    const path = `/accounts/${accountId}/transactions`;
    const { id } = receiptIn(await send(path, { amount: 1, type: 'Withdraw' }));
    expect((await send(`/transactions/${id}/reversal`, {}, as('bob'))).text).toBe(
      '{"error":"Transaction not found"}',
    );
    const wallet = new Wallet([{ url: database.url, schema: 'bank_0' }]);
    const payer = bearer(await wallet.key({ owner: 'ada', scopes: ['withdrawals:write'] }));
    const refused = await send(`/transactions/${id}/reversal`, {}, payer);
    expect([refused.status, refused.headers['www-authenticate']]).toEqual([
      403,
      'Bearer error="insufficient_scope", scope="deposits:write"',
    ]);
    expect((await send(`/transactions/${id}/reversal`, {}, as('ada'))).status).toBe(201);
  });
});

describe('the reversal of a transfer', () => {
  it('of two legs is done in parts, never for more than it was', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    const { id } = transferIn(await transfer({ from, to, amount: 10 }));
    const path = `/transfers/${id}/reversal`;
    const answers = await simultaneously(6, () => send(path, { amount: 4 }));
    expect(statusesOf(answers)).toEqual([201, 201, 422, 422, 422, 422]);
    const rest = await send(path, { reference: 'the rest' });
    expect(generic(rest)).toBe(
      `{"id":"trN","status":"completed","legs":[{"transactionId":"txnN","accountId":${from},"type":"Deposit","amount":2.00,` +
        `"newBalance":10.00,"newVersion":"6"},{"transactionId":"txnN+1","accountId":${to},"type":"Withdraw",` +
        `"amount":2.00,"newBalance":0.00,"newVersion":"5"}],"timestamp":"T","reverses":"${id}","reference":"the rest"}`,
    );
    expect((await get(`/transfers/${transferIn(rest).id}`)).text).toBe(rest.text);
    expect((await get(`/accounts/${to}/transfers?limit=1`)).text).toContain(rest.text);
    expect((await send(path, {})).text).toBe('{"error":"Reversal exceeded"}');
    expect((await send(`/transfers/${transferIn(rest).id}/reversal`, {})).text).toBe(
      '{"error":"Not reversible"}',
    );
  });

  it('of several legs is done as a whole', async () => {
    const [a, b, c] = (await openAll('10.00', '0.00', '0.00')) as [number, number, number];
    const legs = [
      { accountId: a, type: 'Withdraw', amount: 10 },
      { accountId: b, type: 'Deposit', amount: 7 },
      { accountId: c, type: 'Deposit', amount: 3 },
    ];
    const made = transferIn(await transfer({ legs }));
    const path = `/transfers/${made.id}/reversal`;
    expect((await send(path, { amount: 3 })).text).toBe('{"error":"Not reversible in part"}');
    expect((await send(path, {}, withKey('whole'))).status).toBe(201);
    expect((await send(path, {}, withKey('whole'))).text).toMatch(/^{"error":"Duplicate transfer"/);
    expect((await send(path, { force: true }, asAdmin)).text).toBe('{"error":"Reversal exceeded"}');
    expect(await Promise.all([a, b, c].map(balanceOf))).toEqual([
      '{"balance":10.00,"version":4}',
      '{"balance":0.00,"version":3}',
      '{"balance":0.00,"version":3}',
    ]);
  });

  it('is not that of a leg', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    const { id, legs } = transferIn(await transfer({ from, to, amount: 10 }));
    for (const { transactionId } of legs) {
      const refused = await send(`/transactions/${transactionId}/reversal`, {});
      expect([refused.status, refused.text]).toEqual([
        409,
        `{"error":"Part of a transfer","transferId":"${id}"}`,
      ]);
    }
  });

  it('needs the money of those who pay back, or force', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    const { id } = transferIn(await transfer({ from, to, amount: 10 }));
    const path = `/transfers/${id}/reversal`;
    await hold(to, '3.00');
    const refused = await send(path, {});
    expect(refused.text).toBe(`{"error":"Insufficient Balance","accountId":${to}}`);
    const forced = await send(path, { force: true }, asAdmin);
    expect(forced.text).toContain(`"accountId":${to},"type":"Withdraw","amount":10.00,"newBalance":0.00`);
  });

  it('ends holds that have expired first, and is named by its own first leg', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    const { id } = transferIn(await transfer({ from, to, amount: 10 }));
    await hold(to, '3.00', { expiresAt: new Date(Date.now() + 1) });
    await new Promise((resolve) => setTimeout(resolve, 5));
    const reversed = await send(`/transfers/${id}/reversal`, {});
    expect(reversed.status).toBe(201);
    const answer = transferIn(reversed);
    expect(answer.legs).toHaveLength(2);
    expect(answer.legs[0]?.transactionId).toBe(answer.id.replace('tr', 'txn'));
    expect((await get(`/transfers/${answer.id}`)).text).toBe(reversed.text);
  });

  it('is that of a captured one, too', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    const holdId = await hold(from, '6.00');
    const { transactions } = await ledger.execute({
      ...{ type: 'capture', accountId: from, holdId, final: true, to: { accountId: to } },
    });
    const id = `tr${transactions[1]?.transactionId}`;
    expect(generic(await get(`/transfers/${id}`))).toBe(
      `{"id":"trN","status":"completed","legs":[{"transactionId":"txnN","accountId":${from},"type":"Withdraw","amount":6.00,` +
        `"newBalance":4.00,"newVersion":"5"},{"transactionId":"txnN+1","accountId":${to},"type":"Deposit",` +
        `"amount":6.00,"newBalance":6.00,"newVersion":"2"}],"timestamp":"T"}`,
    );
    expect((await get(`/transactions/${id.replace('tr', 'txn')}`)).text).toContain(
      `"holdId":"hold${holdId}","transferId":"${id}"`,
    );
    expect((await send(`/transfers/${id}/reversal`, {})).status).toBe(201);
    expect(await balanceOf(from)).toBe('{"balance":10.00,"version":6}');
  });
});

describe('a dry run', () => {
  const dry = (path: string, body: object, headers?: Record<string, string>) =>
    send(`${path}?dryRun=true`, body, headers);

  /** What a real answer would be without what only a real one has. */
  const planned = (text: string) =>
    text.replaceAll(/"(id|status|transactionId)":"\w+",|,"timestamp":"[^"]+"/g, '');

  it('of each kind answers what would happen, and nothing happens', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    const made = transferIn(await transfer({ from, to, amount: 3 }));
    const { id } = receiptIn(await send(`/accounts/${from}/transactions`, deposit('1')));
    const before = await Promise.all([from, to].map(balanceOf));
    const description = 'x';
    for (const [index, [path, body]] of [
      [`/accounts/${from}/transactions`, { ...deposit('2'), expectedVersion: 4 }],
      ['/transfers', { from, to, amount: 2, description }],
      [`/transactions/${id}/reversal`, { description }],
      [`/transfers/${made.id}/reversal`, { amount: 1 }],
    ].entries() as Iterable<[number, [string, object]]>) {
      const answers = await simultaneously(3, () => dry(path, body, withKey(`dry-${index}`)));
      for (const { status, text, headers } of answers) {
        expect([status, text]).toEqual([200, answers[0]?.text]);
        expect([headers['location'], headers['etag']]).toEqual([undefined, undefined]);
      }
      expect(await Promise.all([from, to].map(balanceOf))).toEqual(before);
      // Its key is free, and what it said comes true.
      const real = await send(path, body, withKey(`dry-${index}`));
      expect(real.status).toBe(201);
      expect(planned(real.text)).toBe(answers[0]?.text);
      before.splice(0, 2, ...(await Promise.all([from, to].map(balanceOf))));
    }
  });

  it('is refused as the real one would be', async () => {
    const [from, to] = (await openAll('10.00', '0.00')) as [number, number];
    expect((await dry('/transfers', { from, to, amount: 11 })).text).toBe(
      `{"error":"Insufficient Balance","accountId":${from}}`,
    );
    const { id } = transferIn(await transfer({ from, to, amount: 1 }, withKey('k')));
    expect((await dry('/transfers', { from, to, amount: 1 }, withKey('k'))).text).toBe(
      `{"error":"Duplicate transfer","transferId":"${id}"}`,
    );
    expect(
      (await dry(`/accounts/${from}/transactions`, deposit('1'), { ...as(), 'if-match': '"1"' })).status,
    ).toBe(412);
    expect(fieldsIn(await transfer({ from, to, amount: 1 }, { ...as(), 'dry-run': 'true' }))).toEqual([
      'Dry-Run',
    ]);
  });

  it('tells an owner no more than the real one', async () => {
    const [ours, theirs] = await Promise.all([open('10.00', 'ada'), open('10.00', 'bob')]);
    expect((await dry('/transfers', { from: ours, to: theirs, amount: 1 }, as('ada'))).text).toBe(
      `{"legs":[{"accountId":${ours},"type":"Withdraw","amount":1.00,"newBalance":9.00,"newVersion":"3"},` +
        `{"accountId":${theirs},"type":"Deposit","amount":1.00}]}`,
    );
  });
});
