import { type ChildProcess, execFile, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Client } from 'pg';
import { locateBinaries } from '../src/binaries.js';
import {
  EmbeddedPostgres,
  EmbeddedPostgresError,
  type EmbeddedPostgresOptions,
  readPassword,
} from '../src/index.js';
import { identityOf } from '../src/process-identity.js';
import type { ChildOptions, ChildReport } from './child.js';

/** Lets Node load the sources as they are. */
const LOADER = join(process.cwd(), 'test/support/register-typescript.mjs');
const NAMES = { superuser: 'admin', role: 'app', database: 'notes' };
const NO_FSYNC = { fsync: 'off' };
const DAEMON = 1;
const NOBODY = 65_534;
const IS_ROOT = process.getuid?.() === 0;

let made: string;
let parent: string;
let dataDir: string;
let opened: EmbeddedPostgres[] = [];
let children: ChildProcess[];

beforeAll(async () => {
  made = await mkdtemp(join(tmpdir(), 'embedded-postgres-'));
  await (await open({ dataDir: join(made, 'data') })).close();
});

afterAll(() => rm(made, { recursive: true, force: true }));

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'embedded-postgres-')); // 0700, as a clone below /root is
  dataDir = join(parent, 'data');
  opened = [];
  children = [];
});

afterEach(async () => {
  await Promise.all(opened.map((postgres) => postgres.close()));
  for (const child of children) await endChild(child);
  await until(async () => !(await isRunning(await serverPid())));
  await rm(parent, { recursive: true, force: true });
});

describe('one owner', () => {
  test('the first start makes the database, the second finds its data', async () => {
    const first = await open();
    expect(first.created).toBe(true);
    expect(first.url).toMatch(/^postgresql:\/\/app:[\w-]{43}@127\.0\.0\.1:\d+\/notes$/);
    await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS n');
    await first.close();
    expect(await readdir(dataDir)).toEqual(['password', 'postgres']);
    expect((await stat(join(dataDir, 'postgres'))).mode & 0o777).toBe(0o700);
    expect((await stat(join(dataDir, 'password'))).mode & 0o777).toBe(0o600);

    const second = await open();
    expect(second.created).toBe(false);
    expect(await query(second.url, 'SELECT n FROM kept')).toEqual([{ n: 7 }]);
  });

  test('by default what is committed is on the disk', async () => {
    await useExisting();
    const { url } = await open({ settings: undefined });
    const [settings] = await query(
      await superuserUrl(url),
      `SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit,
              current_setting('listen_addresses') AS addresses, current_setting('unix_socket_directories') AS sockets,
              current_setting('server_encoding') AS encoding`,
    );
    expect(settings).toEqual({
      fsync: 'on',
      commit: 'on',
      addresses: '127.0.0.1',
      sockets: '',
      encoding: 'UTF8',
    });
  });

  test('the password is asked for', async () => {
    await useExisting();
    const wrong = new URL((await open()).url);
    wrong.password = 'wrong';
    await expect(query(wrong.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
  });

  test('an initdb that was interrupted leaves nothing in the way', async () => {
    await mkdir(join(dataDir, 'postgres.new-abcdef/cluster'), { recursive: true });
    await writeFile(join(dataDir, 'postgres.new-abcdef/cluster/PG_VERSION'), '18\n');
    expect((await open()).created).toBe(true);
    expect(await readdir(dataDir)).not.toContain('postgres.new-abcdef');
  });

  test('files without a cluster are not touched', async () => {
    await mkdir(join(dataDir, 'postgres'), { recursive: true });
    await writeFile(join(dataDir, 'postgres/base'), 'what is left of a database');
    await expect(open()).rejects.toThrow(/holds files, but is no PostgreSQL cluster/);
    expect(await readFile(join(dataDir, 'postgres/base'), 'utf8')).toBe('what is left of a database');
  });

  test('a server that does not come up says why', async () => {
    await useExisting();
    const failure = open({ settings: { shared_buffers: 'plenty' } });
    await expect(failure).rejects.toThrow(EmbeddedPostgresError);
    await expect(failure).rejects.toThrow(/invalid value for parameter "shared_buffers": "plenty"/);
    expect((await open()).created).toBe(false);
  });
});

describe('prepare', () => {
  beforeEach(useExisting);

  test('runs as the superuser at each start, before the role is used', async () => {
    const seen: unknown[] = [];
    for (const start of [1, 2]) {
      const postgres = await open({
        prepare: async (client) => {
          seen.push((await client.query('SELECT current_user::text AS "user"')).rows[0]);
          await client.query(`CREATE TABLE start_${start} AS SELECT 1 AS n`);
          await client.query(`ALTER TABLE start_${start} OWNER TO ${NAMES.role}`);
        },
      });
      expect(await query(postgres.url, `SELECT n FROM start_${start}`)).toEqual([{ n: 1 }]);
      await postgres.close();
    }
    expect(seen).toEqual([{ user: NAMES.superuser }, { user: NAMES.superuser }]);
  });

  test('that fails leaves nothing, and lets the next start try again', async () => {
    const failing = (reason: string) =>
      open({
        prepare: async (client) => {
          await client.query('CREATE TABLE half_done ()');
          throw new Error(reason);
        },
      });
    await expect(failing('not now')).rejects.toThrow('not now');
    expect(await isRunning(await serverPid())).toBe(false);
    const { url } = await open();
    expect(await query(url, `SELECT to_regclass('half_done') AS found`)).toEqual([{ found: null }]);
  });

  test('that swallows a failed statement is no success', async () => {
    const failure = open({
      prepare: async (client) => {
        await client.query('SELECT FROM missing').catch(() => undefined);
      },
    });
    await expect(failure).rejects.toThrow(/nothing was committed/);
  });
});

describe('an owner that was killed', () => {
  beforeEach(useExisting);

  test('leaves no server behind, and the next start works at once', async () => {
    const { child, report } = await forkOwner();
    await query(urlIn(report), 'CREATE TABLE kept AS SELECT 7 AS n');
    child.kill('SIGKILL');
    await once(child, 'exit');

    const startedAt = performance.now();
    const next = await open();
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(await query(next.url, 'SELECT n FROM kept')).toEqual([{ n: 7 }]);
  });

  test('its server ends by itself', async () => {
    const { child } = await forkOwner();
    const pid = await serverPid();
    child.kill('SIGKILL');
    await until(async () => (await serverPid()) === undefined && !(await isRunning(pid)));
  });

  test('a server without a watcher is ended by the next start', async () => {
    const { child, report } = await forkOwner();
    const pid = (await serverPid()) ?? 0;
    process.kill(pid, 'SIGSTOP'); // so the watcher's signal does nothing, as if it had been killed as well
    child.kill('SIGKILL');
    await once(child, 'exit');
    const next = await open();
    expect(await isRunning(pid)).toBe(false);
    expect(next.url).not.toBe(urlIn(report));
  });

  test('a note of a server whose number belongs to another process now does not matter', async () => {
    const other = spawn('sleep', ['60'], IS_ROOT ? { uid: NOBODY, gid: NOBODY } : {});
    children.push(other);
    await writeFile(
      join(dataDir, 'postgres/postmaster.pid'),
      `${other.pid}\n${dataDir}/postgres\n1\n1\n\n127.0.0.1\n`,
    );
    expect((await open()).created).toBe(false);
    expect(await isRunning(other.pid)).toBe(true);
  });
});

describe('two on one folder', () => {
  test('the second is told who the first is', async () => {
    await useExisting();
    await open({ holder: 'service' });
    const failure = open({ holder: 'other' });
    await expect(failure).rejects.toThrow(EmbeddedPostgresError);
    await expect(failure).rejects.toThrow(
      `The data folder ${dataDir} is in use by another running instance (service, process ${process.pid}). ` +
        'Stop it, or choose another folder.',
    );
  });

  test('of several first starts at once one wins', async () => {
    const reports = await Promise.all(['a', 'b', 'c'].map((holder) => forkOwner({ holder })));
    const kinds = reports.map(({ report }) => report.kind);
    expect(kinds.filter((kind) => kind === 'opened')).toHaveLength(1);
    for (const { report } of reports) {
      if (report.kind === 'failed') expect(report.message).toMatch(/is in use by another running instance/);
    }
    const next = await open({ shareRunning: true });
    expect(next.created).toBe(false);
  });

  test('shareRunning uses the server that runs, and leaves it', async () => {
    await useExisting();
    const owner = await open();
    const shared = await open({ shareRunning: true, holder: 'cli seed' });
    expect(shared.url).toBe(owner.url);
    await shared.close();
    expect(await query(owner.url, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
  });

  test('shareRunning starts one when none runs', async () => {
    await useExisting();
    const { url } = await open({ shareRunning: true });
    expect(await query(url, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
  });

  test('shareRunning waits for one that has only begun', async () => {
    await useExisting();
    const owner = open();
    await until(() => existsSync(join(dataDir, 'owner.json')));
    const shared = open({ shareRunning: true, holder: 'cli seed' });
    expect((await shared).url).toBe((await owner).url);
  });

  test('a successor waits for a server that is being stopped', async () => {
    await useExisting();
    const first = await open();
    const closing = first.close();
    await until(() => !existsSync(join(dataDir, 'owner.json')));
    const second = await open();
    await closing;
    expect(await query(second.url, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
  });
});

describe('while it runs', () => {
  beforeEach(useExisting);

  test('a killed server is started again on its port, and the lock taken again', async () => {
    const { url } = await open();
    const killed = (await serverPid()) ?? 0;
    process.kill(killed, 'SIGKILL');
    await until(
      async () => (await query(url, 'SELECT 1 AS n').catch(() => [])).length === 1 && (await isLocked(url)),
    );
    expect(await serverPid()).not.toBe(killed);
  });

  test('the lock is taken again when its session was ended', async () => {
    const { url } = await open();
    await query(
      await superuserUrl(url),
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'embedded-postgres'`,
    );
    await until(() => isLocked(url));
  });

  test('a server that keeps failing is given up', async () => {
    let lost: Error | undefined;
    await open({ onLost: (error) => (lost = error) });
    await writeFile(join(dataDir, 'postgres/PG_VERSION'), '9.6\n');
    process.kill((await serverPid()) ?? 0, 'SIGKILL');
    await until(() => lost !== undefined);
    expect(lost).toBeInstanceOf(EmbeddedPostgresError);
    expect(lost?.message).toMatch(/restarted 5 times within a minute.*incompatible with server/s);
  });

  test('a folder that was removed is not replaced by an empty database', async () => {
    let lost: Error | undefined;
    const { url } = await open({ onLost: (error) => (lost = error) });
    await rename(join(dataDir, 'postgres'), join(dataDir, 'moved'));
    await until(() => lost !== undefined);
    expect(lost).toBeInstanceOf(EmbeddedPostgresError);
    expect(lost?.message).toMatch(/The folder with the data, .*\/postgres, is gone/);
    await until(() =>
      query(url, 'SELECT 1').then(
        () => false,
        () => true,
      ),
    );
    expect(existsSync(join(dataDir, 'postgres'))).toBe(false);
  });

  test('close ends a server that was stopped in its tracks', async () => {
    const postgres = await open();
    const pid = (await serverPid()) ?? 0;
    process.kill(pid, 'SIGSTOP');
    await postgres.close();
    expect(await isRunning(pid)).toBe(false);
  });

  test('close may come while a server is being restarted', async () => {
    const postgres = await open();
    process.kill((await serverPid()) ?? 0, 'SIGKILL');
    await sleep(120);
    await postgres.close();
    expect(await isRunning(await serverPid())).toBe(false);
  });
});

describe('what the user can mend', () => {
  test('a platform without binaries', async () => {
    const failure = locateBinaries('plan9-mips');
    await expect(failure).rejects.toThrow(EmbeddedPostgresError);
    await expect(failure).rejects.toThrow(
      /no embedded PostgreSQL for plan9-mips.*use a PostgreSQL server of your own/,
    );
    await expect(locateBinaries('win32-x64')).rejects.toThrow(
      /does not support Windows: use a PostgreSQL server of your own/,
    );
  });

  test('a folder that this user may not write to', async () => {
    await chmod(parent, 0o755);
    await mkdir(dataDir, { mode: 0o555 });
    const { report } = await forkOwner({}, IS_ROOT ? NOBODY : undefined);
    expect(report).toMatchObject({ kind: 'failed', name: 'EmbeddedPostgresError' });
    expect(report).toHaveProperty(
      'message',
      expect.stringMatching(/The data folder .*\/data is not writable by user \w+/),
    );
  });

  test('a folder below a file', async () => {
    await writeFile(dataDir, '');
    await expect(open({ dataDir: join(dataDir, 'below') })).rejects.toThrow(/cannot be created by user/);
  });

  test('says so where no folder can be made at all, instead of trying for ever', async () => {
    await expect(open({ dataDir: '/proc/no-such-place/data' })).rejects.toThrow(/cannot be created by user/);
  });

  test('a lost password file', async () => {
    await useExisting();
    await rm(join(dataDir, 'password'));
    await expect(open()).rejects.toThrow(/password, with which .* cannot be read .*Restore it/);
  });
});

const asRoot = IS_ROOT ? describe : describe.skip;

asRoot('as root', () => {
  test('the server runs as nobody, also below a folder that is root’s alone', async () => {
    await useExisting();
    await open();
    const server = await stat(`/proc/${await serverPid()}`);
    expect(server.uid).toBe(NOBODY);
    expect((await stat(parent)).mode & 0o777).toBe(0o700);
  });

  test('where the folders are open it has no rights of root', async () => {
    await useExisting();
    await chmod(parent, 0o755);
    await open();
    const status = await readFile(`/proc/${await serverPid()}/status`, 'utf8');
    expect(status).toMatch(/^CapEff:\t0+$/m);
  });

  test('a cluster that belongs to a user stays that user’s', async () => {
    await chmod(parent, 0o777);
    const { child, report } = await forkOwner({}, DAEMON);
    expect(report).toMatchObject({ kind: 'opened', created: true });
    await endChild(child);
    expect((await open()).created).toBe(false);
    expect((await stat(`/proc/${await serverPid()}`)).uid).toBe(DAEMON);
    expect(dirname(dataDir)).toBe(parent);
  });
});

/** Begins with a copy of a database that was made before, which takes a tenth of the time. */
async function useExisting(): Promise<void> {
  await promisify(execFile)('cp', ['-a', join(made, 'data'), dataDir]);
}

async function open(options: Partial<EmbeddedPostgresOptions> = {}): Promise<EmbeddedPostgres> {
  const postgres = await EmbeddedPostgres.open({
    ...NAMES,
    dataDir,
    holder: 'test',
    settings: NO_FSYNC,
    log: () => undefined,
    ...options,
  });
  opened.push(postgres);
  return postgres;
}

/** Opens the folder in a process of its own. */
async function forkOwner(
  options: Partial<ChildOptions> = {},
  uid?: number,
): Promise<{ child: ChildProcess; report: ChildReport }> {
  const all: ChildOptions = { ...NAMES, dataDir, holder: 'child', settings: NO_FSYNC, ...options };
  const child = fork(join(import.meta.dirname, 'child.ts'), [JSON.stringify(all)], {
    execArgv: ['--import', LOADER],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    ...(uid !== undefined && { uid, gid: uid }),
  });
  children.push(child);
  const ended = once(child, 'exit').then(() => {
    throw new Error('the child ended without a report');
  });
  const [report] = (await Promise.race([once(child, 'message'), ended])) as [ChildReport];
  ended.catch(() => undefined);
  return { child, report };
}

async function superuserUrl(url: string): Promise<string> {
  const as = new URL(url);
  [as.username, as.password] = [NAMES.superuser, await readPassword(dataDir)];
  return as.href;
}

function urlIn(report: ChildReport): string {
  if (report.kind !== 'opened') throw new Error(JSON.stringify(report));
  return report.url;
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  if (child.connected) child.send('close', () => undefined);
  else child.kill('SIGKILL');
  await exit;
}

async function serverPid(): Promise<number | undefined> {
  const text = await readFile(join(dataDir, 'postgres/postmaster.pid'), 'utf8').catch(() => '');
  return text === '' ? undefined : Number.parseInt(text, 10);
}

/** A zombie does not count: who has to reap it may be slow. */
async function isRunning(pid: number | undefined): Promise<boolean> {
  return pid !== undefined && (await identityOf(pid)) !== undefined;
}

async function isLocked(url: string): Promise<boolean> {
  const held = await query(url, `SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted`).catch(
    () => [],
  );
  return held.length === 1;
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('it did not come about within 20 s');
    await sleep(20);
  }
}
