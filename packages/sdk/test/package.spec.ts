import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { openAccount, startApp, type TestApp } from '../../../test/support/app.js';
import { freePort } from '@scalable-banking/embedded-postgres';
import { codeBlocks } from '../../../test/support/documents.js';
import { WEBHOOK_KEYS } from '../../../test/support/webhooks.js';

const run = promisify(execFile);
const SDK = join(process.cwd(), 'packages/sdk');
const README_URL = 'http://127.0.0.1:3000';
/** A compiler, npm or a browser, on a machine with other work. */
const TIMEOUT_MS = 240_000;

/** A folder of somebody who has installed the package. */
let consumer: string;
let installed: string;
let pages: Server;
let app: TestApp;
/** Where the guides' receiver of webhooks listens. */
let receiver: string;

beforeAll(async () => {
  consumer = mkdtempSync(join(tmpdir(), 'sdk-consumer-'));
  installed = join(consumer, 'node_modules/@scalable-banking/sdk');
  mkdirSync(installed, { recursive: true });
  const packed = await run('npm', ['pack', '--json', '--silent', '--pack-destination', consumer], {
    cwd: SDK,
  });
  const [{ filename }] = JSON.parse(packed.stdout) as [{ filename: string }];
  execFileSync('tar', ['-xzf', join(consumer, filename), '--strip-components=1', '-C', installed]);
  copyFileSync(join(SDK, 'test/smoke.mjs'), join(consumer, 'smoke.mjs'));
  pages = createServer((request, response) => {
    const [body, type] = pageAt(request.url ?? '/');
    response.writeHead(body === undefined ? 404 : 200, { 'content-type': type }).end(body);
  });
  pages.listen(0, '127.0.0.1');
  await once(pages, 'listening');
  app = await startApp({
    ...{ CORS_ORIGINS: originOfPages(), WEBHOOK_KEYS, WEBHOOK_PRIVATE_ADDRESSES: 'on' },
  });
  receiver = `127.0.0.1:${await freePort()}`;
  // The account that a new bank starts with.
  expect(await openAccount(app, '1000.00')).toBe(1);
}, TIMEOUT_MS);

afterAll(async () => {
  await app?.close();
  pages?.close();
  pages?.closeAllConnections();
  rmSync(consumer, { recursive: true, force: true });
});

const originOfPages = () => `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;

/** The package as a browser takes it: its modules as they are. */
function pageAt(path: string): [body: string | undefined, type: string] {
  const imports = { '@scalable-banking/sdk': '/node_modules/@scalable-banking/sdk/dist/index.js' };
  if (path === '/') return [`<script type="importmap">${JSON.stringify({ imports })}</script>`, 'text/html'];
  const file = join(consumer, path);
  return [existsSync(file) ? readFileSync(file, 'utf8') : undefined, 'text/javascript'];
}

describe('the package', () => {
  it('holds what is compiled and its papers, and nothing of the service', () => {
    const files = globSync('**/*.*', { cwd: installed }).concat('LICENSE').sort();
    expect(files.filter((file) => !file.startsWith('dist/'))).toEqual([
      'LICENSE',
      'README.md',
      'package.json',
    ]);
    const sources = globSync('**/*.ts', { cwd: join(SDK, 'src') }).filter(
      (file) => !file.endsWith('.spec.ts'),
    );
    const compiled = sources.flatMap((file) =>
      ['js', 'd.ts'].map((extension) => `dist/${file.replace(/ts$/, extension)}`),
    );
    expect(files.filter((file) => file.startsWith('dist/'))).toEqual(compiled.sort());
    const { dependencies, scripts } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
      dependencies?: object;
      scripts: object;
    };
    expect(dependencies).toBeUndefined();
    expect(Object.keys(scripts).filter((name) => name.includes('install'))).toEqual([]);
  });

  it.each([
    ['nodenext', { module: 'nodenext', moduleResolution: 'nodenext' }],
    ['bundler', { module: 'esnext', moduleResolution: 'bundler' }],
  ])(
    'has types that resolve and hold with %s, as its README and the guides use them',
    async (name, resolution) => {
      const project = join(consumer, `tsconfig.${name}.json`);
      const examples = writeExamples(README_URL);
      const compilerOptions = {
        ...{ target: 'ES2022', lib: ['ES2022', 'DOM', 'DOM.Iterable'], strict: true, noEmit: true },
        ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, skipLibCheck: false },
        ...{ types: ['node'], typeRoots: [join(process.cwd(), 'node_modules/@types')] },
        ...resolution,
      };
      writeFileSync(project, JSON.stringify({ compilerOptions, files: examples }));
      const compiler = join(process.cwd(), 'node_modules/typescript/bin/tsc');
      const compiled = await run(process.execPath, [compiler, '-p', project]).catch(
        (error: unknown) => error,
      );
      expect((compiled as { stdout: string }).stdout).toBe('');
    },
    TIMEOUT_MS,
  );

  it(
    'does what its README and the guides say',
    async () => {
      for (const file of writeExamples(app.url)) {
        const { stdout } = await run(process.execPath, ['--no-warnings', join(consumer, file)]);
        const said = readFileSync(join(consumer, file), 'utf8').matchAll(/console\.log\(.*\); \/\/ (.*)$/gm);
        expect(stdout.split('\n')).toEqual(expect.arrayContaining([...said].map(([, output]) => output)));
        expect(stdout).not.toContain('undefined');
      }
    },
    TIMEOUT_MS,
  );
});

/** @returns the files, in the order of the documents */
function writeExamples(url: string): string[] {
  writeFileSync(join(consumer, 'package.json'), '{"type":"module"}');
  const documents = [join(SDK, 'README.md'), ...globSync('docs/guides/*.md').sort()];
  const blocks = documents.flatMap((file) => codeBlocks(readFileSync(file, 'utf8')));
  return blocks
    .filter(({ lang }) => lang === 'ts')
    .map(({ text }, i) => {
      const here = text.replaceAll(README_URL, url).replaceAll('127.0.0.1:4000', receiver);
      writeFileSync(join(consumer, `example${i}.ts`), here);
      return `example${i}.ts`;
    });
}

describe('the package runs', () => {
  const expected = {
    newBalance: '9999999999999999.99',
    types: ['Withdraw', 'Deposit', 'Deposit'],
    refused: [true, 'INSUFFICIENT_BALANCE', true],
    aborted: 'left',
    event: 'transfer.completed.v1',
  };
  const nodes = ['/usr/bin/node', process.execPath].filter((path) => existsSync(path));

  it.each(nodes.map((path) => [execFileSync(path, ['--version'], { encoding: 'utf8' }).trim(), path]))(
    'on Node %s',
    async (_, path) => {
      const script = `import { smoke } from './smoke.mjs'; console.log(JSON.stringify(await smoke('${app.url}')));`;
      writeFileSync(join(consumer, 'run.mjs'), script);
      const { stdout } = await run(path, [join(consumer, 'run.mjs')]);
      expect(JSON.parse(stdout)).toEqual(expected);
    },
    TIMEOUT_MS,
  );

  it(
    'in a browser, from a page of an allowed origin',
    async () => {
      const executablePath = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';
      const args = ['--no-sandbox', '--disable-dev-shm-usage', '--disable-background-networking'];
      const browser = await chromium.launch({ executablePath, args });
      try {
        const page = await browser.newPage();
        await page.goto(originOfPages());
        const result = page.evaluate(`import('/smoke.mjs').then(({ smoke }) => smoke('${app.url}'))`);
        expect(await result).toEqual(expected);
      } finally {
        await browser.close();
      }
    },
    TIMEOUT_MS,
  );
});
