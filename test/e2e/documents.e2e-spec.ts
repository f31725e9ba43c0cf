import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '@scalable-banking/embedded-postgres';
import { startRabbitMq, type RabbitMqServer } from '../../tools/stack/servers/rabbitmq.js';
import { describeServer } from '../../src/config/shard-address.js';
import { startCli } from '../support/cli.js';
import { codeBlocks, examplesOf, Reader } from '../support/documents.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

/** Several processes of Node, on a machine with other work. */
const COMMAND_TIMEOUT_MS = 60_000;

/** Nobody follows them. */
const RECORDS = ['CHANGELOG.md', 'docs/bench/README.md'];
const documents = globSync(['*.md', 'docs/**/*.md', 'packages/*/README.md'])
  .filter((file) => !RECORDS.includes(file))
  .sort();
const textOf = (file: string) => readFileSync(file, 'utf8');
const consoleBlocks = (file: string) => codeBlocks(textOf(file)).filter(({ lang }) => lang === 'console');

/** What a document expects its reader to have. */
interface Surroundings {
  /** Whether the service runs, on a new data folder; true if not said otherwise. */
  readonly service?: boolean;
  /** The variables that the service was started with. */
  readonly settings?: Record<string, string>;
  /** The addresses that the document names, and those that stand for them here. */
  readonly elsewhere?: Record<string, string>;
}

const BROKER = 'amqp://guest:guest@127.0.0.1:5672';
let broker: RabbitMqServer | undefined;
const databases: TestDatabase[] = [];

/** The addresses by which a document may name an empty database. */
async function emptyDatabaseFor(host: string): Promise<Record<string, string>> {
  const database = await createEmptyTestDatabase();
  databases.push(database);
  const withoutUser = new URL(database.url);
  [withoutUser.username, withoutUser.password] = ['', ''];
  return {
    [`postgresql://bank:secret@${host}:5432/bank`]: database.url,
    [`postgresql://${host}:5432/bank`]: withoutUser.href,
    [`${host}:5432/bank`]: describeServer(database.url),
  };
}

async function withBroker(): Promise<Surroundings> {
  broker ??= await startRabbitMq();
  return { settings: { RABBITMQ_URL: broker.url }, elsewhere: { [BROKER]: broker.url } };
}

const withPortForReceiver = async (): Promise<Surroundings> => ({
  elsewhere: { '4000': String(await freePort()) },
});

const SURROUNDINGS: Readonly<Record<string, () => Promise<Surroundings>>> = {
  'docs/backup.md': async () => ({ elsewhere: await emptyDatabaseFor('db2') }),
  'docs/async.md': withBroker,
  'docs/events.md': withBroker,
  'docs/webhooks.md': withPortForReceiver,
  'docs/guides/webhooks.md': withPortForReceiver,
  'docs/scaling.md': async () => ({
    service: false,
    elsewhere: { ...(await emptyDatabaseFor('db1')), ...(await emptyDatabaseFor('db2')) },
  }),
};

afterAll(async () => {
  await broker?.stop();
  for (const database of databases) await database.drop();
});

describe.each(documents.filter((file) => consoleBlocks(file).length > 0))('%s', (file) => {
  let reader: Reader;
  let stop: () => Promise<void> = () => Promise.resolve();

  beforeAll(async () => {
    const { service = true, settings, elsewhere } = (await SURROUNDINGS[file]?.()) ?? {};
    const port = String(await freePort());
    reader = new Reader({ PORT: port, ...settings }, { '127.0.0.1:3000': `127.0.0.1:${port}`, ...elsewhere });
    if (service) stop = await startedService(reader, port);
  }, COMMAND_TIMEOUT_MS);

  afterAll(async () => {
    await stop();
    reader.close();
  }, COMMAND_TIMEOUT_MS);

  const examples = consoleBlocks(file).flatMap(({ text }) => examplesOf(text));
  for (const { command, output } of examples) {
    const name = command.replaceAll(/\s*\\?\n\s*/g, ' ');
    const run = async () => {
      const { printed, exitCode } = await reader.run(command);
      expect(reader.isWhat(output, printed) ? output : reader.inItsWords(printed)).toBe(output);
      if (!/^error: /m.test(output)) expect(exitCode).toBe(0);
    };
    it(name, run, COMMAND_TIMEOUT_MS);
  }
});

describe('a reader of documents', () => {
  it('finds the commands, over lines that go on, and what each prints', () => {
    expect(examplesOf("$ a \\\n  -b\n1\n\n2\n$ c 'd\n$ e' \"f'\"\n$ g")).toEqual([
      { command: 'a \\\n  -b', output: '1\n\n2' },
      { command: "c 'd\n$ e' \"f'\"", output: '' },
      { command: 'g', output: '' },
    ]);
  });

  it('compares all but what each run prints differently, which it remembers', async () => {
    const reader = new Reader({}, { 'example.org:1': '127.0.0.1:4567' });
    const is = (said: string, printed: string) => reader.isWhat(said, printed);
    try {
      expect(is('1000.00 in txn2 at example.org:1/x', '1000.00 in txn7 at 127.0.0.1:4567/x')).toBe(true);
      expect(is('1000.00 in txn2', '1000.01 in txn7')).toBe(false);
      expect([is('txn2 again', 'txn7 again'), is('txn2 again', 'txn2 again')]).toEqual([true, false]);
      expect([is('txn3, txn3', 'txn8, txn8'), is('txn4, txn4', 'txn8, txn9')]).toEqual([true, false]);
      expect([is('a …\nc', 'a b\nc'), is('a …\nc', 'a b\nb\nc')]).toEqual([true, false]);
      expect([is('a\n…\nc', 'a\nb\nb\nc'), is('a\n…\nc', 'a\nb\nd')]).toEqual([true, false]);
      expect(await reader.run('export A=txn3; false')).toEqual({ printed: '', exitCode: 1 });
      expect((await reader.run('echo $A example.org:1 txn33')).printed).toBe('txn8 127.0.0.1:4567 txn33');
    } finally {
      reader.close();
    }
  });
});

describe('what the documents show but do not run', () => {
  /** `sh`: what this machine lacks or the suite has no time for, like a cluster, root, or an hour of chaos. */
  const LANGUAGES = ['console', 'sh', 'sql', 'ini', 'json', 'ts', 'mermaid'];
  const COMMAND = /^ *(\$|npm|npx|node|curl|docker|psql) /m;

  it.each(documents)('%s: no command is left out of the test unnoticed', (file) => {
    for (const { lang = '', text } of codeBlocks(textOf(file))) {
      if (!LANGUAGES.includes(lang)) expect(text).not.toMatch(COMMAND);
      if (lang === 'sh') expect(text).not.toMatch(/^ *(\$|curl) /m);
    }
  });

  it.each(documents)('%s: the scripts that it names exist', (file) => {
    const { scripts } = JSON.parse(textOf('package.json')) as { scripts: object };
    const named = Array.from(
      textOf(file).matchAll(/npm run (?:-s |--silent )?([a-z:]+)/g),
      ([, name]) => name,
    );
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
    // Without -s, what npm itself prints comes first.
    expect(textOf(file)).not.toContain('npm run cli');
  });

  it(
    'the commands and options that they name exist',
    async () => {
      const named = /npm run -s cli -- ([a-z]+(?: [a-z]+(?![a-z0-9]))*)([^`\n|]*)/g;
      const options = new Map<string, Set<string>>();
      for (const [, command = '', rest = ''] of documents.flatMap((file) => [
        ...textOf(file).matchAll(named),
      ])) {
        const known = options.get(command) ?? new Set();
        options.set(command, known);
        for (const [option] of rest.matchAll(/--[a-z0-9-]+/g)) known.add(option);
      }
      for (const [command, names] of options) {
        const { stdout } = await startCli([...command.split(' '), '--help'], {}).ended;
        for (const text of [`Usage: npm run -s cli -- ${command} `, ...names]) expect(stdout).toContain(text);
      }
    },
    COMMAND_TIMEOUT_MS,
  );
});

/** Runs what the README says to run. @returns stops it, as whoever started npm would */
async function startedService(reader: Reader, port: string): Promise<() => Promise<void>> {
  const npm = reader.start('npm', 'start');
  let output = '';
  for (const stream of [npm.stdout, npm.stderr])
    stream?.on('data', (data: Buffer) => (output += data.toString()));
  const exited = once(npm, 'exit');
  try {
    await waitUntil(async () => {
      if (npm.exitCode !== null) throw new Error('the service ended');
      return (await fetch(`http://127.0.0.1:${port}/health/ready`)).ok;
    }, COMMAND_TIMEOUT_MS / 2);
  } catch (error) {
    npm.kill();
    throw new Error(`the service did not become ready:\n${output}`, { cause: error });
  }
  return async () => {
    npm.kill();
    expect(await exited).toEqual([0, null]);
  };
}
