import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Response } from 'supertest';
import { backupBank } from '../../src/admin/backup/backup.js';
import { restoreBank } from '../../src/admin/backup/restore.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { currencyOf } from '../../src/config/currencies.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { startApp, startInstance, type TestApp } from '../support/app.js';
import { textsOf } from '../support/pdf.js';
import { createEmptyTestDatabase, query } from '../support/postgres.js';
import {
  balanceOf,
  deposit,
  fieldsIn,
  JSON_TYPE,
  post,
  TEXT_MONEY,
  type Problem,
} from '../support/requests.js';
import { Wallet } from '../support/wallet.js';
import { readXml } from '../support/xml.js';

let app: TestApp;

beforeAll(async () => {
  app = await startApp();
});

afterAll(() => app.close());

/** As text, so that a number keeps its zeros. */
const send = (path: string, body: string, headers: Record<string, string> = {}): Promise<Response> =>
  Promise.resolve(
    app.http
      .post(path)
      .set({ 'content-type': JSON_TYPE, ...headers })
      .send(body),
  );

async function open(currency?: string, openingDeposit?: string): Promise<number> {
  const response = await app.http.post('/accounts').send({ currency, openingDeposit });
  if (response.status !== 201) throw new Error(response.text);
  return (JSON.parse(response.text) as { accountId: number }).accountId;
}

const problemIn = ({ text }: Response): Problem | undefined =>
  (JSON.parse(text) as { details: Problem[] }).details[0];

/** For each currency, an amount as answers write it, three times and a third of it, and one with a decimal too many. */
const MONEY = [
  ['USD', { amount: '7.50', thrice: '22.50', third: '2.50', zero: '0.00', tooFine: '7.505' }],
  ['JPY', { amount: '750', thrice: '2250', third: '250', zero: '0', tooFine: '750.5' }],
  ['KWD', { amount: '1.500', thrice: '4.500', third: '0.500', zero: '0.000', tooFine: '1.5005' }],
  ['CLF', { amount: '0.0003', thrice: '0.0009', third: '0.0001', zero: '0.0000', tooFine: '0.00035' }],
] as const;

describe.each(MONEY)('an account in %s', (currency, { amount, thrice, third, zero, tooFine }) => {
  it('is opened with it, and shows it', async () => {
    const opened = await app.http.post('/accounts').send({ currency, openingDeposit: amount });
    expect(opened.status).toBe(201);
    expect(opened.text).toContain(
      `"balance":${amount},"version":2,"held":${zero},"available":${amount},"overdraftLimit":${zero},` +
        `"currency":"${currency}"`,
    );
    const again = await app.http.get(String(opened.headers.location)).set(TEXT_MONEY);
    expect(again.text).toContain(`"balance":"${amount}"`);
    const empty = await open(currency);
    expect(await balanceOf(app, empty)).toBe(`{"balance":${zero},"version":1}`);
  });

  it('takes and shows amounts with exactly its decimals', async () => {
    const accountId = await open(currency);
    const posted = await post(app, accountId, `{"amount":${amount},"type":"Deposit"}`);
    expect(posted.text).toContain(`"amount":${amount},"newBalance":${amount},"newVersion":"2"`);
    const asText = await post(app, accountId, { ...deposit(amount) }, TEXT_MONEY);
    expect(asText.text).toContain(`"amount":"${amount}"`);
    await post(app, accountId, deposit(amount));
    expect(await balanceOf(app, accountId)).toBe(`{"balance":${thrice},"version":4}`);
    const cached = await app.http.get(`/accounts/${accountId}/balance`);
    expect(cached.text).toBe(`{"balance":${thrice},"version":4}`);
    const past = await app.http.get(`/accounts/${accountId}/balance?version=1`);
    expect(past.text).toBe(`{"balance":${zero},"version":1,"held":${zero}}`);
    const listed = await app.http.get(`/accounts/${accountId}/transactions?minAmount=${amount}`);
    expect(listed.text.match(new RegExp(`"amount":${amount.replace('.', '\\.')},`, 'g'))).toHaveLength(3);
  });

  it('refuses what has more decimals, and names it as the client did', async () => {
    const accountId = await open(currency, thrice);
    const path = `/accounts/${accountId}`;
    const answers = [
      await send(`${path}/transactions`, `{"amount":${tooFine},"type":"Deposit"}`),
      await send(
        `${path}/transactions`,
        `{"moneyWithdraw/Deposit":${tooFine},"typeOfTransaction":"Deposit"}`,
      ),
      await send(`${path}/transactions?dryRun=true`, `{"amount":"${tooFine}","type":"Withdraw"}`),
      await send(`${path}/holds`, `{"amount":${tooFine}}`),
      await send('/accounts', `{"openingDeposit":${tooFine},"currency":"${currency}"}`),
    ];
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 400));
    expect(answers.map((answer) => fieldsIn(answer))).toEqual([
      ...[['amount'], ['moneyWithdraw/Deposit'], ['amount'], ['amount'], ['openingDeposit']],
    ]);
    expect(await balanceOf(app, accountId)).toBe(`{"balance":${thrice},"version":2}`);
  });

  it('holds, captures, transfers and reverses money', async () => {
    const [from, to] = [await open(currency, thrice), await open(currency)];
    const placed = await send(`/accounts/${from}/holds`, `{"amount":${amount}}`);
    expect(placed.text).toContain(`"amount":${amount},"remaining":${amount},"captured":${zero}`);
    const { id } = JSON.parse(placed.text) as { id: string };
    const captured = await send(`/holds/${id}/capture`, `{"amount":${third},"to":${to},"final":true}`);
    expect(captured.status).toBe(201);
    const moved = await send('/transfers', `{"from":${from},"to":${to},"amount":${third}}`);
    expect(moved.text).toContain(`"amount":${third}`);
    const reversed = await send(`/transfers/${(JSON.parse(moved.text) as { id: string }).id}/reversal`, '{}');
    expect(reversed.status).toBe(201);
    expect(await balanceOf(app, to)).toMatch(`"balance":${third},`);
    const hold = await app.http.get(`/holds/${id}`);
    expect(hold.text).toContain(`"amount":${amount},"remaining":${zero},"captured":${third}`);
  });

  it('has statements in every form', async () => {
    const accountId = await open(currency, amount);
    await post(app, accountId, deposit(amount));
    await post(app, accountId, { amount: third, type: 'Withdraw' });
    const [{ now } = { now: '' }] = await query<{ now: string }>(
      app.databaseUrl,
      `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS now`,
    );
    const get = (format: string) =>
      app.http
        .get(`/accounts/${accountId}/statement?from=2020-01-01&to=${now}&format=${format}`)
        .buffer(true)
        .parse((response, done) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('end', () => done(null, Buffer.concat(parts)));
        })
        .then(({ body }) => body as Buffer);
    const json = (await get('json')).toString();
    expect(json).toContain(`"currency":"${currency}"`);
    expect(json).toContain(`"openingBalance":${zero},`);
    expect(json).toContain(`"amount":${third},`);
    expect((await get('csv')).toString()).toContain(`,${amount},${amount},${currency},${accountId},`);
    const camt = (await get('camt.053')).toString();
    expect(() => readXml(camt)).not.toThrow();
    expect(camt).toContain(`<Ccy>${currency}</Ccy>`);
    expect(camt).toContain(`<Amt Ccy="${currency}">${third}</Amt><CdtDbtInd>DBIT</CdtDbtInd>`);
    const texts = textsOf(await get('pdf')).join('\n');
    expect(texts).toContain(currency);
    expect(texts).toContain(third);
  });
});

describe('currencies', () => {
  it('are those of ISO 4217', async () => {
    for (const currency of ['XXX', 'XAU', 'usd', 'ABC', '', 'EURO']) {
      const answer = await app.http.post('/accounts').send({ currency });
      expect([answer.status, fieldsIn(answer)]).toEqual([400, ['currency']]);
    }
    for (const currency of ['EUR', 'XCG', 'XOF', 'UYW']) await open(currency);
  });

  it('are a filter of accounts', async () => {
    const [yen, dollars] = [await open('JPY'), await open()];
    const listed = async (code: string) => {
      const { text } = await app.http.get(`/accounts?currency=${code}&limit=100`);
      return (JSON.parse(text) as { data: { accountId: number; currency: string }[] }).data;
    };
    expect((await listed('JPY')).map(({ accountId }) => accountId)).toContain(yen);
    expect((await listed('USD')).map(({ accountId }) => accountId)).toContain(dollars);
    for (const code of ['JPY', 'USD'])
      expect(new Set((await listed(code)).map(({ currency }) => currency))).toEqual(new Set([code]));
    const page = await app.http.get('/accounts?currency=JPY&limit=1');
    const { nextCursor } = JSON.parse(page.text) as { nextCursor: string };
    const next = await app.http.get('/accounts').query({ cursor: nextCursor, limit: 1 });
    expect(next.text).toContain('"currency":"JPY"');
  });

  it('belong to the request that an idempotency key stands for', async () => {
    const openWith = (body: object) =>
      app.http.post('/accounts').set('idempotency-key', 'currencies').send(body);
    expect((await openWith({ currency: 'JPY', openingDeposit: '5' })).status).toBe(201);
    expect((await openWith({ currency: 'JPY', openingDeposit: '5' })).status).toBe(409);
    expect((await openWith({ currency: 'KWD', openingDeposit: '5' })).status).toBe(422);
    expect((await openWith({ openingDeposit: '5' })).status).toBe(422);
  });
});

describe('transfers', () => {
  it('between currencies are refused: nothing is converted', async () => {
    const [dollars, yen] = [await open('USD', '100'), await open('JPY', '1000')];
    const refused = await send('/transfers', `{"from":${dollars},"to":${yen},"amount":5}`);
    expect([refused.status, refused.headers['x-error-code']]).toEqual([422, 'CURRENCY_MISMATCH']);
    const placed = await send(`/accounts/${dollars}/holds`, '{"amount":5}');
    const { id } = JSON.parse(placed.text) as { id: string };
    const captured = await send(`/holds/${id}/capture`, `{"to":${yen}}`);
    expect([captured.status, captured.headers['x-error-code']]).toEqual([422, 'CURRENCY_MISMATCH']);
  });

  it('exchange money over liquidity accounts, and can be reversed', async () => {
    const [dollars, liquidDollars] = [await open('USD', '100'), await open('USD', '1000')];
    const [dinars, liquidDinars] = [await open('KWD'), await open('KWD', '500')];
    const leg = (accountId: number, type: string, amount: string) => ({ accountId, type, amount });
    const legs = [
      ...[leg(dollars, 'Withdraw', '10.00'), leg(liquidDollars, 'Deposit', '10.00')],
      ...[leg(liquidDinars, 'Withdraw', '3.075'), leg(dinars, 'Deposit', '3.075')],
    ];
    const made = await app.http.post('/transfers').send({ legs });
    expect(made.status).toBe(201);
    expect(made.text).toContain('"type":"Deposit","amount":3.075,"newBalance":3.075');
    const balances = () =>
      Promise.all([dollars, liquidDollars, dinars, liquidDinars].map((id) => balanceOf(app, id)));
    expect((await balances()).map((text) => /:([\d.]+),/.exec(text)?.[1])).toEqual([
      ...['90.00', '1010.00', '3.075', '496.925'],
    ]);
    const { id } = JSON.parse(made.text) as { id: string };
    expect((await send(`/transfers/${id}/reversal`, '{"amount":1}')).headers['x-error-code']).toBe(
      'NOT_REVERSIBLE_IN_PART',
    );
    expect((await send(`/transfers/${id}/reversal`, '{}')).status).toBe(201);
    expect((await balances()).map((text) => /:([\d.]+),/.exec(text)?.[1])).toEqual([
      ...['100.00', '1000.00', '0.000', '500.000'],
    ]);
    const uneven = legs.map((each, index) => (index === 3 ? { ...each, amount: '3.074' } : each));
    const refused = await app.http.post('/transfers').send({ legs: uneven });
    expect([refused.status, refused.headers['x-error-code']]).toEqual([422, 'CURRENCY_MISMATCH']);
    const tooFine = legs.map((each, index) => (index < 2 ? { ...each, amount: '1.005' } : each));
    expect(problemIn(await app.http.post('/transfers').send({ legs: tooFine }))).toEqual({
      field: 'legs[0].amount',
      message: "must have at most 2 decimals, like the account's currency",
    });
  });

  it('in a batch name what is wrong as single ones do', async () => {
    const yen = await open('JPY', '1000');
    const items = [
      { accountId: yen, type: 'Deposit', amount: '0.5' },
      { accountId: yen, typeOfTransaction: 'Deposit', 'moneyWithdraw/Deposit': '0.5' },
      { accountId: yen, type: 'Deposit', amount: '5' },
    ];
    const { text } = await app.http.post('/transactions/batch').send(items);
    const results = JSON.parse(text) as { status: number; body: { details?: Problem[] } }[];
    expect(results.map(({ status, body }) => [status, body.details?.[0]?.field])).toEqual([
      ...[[400, 'amount'], [400, 'moneyWithdraw/Deposit'], [201, undefined]], // prettier-ignore
    ]);
  });

  it("don't tell a stranger the currency of an account", async () => {
    const database = await createEmptyTestDatabase('strangers');
    const shards = [{ url: database.url, schema: 'bank' }];
    await bootstrapShards(shards);
    const wallet = new Wallet(shards);
    const senders = await wallet.senders(['ada']);
    const service = await startInstance(shards, wallet.settings);
    const openFor = async (owner: string | undefined, currency: string) => {
      const { text } = await service.http
        .post('/accounts')
        .set(senders(undefined))
        .send({ owner, currency, openingDeposit: '100' });
      return (JSON.parse(text) as { accountId: number }).accountId;
    };
    const from = await openFor('ada', 'USD');
    const others = [
      await openFor(undefined, 'JPY'),
      await openFor(undefined, 'KWD'),
      await openFor(undefined, 'EUR'),
    ];
    for (const to of others) {
      for (const amount of ['5', '5.50', '5.505']) {
        const refused = await service.http.post('/transfers').set(senders('ada')).send({ from, to, amount });
        expect([refused.status, refused.headers['x-error-code']]).toEqual([422, 'COUNTERPARTY_REFUSED']);
      }
    }
    await service.close();
    await database.drop();
  });
});

describe('the books', () => {
  it('of several currencies are whole, and are still after a backup and a restore', async () => {
    const shards = [{ url: app.databaseUrl, schema: 'bank' }];
    const report = await verifyBank(shards);
    expect(report).toMatchObject({ faults: [], ok: true });
    expect(Object.keys(report.otherBalances ?? {})).toEqual(expect.arrayContaining(['CLF', 'JPY', 'KWD']));
    expect(report.otherBalances?.JPY).toMatch(/^\d+$/);
    const folder = mkdtempSync(join(tmpdir(), 'bank-currencies-'));
    const target = await createEmptyTestDatabase('currencies');
    try {
      const to = join(folder, 'backup');
      await backupBank(shards, { to });
      const restored = [{ url: target.url, schema: 'bank' }];
      const { totals } = await restoreBank(restored, { from: to, skipIds: 1 });
      expect(totals.otherBalances).toEqual(report.otherBalances);
      expect(await verifyBank(restored)).toMatchObject({ ok: true, otherBalances: report.otherBalances });
    } finally {
      await target.drop();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('are not whole where an account has another currency than it was opened with', async () => {
    const shards = [{ url: app.databaseUrl, schema: 'bank' }];
    const [euros, dollars] = [await open('EUR', '5.00'), await open(undefined, '5.00')];
    for (const [accountId, was, becomes] of [
      [euros, `'EUR'`, `'GBP'`],
      [euros, `'EUR'`, 'NULL'],
      [dollars, 'NULL', `'EUR'`],
    ] as const) {
      const become = (currency: string) =>
        query(
          app.databaseUrl,
          `UPDATE bank.accounts SET currency = ${currency} WHERE account_id = ${accountId}`,
        );
      await become(becomes);
      expect((await verifyBank(shards)).faults).toMatchObject([
        { accountId, checks: ['account_is_as_changed'] },
      ]);
      await become(was);
    }
  });

  it('are not whole where amounts have more decimals than their currency', async () => {
    const dinars = await open('KWD', '5.001');
    const shards = [{ url: app.databaseUrl, schema: 'bank' }];
    await query(app.databaseUrl, `UPDATE bank.accounts SET currency = 'EUR' WHERE account_id = ${dinars}`);
    const { faults } = await verifyBank(shards);
    expect(faults).toMatchObject([
      { accountId: dinars, checks: expect.arrayContaining(['balance_is_valid', 'amounts_are_valid']) },
    ]);
    await query(app.databaseUrl, `UPDATE bank.accounts SET currency = 'KWD' WHERE account_id = ${dinars}`);
  });
});

describe('a bank in another currency', () => {
  it.each([
    ['EUR', '350.50', '350.50'],
    ['JPY', '350', '350'],
    ['KWD', '1.5', '1.500'],
  ])('has accounts in %s unless they are opened otherwise', async (code, given, shown) => {
    const database = await createEmptyTestDatabase('eur');
    const shards = [{ url: database.url, schema: 'bank' }];
    await bootstrapShards(shards, { currency: currencyOf(code) });
    const service = await startInstance(shards, { CURRENCY: code });
    const opened = await service.http.post('/accounts').send({ openingDeposit: given });
    expect(opened.text).toContain(`"balance":${shown},`);
    expect(opened.text).toContain(`"currency":"${code}"`);
    await service.http.post('/accounts').send({ currency: 'USD', openingDeposit: '1.50' });
    const own = await service.http.get(`/accounts?currency=${code}`);
    expect(own.text).not.toContain('"currency":"USD"');
    expect(await verifyBank(shards)).toMatchObject({
      ok: true,
      balance: shown,
      otherBalances: { USD: '1.50' },
    });
    await service.close();
    await expect(bootstrapShards(shards, { currency: currencyOf('USD') })).rejects.toThrow(
      `CURRENCY is USD, but the bank was made with ${code}`,
    );
    await bootstrapShards(shards, { currency: currencyOf(code) });
    await database.drop();
  });
});
