import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { waitUntil } from '../support/service.js';

const run = promisify(execFile);

const SHARDS = 4;
const CLIENTS = 8;
const POSTINGS = 25;

let stack: ChildProcess;
let output = '';
let api: string[];
let accountIds: number[];

/** What follows a word at the beginning of a line that the stack printed. */
function printed(word: string): string {
  const found = new RegExp(`^${word}: +(.+)$`, 'm').exec(output)?.[1];
  if (found === undefined) throw new Error(`the stack did not print ${word}:\n${output}`);
  return found;
}

beforeAll(async () => {
  stack = spawn(process.execPath, [join(process.cwd(), 'dist/stack/main.js')], {
    env: { PATH: process.env.PATH, HOME: tmpdir(), LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [stack.stdout, stack.stderr])
    stream?.on('data', (data: Buffer) => (output += data.toString()));
  await waitUntil(() => {
    if (stack.exitCode !== null) throw new Error(`the stack ended:\n${output}`);
    return Promise.resolve(output.includes('Ctrl-C'));
  }, 120_000);
  api = [printed('API'), /^API: .*\n +(http:.+)$/m.exec(output)?.[1] ?? ''];
}, 130_000);

afterAll(() => {
  stack.kill('SIGKILL'); // nothing is left of it, unless a test failed
});

async function posted<T>(url: string, body: object): Promise<T> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  expect(response.status).toBe(201);
  return (await response.json()) as T;
}

describe('two instances on two PostgreSQL servers behind PgBouncer, with Redis and RabbitMQ', () => {
  it('opens accounts on every shard', async () => {
    accountIds = [];
    for (let n = 0; n < SHARDS; n++) {
      accountIds.push((await posted<{ accountId: number }>(`${api[0]}/accounts`, {})).accountId);
    }
    expect(accountIds.map((id) => (id - 1) % SHARDS).sort()).toEqual([0, 1, 2, 3]);
  });

  it('posts to the same accounts through both at once, and shows at the other what one acknowledged', async () => {
    const versions = new Map(accountIds.map((accountId) => [accountId, [] as number[]]));
    const clients = Array.from({ length: CLIENTS }, async (_, client) => {
      const accountId = accountIds[client % SHARDS] as number;
      for (let n = 0; n < POSTINGS; n++) {
        const { newVersion } = await posted<{ newVersion: string }>(
          `${api[n % 2]}/accounts/${accountId}/transactions`,
          { type: 'Deposit', amount: '1.00' },
        );
        versions.get(accountId)?.push(Number(newVersion));
        const seen = await fetch(`${api[(n + 1) % 2]}/accounts/${accountId}/balance`);
        const { version } = (await seen.json()) as { version: number };
        expect(version).toBeGreaterThanOrEqual(Number(newVersion));
      }
    });
    await Promise.all(clients);
    const postings = (CLIENTS / SHARDS) * POSTINGS;
    for (const accountId of accountIds) {
      const expected = Array.from({ length: postings }, (_, n) => 2 + n);
      expect(versions.get(accountId)?.sort((a, b) => a - b)).toEqual(expected);
      for (const replica of api) {
        const balance = await (await fetch(`${replica}/accounts/${accountId}/balance`)).text();
        expect(balance).toBe(`{"balance":${postings}.00,"version":${1 + postings}}`);
      }
    }
  }, 60_000);

  it('has books that are clean, over all shards', async () => {
    const shards = /SHARDS='(.+)'/.exec(printed('Its books'))?.[1];
    const cli = [join(process.cwd(), 'dist/src/cli.js'), 'verify', '--json'];
    const env = { PATH: process.env.PATH, SHARDS: shards };
    const report = JSON.parse((await run(process.execPath, cli, { env })).stdout) as object;
    expect(report).toMatchObject({ ok: true, accounts: SHARDS, transactions: CLIENTS * POSTINGS });
  }, 60_000);

  it('ends whole on SIGTERM', async () => {
    const processes = await processesOf(stack.pid as number);
    expect(processes.length).toBeGreaterThanOrEqual(6);
    const exited = once(stack, 'exit');
    stack.kill('SIGTERM');
    expect(await exited).toEqual([0, null]);
    expect(await processesOf(stack.pid as number)).toEqual([]);
    const left = (await readdir(tmpdir())).filter((name) => name.includes(`-${stack.pid}-`));
    expect(left).toEqual([]);
  }, 90_000);
});

/** The servers of a stack, by the folders in their command lines; the service, by its parent. */
async function processesOf(stackPid: number): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const commands = pids.map(async (pid) => {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    return parent === stackPid || command.includes(`-${stackPid}-`) ? command : '';
  });
  return (await Promise.all(commands)).filter((command) => command !== '');
}
