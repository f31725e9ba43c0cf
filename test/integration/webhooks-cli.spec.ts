import 'reflect-metadata';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Webhook } from 'standardwebhooks';
import { printable } from '../../src/cli/printable.js';
import { newSecret } from '../../src/messaging/webhooks/secrets.js';
import { openAccount, startInstance, type TestApp } from '../support/app.js';
import { startCli } from '../support/cli.js';
import { createTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { deposit, post, receiptIn } from '../support/requests.js';
import { waitUntil } from '../support/service.js';
import { WEBHOOK_KEYS } from '../support/webhooks.js';

const SECRET = newSecret();
const EVENT = {
  ...{ specversion: '1.0', id: 'txn131', source: 'urn:uuid:6f1f3c0e-58c5-4c5e-9a5b-3a8f4f1f2f60' },
  ...{ type: 'transaction.posted.v1', subject: 'accounts/7', time: '2026-05-01T12:00:00.123Z' },
  datacontenttype: 'application/json',
  data: {
    ...{ transactionId: 'txn131', accountId: 7, type: 'Withdraw', amount: '49.50', balance: '350.00' },
    version: 3,
  },
};
const TEXT = '2026-05-01T12:00:00.123Z  account 7, version 3: Withdraw 49.50 → 350.00 (txn131)\n';

/** The command, and where it listens. */
async function listen(...options: string[]) {
  const cli = startCli(['webhooks', 'listen', '--port', '0', ...options], {});
  const url = () => /http:\/\/127\.0\.0\.1:\d+\//.exec(cli.output().stderr)?.[0];
  await waitUntil(() => Promise.resolve(url() !== undefined), 20_000);
  return { ...cli, url: url() ?? '' };
}

type Listening = Awaited<ReturnType<typeof listen>>;

const sign = (body: string, secret = SECRET, at = new Date()): Record<string, string> => ({
  'webhook-id': 'txn131',
  'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)),
  'webhook-signature': new Webhook(secret).sign('txn131', at, body),
});

const send = async (url: string, body: string, headers: Record<string, string> = {}, method = 'POST') =>
  fetch(url, { method, headers, ...(method === 'POST' && { body }) });

describe('webhooks listen', () => {
  let listening: Listening | undefined;
  afterEach(() => {
    listening?.child.kill('SIGKILL');
  });

  it('prints what is signed by the secret, and refuses everything else', async () => {
    listening = await listen('--secret', SECRET, '--count', '2');
    const { url } = listening;
    const output = () => (listening as Listening).output();
    expect(output().stderr).toContain('Each is verified.');
    const body = JSON.stringify(EVENT);
    const stranger = JSON.stringify({ ...EVENT, type: 'x' });
    const long = ' '.repeat(300_000);
    const former = `v1,${Buffer.alloc(32).toString('base64')} ${sign(body)['webhook-signature']}`;
    for (const [status, sent, headers] of [
      [401, body, {}],
      [401, body, sign(body, newSecret())],
      [401, body, sign(body, SECRET, new Date(Date.now() - 301_000))],
      [401, body, sign(body, SECRET, new Date(Date.now() + 301_000))],
      [401, body, { ...sign(body), 'webhook-id': 'txn132' }],
      [401, body, { ...sign(body), 'webhook-timestamp': 'x' }],
      [401, `${body} `, sign(body)],
      [400, stranger, sign(stranger)],
      [400, '{', sign('{')],
      [413, long, sign(long)],
      [204, body, { ...sign(body), 'webhook-signature': former }],
    ] as const)
      expect({ status: (await send(url, sent, headers)).status, sent }).toEqual({ status, sent });
    expect((await send(`${url}x`, body, sign(body))).status).toBe(404);
    expect((await send(url, body, {}, 'GET')).status).toBe(405);
    expect(output().stdout).toBe(TEXT);
    expect((await send(url, body, sign(body))).status).toBe(204);
    expect(await listening.ended).toMatchObject({ code: 0, stdout: TEXT + TEXT });
    const refusals = output().stderr.match(/Refused a request: .*\./g) ?? [];
    expect(refusals).toHaveLength(12);
    expect(new Set(refusals)).toEqual(
      new Set(
        [
          ...['it is not signed', 'its signature is not by this secret'],
          ...['its time is not of the last five minutes', 'it is no event of a bank'],
          ...['its body is too long', 'events come to the path /', 'events come by POST'],
        ].map((reason) => `Refused a request: ${reason}.`),
      ),
    );
  });

  it('says that it verifies nothing without the secret, and prints JSON in which nothing controls a terminal', async () => {
    listening = await listen('--json');
    expect(listening.output().stderr).toContain('Without --secret, nothing is verified.');
    const event = { ...EVENT, data: { ...EVENT.data, idempotencyKey: '\u009b2J\u001b[2J' } };
    expect((await send(listening.url, JSON.stringify(event))).status).toBe(204);
    const { stdout } = listening.output();
    expect(stdout).toBe(printable(stdout.trimEnd()) + '\n');
    expect(JSON.parse(stdout)).toEqual(event);
    listening.child.kill('SIGINT');
    expect((await listening.ended).code).toBe(130);
  });

  it('says what is wrong with how it was called, or that the port is taken', async () => {
    listening = await listen();
    const taken = await startCli(['webhooks', 'listen', '--port', new URL(listening.url).port], {}).ended;
    expect(taken).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error: port \d+ is taken/) });
    const wrong = await startCli(['webhooks', 'listen', '--secret', 'x'], {}).ended;
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('begins with whsec_') });
  });
});

describe('a webhook that leads to it', () => {
  let database: TestDatabase;
  let app: TestApp;
  let listening: Listening | undefined;
  beforeAll(async () => {
    database = await createTestDatabase('webhooks_cli');
    app = await startInstance(database.url, { WEBHOOK_KEYS, WEBHOOK_PRIVATE_ADDRESSES: 'on' });
  });
  afterAll(async () => {
    listening?.child.kill('SIGKILL');
    await app.close();
    await database.drop();
  });

  it('gets events, and is listed by the command', async () => {
    const settings = { DATABASE_URL: database.url, WEBHOOK_KEYS };
    const list = (...options: string[]) => startCli(['webhooks', 'list', ...options], settings).ended;
    expect((await list()).stdout).toBe('There are no webhooks.\n');
    listening = await listen();
    const { url } = listening;
    await app.http
      .post('/webhooks')
      .send({ url, eventTypes: ['transaction.posted'] })
      .expect(201);
    const { id } = receiptIn(await post(app, await openAccount(app), deposit('1.25')));
    const printed = () => (listening as Listening).output().stdout;
    await waitUntil(() => Promise.resolve(printed().includes(`Deposit 1.25 → 1.25 (${id})`)), 20_000);
    await app.http.post('/webhooks').send({ url, eventTypes: ['*'], owner: 'ada', description: 'x' });
    await app.http.patch('/webhooks/wh2').send({ status: 'disabled' }).expect(200);
    await query(database.url, `UPDATE bank.webhooks SET description = E'a\\u009bb' WHERE webhook_id = 1`);
    expect((await list()).stdout.split('\n').map((line) => line.replaceAll(/ {2,}/g, '  '))).toEqual([
      `wh1  ${url}  transaction.posted  (all accounts)  enabled  a\\u009bb`,
      expect.stringMatching(/^wh2 {2}\S+ {2}\* {2}ada {2}disabled \S+Z \(request\) {2}x$/),
      '',
    ]);
    const listed = JSON.parse((await list('--json')).stdout) as object[];
    expect(listed).toMatchObject([
      { id: 'wh1', status: 'enabled' },
      { id: 'wh2', status: 'disabled' },
    ]);
    expect(JSON.stringify(listed)).not.toContain('secret');
    const without = await startCli(['webhooks', 'list'], { DATABASE_URL: database.url }).ended;
    expect(without.stdout).toContain('secret_unreadable');
  });

  it('has a secret that no backup shows, and neither does one show the key', async () => {
    const wanted = { url: 'http://127.0.0.1:9/', eventTypes: ['*'] };
    const { text } = await app.http.post('/webhooks').send(wanted).expect(201);
    const { secret } = JSON.parse(text) as { secret: string };
    const folder = mkdtempSync(join(tmpdir(), 'webhooks-'));
    try {
      const to = join(folder, 'backup');
      const run = await startCli(['backup', '--to', to], { DATABASE_URL: database.url, WEBHOOK_KEYS }).ended;
      expect(run).toMatchObject({ code: 0 });
      const files = globSync(`${to}/**/*.*`).map((file) => [file, readFileSync(file)] as const);
      const texts = files.map(([file, bytes]) =>
        (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString(),
      );
      const everything = texts.join();
      expect(everything).toContain('http://127.0.0.1:9/');
      for (const base64 of [secret.slice('whsec_'.length), WEBHOOK_KEYS])
        for (const encoding of ['base64', 'hex', 'latin1'] as const)
          expect(everything).not.toContain(Buffer.from(base64, 'base64').toString(encoding));
      expect(everything).not.toContain(Buffer.from(secret).toString('hex'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
