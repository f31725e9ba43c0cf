import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { TransactionPosted } from '../../src/messaging/transaction-posted.js';
import { waitUntil } from '../support/service.js';

const SHARDS = 4;
const CLIENTS = 8;
const POSTINGS = 25;

/** A program of the build, with nothing of our environment. */
class Program {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown[]>;
  output = '';
  problems = '';

  constructor(args: readonly string[], environment: Record<string, string>) {
    const [main = '', ...rest] = args;
    this.child = spawn(process.execPath, [join(process.cwd(), 'dist', main), ...rest], {
      env: { PATH: process.env.PATH, HOME: tmpdir(), ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.exited = once(this.child, 'close');
    this.child.stdout?.on('data', (data: Buffer) => (this.output += data.toString()));
    this.child.stderr?.on('data', (data: Buffer) => (this.problems += data.toString()));
  }

  async says(text: string, timeoutMs: number): Promise<void> {
    await waitUntil(() => {
      const said = this.output + this.problems;
      if (this.child.exitCode !== null) throw new Error(`it ended:\n${said}`);
      return Promise.resolve(said.includes(text));
    }, timeoutMs);
  }
}

let stack: Program;
let events: Program;
let api: string[];
let accountIds: number[];
/** Account → versions and ids of the transactions that were acknowledged. */
let acknowledged: Map<number, [number, string][]>;

/** The rest of the line that the stack printed with this word at its beginning. */
function printed(word: string): string {
  const found = new RegExp(`^${word}: +(.+)$`, 'm').exec(stack.output)?.[1];
  if (found === undefined) throw new Error(`the stack did not print ${word}:\n${stack.output}`);
  return found;
}

beforeAll(async () => {
  stack = new Program(['tools/stack/main.js'], { LOG_LEVEL: 'warn' });
  await stack.says('Ctrl-C', 120_000);
  api = [printed('API'), /^API: .*\n +(http:.+)$/m.exec(stack.output)?.[1] ?? ''];
  const tail = ['src/cli.js', 'events', 'tail', '--json', '--count', String(CLIENTS * POSTINGS)];
  events = new Program(tail, { RABBITMQ_URL: printed('RabbitMQ') });
  await events.says('Waiting for events', 30_000);
}, 160_000);

afterAll(() => {
  for (const program of [events, stack]) program?.child.kill('SIGKILL'); // no more than a failed test leaves
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

  it('posts to the same accounts through both at once, and each shows what the other acknowledged', async () => {
    acknowledged = new Map(accountIds.map((accountId) => [accountId, []]));
    const clients = Array.from({ length: CLIENTS }, async (_, client) => {
      const accountId = accountIds[client % SHARDS] as number;
      for (let n = 0; n < POSTINGS; n++) {
        const { id, newVersion } = await posted<{ id: string; newVersion: string }>(
          `${api[n % 2]}/accounts/${accountId}/transactions`,
          { type: 'Deposit', amount: '1.00' },
        );
        acknowledged.get(accountId)?.push([Number(newVersion), id]);
        const seen = await fetch(`${api[(n + 1) % 2]}/accounts/${accountId}/balance`);
        const { version } = (await seen.json()) as { version: number };
        expect(version).toBeGreaterThanOrEqual(Number(newVersion));
      }
    });
    await Promise.all(clients);
    const postings = (CLIENTS / SHARDS) * POSTINGS;
    for (const [accountId, transactions] of acknowledged) {
      transactions.sort(([a], [b]) => a - b);
      expect(transactions.map(([version]) => version)).toEqual(
        Array.from({ length: postings }, (_, n) => 2 + n),
      );
      for (const replica of api) {
        const balance = await (await fetch(`${replica}/accounts/${accountId}/balance`)).text();
        expect(balance).toBe(`{"balance":${postings}.00,"version":${1 + postings}}`);
      }
    }
  }, 60_000);

  it('publishes what it acknowledged, in order for each account', async () => {
    expect(await events.exited).toEqual([0, null]);
    const published = new Map(accountIds.map((accountId) => [accountId, [] as [number, string][]]));
    for (const line of events.output.trim().split('\n')) {
      const { data } = JSON.parse(line) as TransactionPosted;
      published.get(data.accountId)?.push([data.version, data.transactionId]);
    }
    expect(published).toEqual(acknowledged);
  }, 60_000);

  it('has clean books over all shards', async () => {
    const shards = /SHARDS='(.+)'/.exec(printed('Its books'))?.[1];
    const verify = new Program(['src/cli.js', 'verify', '--json'], { SHARDS: shards ?? '' });
    expect(await verify.exited).toEqual([0, null]);
    const report = JSON.parse(verify.output) as object;
    expect(report).toMatchObject({ ok: true, accounts: SHARDS, transactions: CLIENTS * POSTINGS });
  }, 60_000);

  it('stops completely on SIGTERM', async () => {
    const pid = stack.child.pid as number;
    expect((await processesOf(pid)).length).toBeGreaterThanOrEqual(6);
    stack.child.kill('SIGTERM');
    expect(await stack.exited).toEqual([0, null]);
    expect(await processesOf(pid)).toEqual([]);
    expect((await readdir(tmpdir())).filter((name) => name.includes(`-${pid}-`))).toEqual([]);
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
