import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '@scalable-banking/embedded-postgres';
import { startRabbitMq, type RabbitMqServer } from '../../tools/stack/servers/rabbitmq.js';
import { describeServer } from '../../src/config/shard-address.js';
import { codeBlocks, examplesOf, Reader } from '../support/documents.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

/** Several processes of Node, on a machine with other work. */
const COMMAND_TIMEOUT_MS = 60_000;

const WRITTEN_BY_TOOLS = ['CHANGELOG.md', 'docs/bench/README.md'];
const documents = globSync(['*.md', 'docs/**/*.md', 'packages/*/README.md'])
  .filter((file) => !WRITTEN_BY_TOOLS.includes(file))
  .sort();
const textOf = (file: string) => readFileSync(file, 'utf8');
const consoleBlocks = (file: string) => codeBlocks(textOf(file)).filter(({ lang }) => lang === 'console');

/** What a document expects its reader to have: the service of `npm start`, on a new data folder, if not said otherwise. */
interface Surroundings {
  readonly service: boolean;
  /** The addresses that the document names, and those that stand for them here. */
  elsewhere(): Promise<Record<string, string>>;
  /** The variables that the document sets before it starts the service. */
  settings?(): Record<string, string>;
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

const SURROUNDINGS: Readonly<Record<string, Surroundings>> = {
  'docs/backup.md': { service: true, elsewhere: () => emptyDatabaseFor('db2') },
  'docs/events.md': {
    service: true,
    elsewhere: async () => {
      broker = await startRabbitMq();
      return { [BROKER]: broker.url };
    },
    settings: () => ({ RABBITMQ_URL: broker?.url ?? '' }),
  },
  'docs/scaling.md': {
    service: false,
    elsewhere: async () => ({ ...(await emptyDatabaseFor('db1')), ...(await emptyDatabaseFor('db2')) }),
  },
};
const USUAL: Surroundings = { service: true, elsewhere: () => Promise.resolve({}) };

afterAll(async () => {
  await broker?.stop();
  for (const database of databases) await database.drop();
});

describe.each(documents.filter((file) => consoleBlocks(file).length > 0))('%s', (file) => {
  const { service, elsewhere, settings } = SURROUNDINGS[file] ?? USUAL;
  let reader: Reader;
  let stop: () => Promise<void> = () => Promise.resolve();

  beforeAll(async () => {
    const port = String(await freePort());
    const addresses = { '127.0.0.1:3000': `127.0.0.1:${port}`, ...(await elsewhere()) };
    reader = new Reader({ PORT: port, ...settings?.() }, addresses);
    if (service) stop = await startedService(reader, port);
  }, COMMAND_TIMEOUT_MS);

  afterAll(async () => {
    await stop();
    reader.close();
  }, COMMAND_TIMEOUT_MS);

  const examples = consoleBlocks(file).flatMap(({ text }) => examplesOf(text));
  it.each(examples.map(({ command, output }) => [command, output] as const))(
    '%s',
    async (command, said) => {
      const { printed, exitCode } = await reader.run(command);
      expect(reader.isWhat(said, printed) ? said : reader.inItsWords(printed)).toBe(said);
      if (!/^error: /m.test(said)) expect(exitCode).toBe(0);
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
  await waitUntil(async () => {
    if (npm.exitCode !== null) throw new Error(`the service ended:\n${output}`);
    return (await fetch(`http://127.0.0.1:${port}/health/ready`)).ok;
  }, COMMAND_TIMEOUT_MS / 2);
  return async () => {
    npm.kill();
    expect(await exited).toEqual([0, null]);
  };
}
