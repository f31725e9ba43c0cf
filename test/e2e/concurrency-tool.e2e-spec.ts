import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { formatMoney } from '../../src/domain/money.js';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { makeCertificate } from '../support/certificate.js';
import { startProgram, type CliRun } from '../support/cli.js';
import { makeKey } from '../support/credentials.js';
import { balanceOf, deposit, post } from '../support/requests.js';
import { temporaryDataDir } from '../support/service.js';

/** `npm run concurrency`, without npm. */
const run = (args: readonly string[], environment: Record<string, string> = {}): Promise<CliRun> =>
  startProgram('tools/concurrency/main.js', args, environment).ended;

const lineOf = ({ stdout }: CliRun, pattern: RegExp) => stdout.split('\n').find((line) => pattern.test(line));

describe('npm run concurrency, with the service', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  const against = (accountId: number, ...args: string[]) =>
    run(['--url', app.url, '--account', String(accountId), ...args]);

  it('shows ten answers, of which six fit, and finds the books right', async () => {
    const accountId = await openAccount(app, '1000.00');
    const done = await against(accountId);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    const [first, second, , head, ...rows] = done.stdout.split('\n');
    expect(first).toBe(`Account ${accountId} at ${app.url}: balance 1000.00, version 2.`);
    expect(second).toBe('10 simultaneous withdrawals of 150.00:');
    expect(head?.split(/ {2,}/)).toEqual(['request', 'status', 'error', 'new balance', 'version', 'ms']);
    expect(
      rows.slice(0, 10).map((row) => row.replace(/^\d+ +| +\d+$/g, '').replaceAll(/ {2,}/g, ' | ')),
    ).toEqual([
      ...['850.00 | 3', '700.00 | 4', '550.00 | 5', '400.00 | 6', '250.00 | 7', '100.00 | 8'].map(
        (row) => `201 | ${row}`,
      ),
      ...new Array<string>(4).fill('422 | Insufficient Balance | – | –'),
    ]);
    expect(rows.slice(10)).toEqual([
      '',
      'Balance 100.00, version 8.',
      'The books are right: 6 of 10 withdrawals were accepted, and exactly these were deducted. ' +
        'Versions 3 to 8 follow one another without a gap.',
      '',
    ]);
    expect(await balanceOf(app, accountId)).toBe('{"balance":100.00,"version":8}');
  });

  it('takes another number and another amount, to the cent', async () => {
    const accountId = await openAccount(app, '9007199254740993.07');
    const done = await against(accountId, '--requests', '30', '--amount', '0.01');
    expect(done.stdout).toContain('30 of 30 withdrawals were accepted');
    expect(done.code).toBe(0);
    expect(await balanceOf(app, accountId)).toBe('{"balance":9007199254740992.77,"version":32}');
  });

  it('says that it tested nothing when the account covers no withdrawal', async () => {
    const done = await against(await openAccount(app));
    expect(done.stdout).toMatch(
      /\nNothing was tested: none of the 10 withdrawals was accepted, and nothing was deducted\.\n$/,
    );
    expect(done).toMatchObject({ code: 1, stderr: '' });
  });

  it('names the one version of one accepted withdrawal', async () => {
    const done = await against(await openAccount(app, '0.01'));
    expect(done.stdout).toContain(
      'The books are right: 1 of 10 withdrawals were accepted, and exactly these were deducted. ' +
        'Version 3 follows version 2.\n',
    );
    expect(done.code).toBe(0);
  });

  it('tells the transactions of others from its own', async () => {
    const accountId = await openAccount(app, '1000.00');
    const ended = new AbortController();
    const others = (async () => {
      let posted = 0;
      for (; !ended.signal.aborted; posted++) await post(app, accountId, deposit('0.01'));
      return posted;
    })();
    const done = await against(accountId, '--requests', '100');
    ended.abort();
    expect(await others).toBeGreaterThan(0);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(done.stdout).toMatch(/The books are right: 6\d of 100 .* Others posted versions \d+/);
  });

  it('says in one sentence why it can not check', async () => {
    expect(await against(999)).toMatchObject({
      code: 1,
      stderr: 'error: GET /accounts/999/balance was answered 404 Account not found\n',
    });
    const gone = await run(['--url', 'http://127.0.0.1:1']);
    expect(gone.code).toBe(1);
    expect(gone.stderr).toMatch(/^error: no service answers at http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED.*\n$/);
    const https = app.url.replace('http:', 'https:');
    expect(await run(['--url', https])).toMatchObject({
      code: 1,
      stderr: `error: no service answers at ${https}: it does not speak https: is http meant?\n`,
    });
  });

  it.each([
    [['--url', 'ftp://bank'], {}, 'It must be a URL'],
    [['--account', '0'], {}, 'It must be a whole number from 1'],
    [['--requests', '501'], {}, 'It must be a whole number from 1 to 500.'],
    [['--amount', '0.001'], {}, 'It must be an amount greater than zero'],
    [['--amount', '0'], {}, 'It must be an amount greater than zero'],
    [['--fast'], {}, "unknown option '--fast'"],
    [['1'], {}, 'too many arguments'],
    [[], { BANK_API_KEY: 'two words' }, 'BANK_API_KEY must hold one API key'],
    [['--url', 'http://bank.example'], { BANK_API_KEY: 'secret' }, 'BANK_API_KEY is sent only over TLS'],
  ])('refuses wrong usage: %s', async (args, environment, message) => {
    const done = await run(args, environment);
    expect(done.code).toBe(2);
    expect(done.stderr).toContain(message);
    expect(done.stdout + done.stderr).not.toMatch(/two words|secret/);
  });
});

describe('npm run concurrency, with a service that needs credentials, over TLS', () => {
  const folder = temporaryDataDir();
  const files = { TLS_CERT_FILE: join(folder.path, 'cert.pem'), TLS_KEY_FILE: join(folder.path, 'key.pem') };
  let app: TestApp;
  let accountId: number;

  beforeAll(async () => {
    const { cert, key } = makeCertificate();
    writeFileSync(files.TLS_CERT_FILE, cert);
    writeFileSync(files.TLS_KEY_FILE, key);
    app = await startApp({ AUTH: 'on', ...files });
    const admin = await makeKey(app);
    const opened = await app.http
      .post('/accounts')
      .trustLocalhost()
      .set('authorization', `Bearer ${admin.key}`)
      .send({ openingDeposit: '1000.00' });
    accountId = (JSON.parse(opened.text) as { accountId: number }).accountId;
  });
  afterAll(async () => {
    await app.close();
    folder.remove();
  });

  const against = (environment: Record<string, string>) =>
    run(['--url', app.url, '--account', String(accountId)], {
      NODE_EXTRA_CA_CERTS: files.TLS_CERT_FILE,
      ...environment,
    });

  it('shows its credential to the service alone', async () => {
    const { key } = await makeKey(app, {
      scopes: ['accounts:read', 'transactions:read', 'withdrawals:write'],
    });
    const done = await against({ BANK_API_KEY: key });
    expect(done.stdout).toContain('The books are right: 6 of 10 withdrawals were accepted');
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(done.stdout).not.toContain(key);
  });

  it('says what the credential lacks', async () => {
    expect(await against({})).toMatchObject({
      code: 1,
      stderr: `error: GET /accounts/${accountId}/balance was answered 401 Unauthorized: it needs a credential, in BANK_API_KEY\n`,
    });
    const { key } = await makeKey(app, { scopes: ['accounts:read', 'transactions:read'] });
    const done = await against({ BANK_API_KEY: key });
    expect(done.stderr).toContain('Request 1 has the answer "403 Forbidden"');
    expect(done.code).toBe(1);
  });

  it('trusts no certificate of an unknown authority', async () => {
    const done = await against({ NODE_EXTRA_CA_CERTS: '', BANK_API_KEY: 'bank_x' });
    expect(done.code).toBe(1);
    expect(done.stderr).toContain('self-signed certificate');
  });
});

interface Posted {
  readonly id: string;
  readonly type: string;
  readonly cents: number;
  readonly balance: number;
  readonly version: number;
  readonly key: string;
}

/** What a forged bank may do wrong. */
interface Forgery {
  /** Reads the balance, and writes it after others have read it too. */
  readonly losesUpdates?: boolean;
  readonly overdraws?: boolean;
  /** Applies what it then refuses. */
  readonly refusesWhatItPosts?: boolean;
  /** Cuts the connection instead of an answer, when it gets a key for the first time. */
  readonly losesAnswers?: boolean;
  /** The same, and forgets the key. */
  readonly forgetsKeys?: boolean;
}

const text = (cents: number) => formatMoney(BigInt(cents), 2);
const receiptText = ({ id, type, cents, balance, version }: Posted) =>
  `{"id":"${id}","type":"${type}","amount":${text(cents)},"newBalance":${text(balance)},"newVersion":"${version}"}`;

/** A bank with one account in memory. */
function forgedBank(forgery: Forgery): RequestListener {
  let state = { cents: 100_000, version: 2 };
  const posted: Posted[] = [];
  const seen = new Set<string>();

  async function withdraw(request: IncomingMessage): Promise<{ status: number; body: string } | undefined> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const key = String(request.headers['idempotency-key']);
    const cents = Math.round(Number(/:(\d+\.\d\d),/.exec(Buffer.concat(pieces).toString())?.[1]) * 100);
    const original = posted.find((one) => one.key === key);
    if (original && forgery.forgetsKeys !== true)
      return { status: 409, body: `{"error":"Duplicate transaction","transactionId":"${original.id}"}` };
    const read = state;
    if (forgery.losesUpdates) await pause(20);
    const refused = { status: 422, body: '{"error":"Insufficient Balance"}' };
    const isCovered = read.cents >= cents;
    if (!isCovered && !forgery.overdraws && !forgery.refusesWhatItPosts) return refused;
    state = { cents: read.cents - cents, version: read.version + 1 };
    const one = {
      id: `txn${posted.length + 2}`,
      type: 'Withdraw',
      cents,
      balance: state.cents,
      version: state.version,
      key,
    };
    posted.push(one);
    const isFirst = !seen.has(key);
    seen.add(key);
    if (isFirst && (forgery.losesAnswers || forgery.forgetsKeys)) return undefined;
    return read.cents < cents && forgery.refusesWhatItPosts
      ? refused
      : { status: 201, body: receiptText(one) };
  }

  function read(url: string): string {
    if (url.endsWith('/balance')) return `{"balance":${text(state.cents)},"version":${state.version}}`;
    if (url.startsWith('/transactions/'))
      return receiptText(posted.find(({ id }) => url.endsWith(`/${id}`)) as Posted);
    if (url.includes('/proof')) {
      const lines = posted.map(
        (one) => `"${one.id}:1:debit:${text(one.cents)}:${text(one.balance)}:${one.version}:0:=${one.key}"`,
      );
      return `{"lines":[${lines.join()}],"nextFromVersion":null}`;
    }
    return `{"data":[${posted.toReversed().map(receiptText).join()}],"nextCursor":null}`;
  }

  return (request, response) =>
    void (async () => {
      const answer =
        request.method === 'POST' ? await withdraw(request) : { status: 200, body: read(request.url ?? '') };
      if (!answer) return request.socket.destroy();
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body);
    })();
}

describe('npm run concurrency, with a bank that is not ours', () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
  });

  async function against(listener: RequestListener): Promise<CliRun> {
    server = createServer(listener);
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    return run(['--url', `http://127.0.0.1:${(server.address() as AddressInfo).port}`]);
  }

  it('finds nothing wrong with one that works', async () => {
    const done = await against(forgedBank({}));
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(done.stdout).toContain('The books are right: 6 of 10');
  });

  it('asks again with the same key what became of a request without an answer', async () => {
    const done = await against(forgedBank({ losesAnswers: true }));
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(lineOf(done, /850\.00/)).toMatch(
      /^\d+ +409 +Duplicate transaction \(sent 2 times\) +850\.00 +3 +\d+$/,
    );
    expect(done.stdout).toContain('The books are right: 6 of 10');
  });

  it.each<[string, Forgery, string]>([
    [
      'loses updates',
      { losesUpdates: true },
      'The balance is 850.00. 1000.00 less 10 accepted withdrawals of 150.00 is -500.00.\n',
    ],
    ['overdraws', { overdraws: true }, 'txn8 leaves a balance below zero: -50.00.\n'],
    [
      'refuses what it posts',
      { refusesWhatItPosts: true },
      'was refused (422 Insufficient Balance), but posted with version 9.\n',
    ],
    ['applies a repeat', { forgetsKeys: true }, ', but posted with version '],
  ])('finds one that %s', async (_, forgery, problem) => {
    const done = await against(forgedBank(forgery));
    expect(done.stderr).toContain(problem);
    expect(done.stdout).toMatch(/\nThe books are wrong\.\n$/);
    expect(done.code).toBe(1);
  });

  it('tells a web page from the API', async () => {
    const done = await against((_request, response) => response.end('<html>\x1b[31m</html>'));
    expect(done).toMatchObject({
      code: 1,
      stderr:
        'error: GET /accounts/1/balance was answered 200 with something that this API does not answer\n',
    });
  });
});
