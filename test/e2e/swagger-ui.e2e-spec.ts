import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync } from 'node:fs';
import { chromium, type Browser, type Page } from 'playwright-core';
import { openAccount, startApp, type TestApp } from '../support/app.js';

const CHROMIUM = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** A cold browser on a busy machine is slow. */
const TIMEOUT_MS = 120_000;

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
    app = await startApp();
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    page = await browser.newPage();
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

  it(
    'deposits with "Try it out", as it comes',
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

  it('needs nothing from another host, and makes no errors', () => {
    expect(requests.length).toBeGreaterThan(4);
    expect(requests.filter((url) => new URL(url).origin !== app.url && !url.startsWith('data:'))).toEqual([]);
    expect(problems).toEqual([]);
  });
});
