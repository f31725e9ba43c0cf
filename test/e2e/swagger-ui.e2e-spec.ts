import { OpenApiContract } from '../../tools/fuzz/contract.js';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chromium, type Browser, type Locator, type Page } from 'playwright-core';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { makeKey } from '../support/credentials.js';
import { idOfSubmission } from '../support/submissions.js';
import { eventually } from '../support/requests.js';
import { attempt, NOTHING_SENT, rememberState, WEBHOOK_KEYS } from '../support/webhooks.js';

const CHROMIUM = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Runs in each page, before its own scripts. */
const TELL_VIOLATIONS = `addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
  console.error('against the Content-Security-Policy: ' + violatedDirective + ' ' + blockedURI))`;

/** What an attacker would put into the page. */
const INJECT = `
  const script = document.createElement('script');
  script.textContent = 'document.title = "run"';
  document.body.append(script);
  const image = document.createElement('img');
  image.setAttribute('onerror', 'document.title = "run"');
  image.src = '/nothing';
  document.body.append(image);`;

/** Posts from within a page. No result: the page may not read the answer. */
const postFrom = (url: string) => `
  fetch('${url}', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': 'from-a-page' },
    body: '{"amount":1.00,"type":"Deposit"}',
  }).then((answer) => answer.status + ' ' + answer.headers.get('etag'), () => undefined)`;

/** A cold browser on a busy machine is slow. */
const TIMEOUT_MS = 480_000;

describe('Swagger UI in a browser', () => {
  let app: TestApp;
  let browser: Browser;
  let page: Page;
  const requests: string[] = [];
  const problems: string[] = [];

  beforeAll(async () => {
    if (!existsSync(CHROMIUM)) {
      throw new Error(
        `There is no Chromium at ${CHROMIUM}. Install it:\n\n` +
          '  sudo apt-get install -y --no-install-recommends chromium\n\nor name another one in CHROMIUM_PATH.',
      );
    }
    app = await startApp({ WEBHOOK_KEYS }, NOTHING_SENT);
    // The account that a new bank starts with.
    expect(await openAccount(app, '1000.00')).toBe(1);
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    page = await browser.newPage();
    await page.addInitScript(TELL_VIOLATIONS);
    page.on('request', (request) => requests.push(request.url()));
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text());
    });
  }, TIMEOUT_MS);

  afterAll(async () => {
    await browser?.close();
    await app?.close();
  });

  const operation = async (id: string) => {
    const block = page.locator(`#operations-${id}`);
    await block.locator('.opblock-summary-control').click();
    await block.getByRole('button', { name: 'Execute' }).waitFor();
    return block;
  };

  /** Sends what the form of an operation holds. */
  const execute = async (block: Locator) => {
    const answered = page.waitForResponse((response) => response.request().resourceType() === 'fetch');
    await block.getByRole('button', { name: 'Execute' }).click();
    const answer = await answered;
    return { status: answer.status(), text: await answer.text() };
  };

  const contract = new OpenApiContract();

  /** Fills in the id of a resource that an earlier operation created: it can't be told in advance. */
  const fillIn = async (block: Locator, parameter: string, id: string | undefined) => {
    const input = block.locator(`[data-param-name="${parameter}"] input`);
    if (id !== undefined && (await input.count()) > 0) await input.fill(id);
  };

  /** The forms in which an operation can be sent: for each type of its body, each example. */
  async function* formsOf(block: Locator, operationId: string): AsyncGenerator<string> {
    if (!contract.operations.get(operationId)?.requestBody) {
      yield '';
      return;
    }
    const body = block.locator('.opblock-section-request-body');
    // The form of the body may come after the button.
    await body.locator('textarea').waitFor();
    const types = body.locator('.body-param-content-type select');
    for (const type of await types.locator('option').allInnerTexts()) {
      await types.selectOption(type);
      const examples = body.locator('.examples-select-element');
      if ((await examples.count()) === 0) yield type;
      for (const example of await examples.locator('option').allInnerTexts()) {
        await examples.selectOption({ label: example });
        yield `${type}: ${example}`;
      }
    }
  }

  it(
    'succeeds with each example of each operation on a new bank, one after the other',
    async () => {
      await page.goto(`${app.url}/docs`);
      await page.locator('.opblock').first().waitFor();
      const sent: string[] = [];
      let transferId: string | undefined;
      const submissionId = await idOfSubmission(app.databaseUrl, 1, 'order-4711');
      for (const block of await page.locator('.opblock').all()) {
        await block.locator('.opblock-summary-control').click();
        await block.getByRole('button', { name: 'Execute' }).waitFor();
        const operationId = (await block.getAttribute('id'))?.replace(/^operations-\w+-/, '') ?? '';
        // Swagger UI shows an answer when it is complete, which a stream never is.
        if (
          contract.routes.some(({ operation, isStream }) => isStream && operation.operationId === operationId)
        )
          continue;
        if (operationId === 'listDeliveries')
          await rememberState(app.databaseUrl, 'wh1', { recent: [attempt({ eventId: 'hold132/6' })] });
        await fillIn(block, 'transferId', transferId);
        await fillIn(block, 'submissionId', submissionId);
        for await (const form of formsOf(block, operationId)) {
          const { status, text } = await execute(block);
          expect(text).not.toContain('"error":"');
          transferId ??= /^{"id":"(tr\d+)"/.exec(text)?.[1];
          sent.push(`${status} ${operationId} ${form}`.trim());
        }
        await block.locator('.opblock-summary-control').click();
      }
      expect(sent).toEqual([
        '201 postTransaction application/json: Deposit',
        '201 postTransaction application/json: Deposit, if the account has version 3',
        '201 postTransaction application/json: Withdrawal',
        '201 postTransaction application/json: Deposit, with short names',
        '201 postTransaction application/json: Withdrawal with short names, if the account has version 6',
        '200 listTransactions',
        '201 reverseTransaction application/json: In part',
        '200 getTransaction',
        '200 getStatement',
        '200 postBatch application/json: Each for itself',
        '200 postBatch application/json: A hold and a reversal',
        '200 postBatch application/json: All or nothing',
        '200 postBatch application/x-ndjson',
        '200 getBalance',
        '201 openAccount application/json: With an opening deposit',
        '201 openAccount application/json: For an owner',
        '201 openAccount application/json: Beside another account',
        '201 openAccount application/json: Empty',
        '200 listAccounts',
        '200 getAccount',
        '200 changeAccount application/json: Block withdrawals',
        '200 changeAccount application/json: Open it again, with an overdraft',
        '200 changeAccount application/json: Name it',
        '200 getAccountProof',
        '201 postTransfer application/json: From one account to another',
        '201 postTransfer application/json: To several accounts',
        '201 reverseTransfer application/json: In part',
        '201 reverseTransfer application/json: All that is left',
        '200 getTransfer',
        '200 listTransfers',
        '201 placeHold application/json: For a week',
        '201 placeHold application/json: Without an end',
        '200 listHolds',
        '201 captureHold application/json: A part, and keep the rest',
        '201 captureHold application/json: A part, to another account',
        '201 captureHold application/json: All that remains',
        '200 voidHold application/json: With a reason',
        '200 getHold',
        '200 getSubmission',
        '201 createWebhook application/json: For some types of events',
        '201 createWebhook application/json: For all events of an owner',
        '200 listWebhooks',
        '200 getWebhook',
        '200 changeWebhook application/json: Switch it off',
        '200 changeWebhook application/json: Switch it on, for all events',
        '200 changeWebhook application/json: Move it',
        '204 deleteWebhook',
        '200 rotateWebhookSecret application/json: With an overlap of a day',
        '200 rotateWebhookSecret application/json: At once, because it leaked',
        '200 listDeliveries',
        '200 getDelivery',
        '202 redeliver application/json: One event',
        '202 redeliver application/json: All since a time',
        '200 getLedgerSummary',
        '200 getLiveness',
        '200 getReadiness',
        '200 getMetrics',
      ]);
    },
    TIMEOUT_MS,
  );

  it(
    'shows lines as lines',
    async () => {
      await page.goto(`${app.url}/docs`);
      const batch = await operation('Transactions-postBatch');
      const type = batch.locator('.body-param-content-type select');
      await type.selectOption('application/x-ndjson');
      const text = await batch.locator('textarea').inputValue();
      expect(
        text
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as unknown),
      ).toEqual([
        { accountId: 1, 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit' },
        { accountId: 1, amount: '19.50', type: 'Withdraw' },
      ]);
      await batch.getByRole('button', { name: 'Execute' }).click();
      const answer = batch.locator('.live-responses-table .response .response-col_description');
      expect(await answer.innerText()).toMatch(/^{.*"amount":49.00.*}\n{.*"amount":19.50.*}$/m);
    },
    TIMEOUT_MS,
  );

  it('has only links that lead somewhere, as have the documents', async () => {
    const document = (await app.http.get('/openapi.json')).text;
    const links = [...document.matchAll(/\]\((.+?)\)|"url":"(\/docs.+?)"/g)].map(
      ([, link, url]) => link ?? url ?? '',
    );
    const pages = new Map<string, string>();
    const seen = new Set<string>();
    // Grows while it is read: with the links of each page.
    for (const link of links) {
      const [path = '', anchor] = link.split('#');
      if (seen.has(link) || path.startsWith('https:')) continue;
      seen.add(link);
      if (!pages.has(path)) {
        const answer = await app.http.get(path);
        expect([link, answer.status]).toEqual([link, 200]);
        pages.set(path, answer.text);
        const hrefs = [...answer.text.matchAll(/ (?:href|src)="(?!data:)(.*?)"/g)].map(
          ([, href = '']) => href,
        );
        if (path !== '/docs') links.push(...hrefs.map((href) => (href.startsWith('#') ? path + href : href)));
      }
      const found = anchor === undefined || pages.get(path)?.includes(` id="${anchor}"`);
      expect([link, found]).toEqual([link, true]);
    }
    expect([...pages.keys()].sort()).toEqual([
      '/docs',
      '/docs/api',
      '/docs/errors',
      '/docs/guides/five-minutes',
      '/docs/guides/reconciliation',
      '/docs/guides/retries',
      '/docs/guides/transfers-and-holds',
      '/docs/guides/webhooks',
      '/docs/limits',
      '/docs/security',
      '/docs/webhooks',
    ]);
  });

  it(
    'deposits with an unchanged "Try it out"',
    async () => {
      const accountId = await openAccount(app, '1000.00');
      await page.goto(`${app.url}/docs`);
      expect(await page.title()).toBe('Scalable Banking API');

      const posting = await operation('Transactions-postTransaction');
      await posting.locator('[data-param-name="accountId"] input').fill(String(accountId));
      await posting.getByRole('button', { name: 'Execute' }).click();
      const answer = posting.locator('.live-responses-table .response');
      await answer.waitFor();
      expect(await answer.locator('.response-col_status').innerText()).toContain('201');
      expect(await answer.innerText()).toContain('"newBalance": 1049.00');

      const balance = await app.http.get(`/accounts/${accountId}/balance`);
      expect(balance.text).toBe('{"balance":1049.00,"version":3}');
    },
    TIMEOUT_MS,
  );

  it(
    'shows an amount with all its digits',
    async () => {
      const accountId = await openAccount(app, '9007199254740993.07');
      await page.goto(`${app.url}/docs`);
      const reading = await operation('Accounts-getBalance');
      await reading.locator('[data-param-name="accountId"] input').fill(String(accountId));
      await reading.getByRole('button', { name: 'Execute' }).click();
      const answer = reading.locator('.live-responses-table .response');
      await answer.waitFor();
      expect(await answer.innerText()).toContain('"balance": 9007199254740993.07');
    },
    TIMEOUT_MS,
  );

  it(
    'asks for money as text where its menu of media types says so',
    async () => {
      const accountId = await openAccount(app, '9999999999999999.99');
      await page.goto(`${app.url}/docs`);
      const reading = await operation('Accounts-getBalance');
      await reading.locator('[data-param-name="accountId"] input').fill(String(accountId));
      const menu = reading.locator('.response[data-code="200"] select.content-type');
      await menu.selectOption('application/json; money=string');
      expect(await reading.locator('.response[data-code="200"] pre.example').innerText()).toContain(
        '"350.75"',
      );
      await reading.getByRole('button', { name: 'Execute' }).click();
      const answer = reading.locator('.live-responses-table .response');
      await answer.waitFor();
      const shown = await answer.innerText();
      expect(shown).toContain('"balance": "9999999999999999.99"');
      expect(shown).toContain('content-type: application/json; money=string; charset=utf-8');
      expect(shown).toContain('etag: "2-string"');
      expect(await reading.locator('.curl').innerText()).toContain('application/json; money=string');
    },
    TIMEOUT_MS,
  );

  it('needs nothing from another host and causes no errors, not even of the Content-Security-Policy', () => {
    expect(requests.length).toBeGreaterThan(4);
    expect(requests.filter((url) => new URL(url).origin !== app.url && !url.startsWith('data:'))).toEqual([]);
    expect(problems).toEqual([]);
  });

  it(
    'runs no inline script, whoever put it there',
    async () => {
      problems.length = 0;
      await page.goto(`${app.url}/docs`);
      await page.evaluate(INJECT);
      await eventually(() => Promise.resolve(expect(problems.length).toBeGreaterThanOrEqual(3)));
      expect(await page.title()).toBe('Scalable Banking API');
      expect(problems.join()).toContain('against the Content-Security-Policy: script-src-elem');
    },
    TIMEOUT_MS,
  );

  it(
    'sends the credential that was entered with its Authorize button',
    async () => {
      const guarded = await startInstance(app.databaseUrl, { AUTH: 'on' });
      try {
        const accountId = await openAccount(app, '12.34');
        const { key } = await makeKey(app, { scopes: ['accounts:read'] });
        await page.goto(`${guarded.url}/docs`);
        const reading = await operation('Accounts-getBalance');
        await reading.locator('[data-param-name="accountId"] input').fill(String(accountId));
        const answered = async (status: string) => {
          await reading.getByRole('button', { name: 'Execute' }).click();
          const answer = reading.locator('.live-responses-table .response');
          await eventually(async () =>
            expect(await answer.locator('.response-col_status').innerText()).toContain(status),
          );
          return answer.innerText();
        };
        expect(await answered('401')).toContain('"error": "Unauthorized"');
        await page.locator('.auth-wrapper .btn.authorize').click();
        await page.locator('.modal-ux input').fill(key);
        await page.locator('.modal-ux .btn.modal-btn.authorize').click();
        await page.locator('.modal-ux .btn-done').click();
        expect(await answered('200')).toContain('"balance": 12.34');
        problems.length = 0;
      } finally {
        await guarded.close();
      }
    },
    TIMEOUT_MS,
  );

  it(
    'can’t be used by pages of other origins, which may use the API if they are listed',
    async () => {
      const elsewhere = createServer((_request, response) =>
        response.setHeader('content-type', 'text/html').end(`<iframe src="${app.url}/docs"></iframe>`),
      );
      await once(elsewhere.listen(0, '127.0.0.1'), 'listening');
      const origin = `http://localhost:${(elsewhere.address() as AddressInfo).port}`;
      const open = await startApp({ CORS_ORIGINS: origin });
      try {
        const accountId = await openAccount(open, '10.00');
        problems.length = 0;
        await page.goto(origin);
        await eventually(() =>
          Promise.resolve(expect(problems.join()).toMatch(/Framing .*frame-ancestors 'none'/)),
        );
        const path = `/accounts/${accountId}/transactions`;
        expect(await page.evaluate(postFrom(open.url + path))).toBe('201 "3"');
        expect(await page.evaluate(postFrom(app.url + path))).toBeUndefined();
      } finally {
        await open.close();
        elsewhere.close();
      }
    },
    TIMEOUT_MS,
  );
});
