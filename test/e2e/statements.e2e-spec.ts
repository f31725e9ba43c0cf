import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { archiveBank } from '../../src/admin/archive.js';
import { formatMoney, readMoney } from '../../src/domain/money.js';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { capture, placed, voidHold } from '../support/holds.js';
import { textsOf } from '../support/pdf.js';
import { query } from '../support/postgres.js';
import { deposit, eventually, fieldsIn, post, receiptIn, withdrawal } from '../support/requests.js';
import { readXml } from '../support/xml.js';

let app: TestApp;

beforeAll(async () => {
  app = await startApp();
});

afterAll(() => app.close());

interface Line {
  readonly transactionId: string;
  readonly timestamp: string;
  readonly type: string;
  readonly amount: string;
  readonly balance: string;
  readonly description?: string;
}

interface Statement {
  readonly openingBalance: string;
  readonly closingBalance: string;
  readonly totalCredits: string;
  readonly totalDebits: string;
  readonly credits: number;
  readonly debits: number;
  readonly lines: readonly Line[];
}

const ALWAYS = '2020-01-01';
const get = (accountId: number, from: string, to: string, accept = 'application/json', more = {}) =>
  app.http
    .get(`/accounts/${accountId}/statement`)
    .query({ from, to, ...more })
    .set('accept', accept)
    .buffer(true)
    .parse((response, done) => {
      const parts: Buffer[] = [];
      response
        .on('data', (part: Buffer) => parts.push(part))
        .on('end', () => done(null, Buffer.concat(parts)));
    })
    .then(({ status, headers, body }) => ({
      ...{ status, headers, body: body as Buffer },
      text: (body as Buffer).toString(),
    }));

async function statement(accountId: number, from: string, to: string): Promise<Statement> {
  const { status, text } = await get(accountId, from, to, 'application/json; money=string');
  if (status !== 200) throw new Error(`${status} ${text}`);
  return JSON.parse(text) as Statement;
}

/** The database's current time. Nothing has happened after it. */
async function now(): Promise<string> {
  const [row] = (await query(app.databaseUrl, 'SELECT clock_timestamp() AS now')) as [{ now: Date }];
  return row.now.toISOString();
}

/** A millisecond later than a time: the end of an interval does not belong to it. */
const after = (timestamp: string) => new Date(Date.parse(timestamp) + 1).toISOString();

const cents = (text: string) => readMoney(text, 2) as bigint;
const sumOf = (lines: readonly Line[]) =>
  lines.reduce((sum, { type, amount }) => sum + (type === 'Deposit' ? cents(amount) : -cents(amount)), 0n);

const HOSTILE = '=HYPERLINK("http://evil") <script>&amp;]]> \uFFFE"';

describe('GET /accounts/{accountId}/statement', () => {
  let accountId: number;
  let rent: string;
  let times: string[];

  beforeAll(async () => {
    accountId = await openAccount(app, '1000.00');
    const other = await openAccount(app);
    const first = receiptIn(
      await post(app, accountId, {
        ...withdrawal('250.10'),
        description: 'Rent for May',
        reference: 'order "4711", 2',
        effectiveDate: '2025-05-03',
      }),
    );
    rent = first.id;
    const hold = await placed(app, accountId, '80.00');
    await capture(app, hold, { amount: '30.00', final: true });
    await voidHold(app, await placed(app, accountId, '5.00'));
    await app.http.post('/transfers').send({ from: accountId, to: other, amount: '19.90' }).expect(201);
    await app.http.post(`/transactions/${rent}/reversal`).send({ amount: '0.10' }).expect(201);
    await post(app, accountId, { ...deposit('1.00'), description: HOSTILE, reference: '+1' });
    times = (await statement(accountId, ALWAYS, await now())).lines.map(({ timestamp }) => timestamp);
  });

  it('has the balances at both ends and what moved the balance between them, without holds', async () => {
    const { text, headers, status } = await get(accountId, ALWAYS, await now());
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('application/json; charset=utf-8');
    expect(headers['content-disposition']).toMatch(
      /^attachment; filename="statement-\d+-2020-01-01-[\d-]+\.json"$/,
    );
    expect(text).toContain('"openingBalance":0.00,"closingBalance":701.10,');
    expect(text).toContain('"totalCredits":1001.10,"totalDebits":300.00,"credits":3,"debits":3,');
    const { lines } = JSON.parse(text) as Statement;
    expect(lines.map(({ type, amount, balance }) => [type, amount, balance])).toEqual([
      ['Deposit', 1000, 1000],
      ['Withdraw', 250.1, 749.9],
      ['Withdraw', 30, 719.9],
      ['Withdraw', 19.9, 700],
      ['Deposit', 0.1, 700.1],
      ['Deposit', 1, 701.1],
    ]);
    expect(lines[1]).toMatchObject({
      ...{ transactionId: rent, version: '3', description: 'Rent for May', reference: 'order "4711", 2' },
      effectiveDate: '2025-05-03',
    });
    expect(lines[2]).toMatchObject({ holdId: expect.stringMatching(/^hold\d+$/) });
    expect(lines[3]).toMatchObject({ transferId: expect.stringMatching(/^tr\d+$/) });
    expect(lines[4]).toMatchObject({ reverses: rent });
    expect(lines[5]).toMatchObject({ description: HOSTILE });
  });

  it('begins with its first instant and ends before its last', async () => {
    const [, second = '', , fourth = ''] = times;
    const { openingBalance, closingBalance, lines } = await statement(accountId, second, fourth);
    const inside = times.filter((time) => time >= second && time < fourth);
    expect(lines.map(({ timestamp }) => timestamp)).toEqual(inside);
    expect(cents(openingBalance) + sumOf(lines)).toBe(cents(closingBalance));
    const rest = await statement(accountId, fourth, await now());
    expect(rest.openingBalance).toBe(closingBalance);
  });

  it('is empty before the account was opened', async () => {
    expect(await statement(accountId, '2020-01-01', '2020-02-01')).toMatchObject({
      ...{ openingBalance: '0.00', closingBalance: '0.00', credits: 0, debits: 0, lines: [] },
    });
  });

  it('as CSV begins and ends with the balances, and no text is a formula', async () => {
    const { text, headers } = await get(accountId, ALWAYS, await now(), 'text/csv');
    expect(headers['content-type']).toBe('text/csv; charset=utf-8');
    const rows = text.split('\r\n');
    expect(rows[1]).toMatch(/^2020-01-01T00:00:00\.000Z,OpeningBalance,,,,,0\.00,USD,\d+,,,,$/);
    expect(rows.at(-2)).toMatch(/,ClosingBalance,,,,,701\.10,USD,/);
    expect(rows[3]).toContain(
      `,Withdraw,Rent for May,"order ""4711"", 2",2025-05-03,-250.10,749.90,USD,${accountId},${rent},,,`,
    );
    expect(rows.at(-3)).toContain(`,"'${HOSTILE.replaceAll('"', '""')}",'+1,,1.00,701.10,USD,`);
    expect(rows.at(-1)).toBe('');
  });

  it('as camt.053 is well-formed XML with the same amounts', async () => {
    for (const [accept, format] of [
      ['application/xml', undefined],
      ['*/*', 'CAMT.053'],
    ] as const) {
      const { text, headers } = await get(accountId, ALWAYS, await now(), accept, format && { format });
      expect(headers['content-type']).toBe('application/xml; charset=utf-8');
      const document = readXml(text);
      const [stmt] = document.all('Stmt');
      expect(stmt?.all('Bal').map((balance) => balance.text('Amt'))).toEqual(['0.00', '701.10']);
      const entries = stmt?.all('Ntry') ?? [];
      expect(entries.map((entry) => `${entry.text('CdtDbtInd')} ${entry.text('Amt')}`)).toEqual([
        ...['CRDT 1000.00', 'DBIT 250.10', 'DBIT 30.00', 'DBIT 19.90', 'CRDT 0.10', 'CRDT 1.00'],
      ]);
      expect(entries[5]?.text('AddtlNtryInf')).toBe(HOSTILE.replace('\uFFFE', '\uFFFD'));
    }
  });

  it('as PDF has all of it', async () => {
    const { body, headers } = await get(accountId, ALWAYS, await now(), 'application/pdf');
    expect(headers['content-type']).toBe('application/pdf');
    expect(headers['content-disposition']).toMatch(/\.pdf"$/);
    const [page = []] = textsOf(body);
    expect(page).toEqual(
      expect.arrayContaining([
        ...['Account statement', String(accountId), 'Rent for May', 'Reference order "4711", 2'],
        ...['250.10', '749.90', '1,000.00', '701.10', 'Page 1 of 1'],
      ]),
    );
    expect(page.join(' ')).toContain('=HYPERLINK("http://evil") <script>&amp;]]> □"');
  });

  it('takes the form from Accept, or from format whatever Accept says', async () => {
    const typeFor = async (accept: string, format?: string) =>
      (await get(accountId, ALWAYS, '2020-02-01', accept, format === undefined ? {} : { format })).headers[
        'content-type'
      ];
    expect(await typeFor('text/html, text/csv;q=0.5, application/pdf;q=0.4')).toMatch('text/csv');
    expect(await typeFor('text/html')).toMatch('application/json');
    expect(await typeFor('text/html', 'pdf')).toBe('application/pdf');
    expect(await typeFor('application/json; money=string, text/csv;q=0.1')).toMatch('money=string');
    expect(await typeFor('application/json; money=string', 'CSV')).toBe('text/csv; charset=utf-8');
  });

  it('refuses intervals that are missing, reversed, unfinished or malformed', async () => {
    const fields = async (from: string, to: string, more = {}) => {
      const response = await get(accountId, from, to, 'text/csv', more);
      expect(response.status).toBe(400);
      expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
      return fieldsIn(response);
    };
    expect(await fields('2025-02-30', 'x')).toEqual(['from', 'to']);
    expect(await fields('2025-01-01', '2025-01-01')).toEqual(['from']);
    expect(await fields('2025-01-01', '2999-01-01')).toEqual(['to']);
    expect(await fields('2025-01-01', '2025-02-01', { format: 'docx' })).toEqual(['format']);
    expect(await fields('2025-01-01', '2025-02-01', { limit: '5' })).toEqual(['limit']);
    const { status, text } = await app.http.get(`/accounts/${accountId}/statement`);
    expect([status, fieldsIn({ text })]).toEqual([400, ['from', 'to']]);
    expect((await get(999_999, ALWAYS, '2020-02-01')).status).toBe(404);
  });

  it('says the same to HEAD, without the body', async () => {
    const response = await app.http
      .head(`/accounts/${accountId}/statement?from=2020-01-01&to=2020-02-01&format=csv`)
      .expect(200);
    expect(response.headers['content-type']).toBe('text/csv; charset=utf-8');
    expect(response.text).toBeFalsy();
  });
});

describe('opening balance + lines = closing balance', () => {
  it('for any interval of any history, before and after it is archived', async () => {
    const accountId = await openAccount(app, '500.00');
    const steps = fc.sample(fc.tuple(fc.nat({ max: 3 }), fc.integer({ min: 1, max: 9_999 })), {
      numRuns: 60,
      seed: 7,
    });
    const holds: string[] = [];
    for (const [kind, amount] of steps) {
      const money = formatMoney(BigInt(amount), 2);
      if (kind === 0) await post(app, accountId, withdrawal(money));
      else if (kind === 1) await app.http.post(`/accounts/${accountId}/holds`).send({ amount: money });
      else await post(app, accountId, deposit(money));
      if (amount % 5 === 0) holds.push(await placed(app, accountId, '0.01'));
      const hold = amount % 7 === 0 ? holds.pop() : undefined;
      if (hold !== undefined) await capture(app, hold);
    }
    const end = await now();
    const all = await statement(accountId, ALWAYS, end);
    const marks = [ALWAYS, ...all.lines.flatMap(({ timestamp }) => [timestamp, after(timestamp)])].filter(
      (mark) => mark < end,
    );
    const pairs = fc.sample(fc.tuple(fc.constantFrom(...marks), fc.constantFrom(...marks, end)), {
      numRuns: 40,
      seed: 8,
    });
    const intervals = pairs.filter(([from, to]) => new Date(from) < new Date(to));
    expect(intervals.length).toBeGreaterThan(10);
    const check = async () => {
      for (const [from, to] of intervals) {
        const found = await statement(accountId, from, to);
        const expected = all.lines.filter(
          ({ timestamp }) => new Date(timestamp) >= new Date(from) && new Date(timestamp) < new Date(to),
        );
        expect(found.lines).toEqual(expected);
        expect(cents(found.openingBalance) + sumOf(expected)).toBe(cents(found.closingBalance));
        expect(cents(found.totalCredits) - cents(found.totalDebits)).toBe(sumOf(expected));
      }
    };
    await check();
    const middle = new Date(all.lines[Math.floor(all.lines.length / 2)]?.timestamp ?? '');
    await archiveBank([{ url: app.databaseUrl, schema: 'bank' }], middle);
    const archived = 'SELECT count(*)::int AS count FROM bank.archived_transactions WHERE account_id = ';
    const [{ count }] = (await query(app.databaseUrl, `${archived}${accountId}`)) as [{ count: number }];
    expect(count).toBeGreaterThan(10);
    await check();
  }, 60_000);

  it('while postings go on: what has an earlier time is in it', async () => {
    const accountId = await openAccount(app, '100.00');
    let isOver = false;
    const posting = Array.from({ length: 4 }, async () => {
      while (!isOver) await post(app, accountId, deposit('0.01'));
    });
    const seen: { readonly to: string; readonly statement: Statement }[] = [];
    for (let round = 0; round < 12; round++) {
      const to = await now();
      seen.push({ to, statement: await statement(accountId, ALWAYS, to) });
    }
    isOver = true;
    await Promise.all(posting);
    for (const { to, statement: then } of seen) {
      expect(cents(then.openingBalance) + sumOf(then.lines)).toBe(cents(then.closingBalance));
      expect((await statement(accountId, ALWAYS, to)).lines).toEqual(then.lines);
    }
    expect(seen.at(-1)?.statement.lines.length).toBeGreaterThan(seen[0]?.statement.lines.length ?? 0);
  }, 60_000);
});

describe('a client that goes away', () => {
  it('ends the work, and its place is free for others', async () => {
    const accountId = await openAccount(app, '1.00');
    const url = `${app.url}/accounts/${accountId}/statement?from=2020-01-01&to=${await now()}`;
    for (let round = 0; round < 12; round++) {
      const controller = new AbortController();
      const answer = fetch(url, { signal: controller.signal }).catch(() => undefined);
      setTimeout(() => controller.abort(), round % 4);
      await answer;
    }
    await eventually(async () => {
      const both = await Promise.all([fetch(url), fetch(url)]);
      expect(both.map(({ status }) => status)).toEqual([200, 200]);
      await Promise.all(both.map((response) => response.text()));
    });
  });
});
