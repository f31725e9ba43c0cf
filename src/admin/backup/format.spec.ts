import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { BANK_TABLES, copiedTables } from '../../storage/tables.js';
import { CommandError } from '../command-error.js';
import {
  checkFiles,
  fileOf,
  readManifest,
  writeManifest,
  type BackupFile,
  type BackupShard,
  type Manifest,
} from './format.js';

const SHARDS = 2;
/** One line, without characters that untrusted text must not send to a terminal. */
const ONE_LINE = /^[^\p{Cc}]{1,400}$/u;
const BANK_ID = '00000000-0000-4000-8000-000000000001';

let root: string;
let folder: string;
let whole: Manifest;

const hash = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');

/** Writes a file of a backup. @returns its entry in the manifest */
function makeFile(shard: number, table: BackupFile['table'], text: string, drawn: boolean): BackupFile {
  const packed = gzipSync(text);
  writeFileSync(join(folder, fileOf(shard, table)), packed);
  return {
    ...{ table, file: fileOf(shard, table), columns: ['id', 'name'], rows: text.split('\n').length - 2 },
    ...{ bytes: packed.length, sha256: hash(packed), contentSha256: hash(text), contentBytes: text.length },
    ...(drawn && { sequence: { last: String(shard + 1), called: true } }),
  };
}

function makeShard(index: number): BackupShard {
  mkdirSync(join(folder, `shard-${index}`));
  const now = '2026-05-01T10:00:00.000Z';
  return {
    ...{ index, snapshotAt: now, books: { accounts: 1, transactions: 2, balance: '-1.00', faulty: 0 } },
    identity: { bank_id: BANK_ID, shard_index: index, shard_count: SHARDS, created_at: now },
    files: copiedTables(BANK_TABLES).map(({ name, drawn }) => makeFile(index, name, 'id,name\n7,x\n', drawn)),
  };
}

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'bank-format-'));
  folder = join(root, 'backup');
  mkdirSync(folder);
  const shards = [makeShard(0), makeShard(1)];
  const content = { bankId: BANK_ID, shardCount: SHARDS, migrations: ['First1', 'Second2'], shards };
  whole = (await writeManifest(folder, content)).manifest;
});

afterEach(() => rmSync(root, { recursive: true }));

const path = () => join(folder, 'manifest.json');
const at = (table: BackupFile['table']) => join(folder, fileOf(0, table));

/** Seals a manifest as somebody would who knows how it is made. */
function seal(body: unknown): void {
  let checksum: unknown;
  try {
    checksum = hash(JSON.stringify(body));
  } catch {
    checksum = '';
  }
  writeFileSync(path(), JSON.stringify({ ...(body as object), checksum }));
}

const read = async (sha256?: string) => {
  const { manifest } = await readManifest(folder, sha256);
  await checkFiles(folder, manifest);
  return manifest;
};

/** Expects a message of one line that says what is wrong. */
async function expectRefusal(message: string | RegExp = ''): Promise<void> {
  const error: unknown = await read().then(
    () => new Error('it was taken'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CommandError);
  expect((error as CommandError).message).toMatch(message);
  expect((error as CommandError).message).toMatch(ONE_LINE);
}

it('is read as it was written, and by the SHA-256 that sha256sum prints', async () => {
  const { manifest, sha256 } = await readManifest(folder);
  expect(manifest).toEqual(whole);
  expect(sha256).toBe(execFileSync('sha256sum', [path()]).toString().slice(0, 64));
  expect(await read(sha256)).toEqual(whole);
});

it('is not read at all when its SHA-256 differs from the expected one', async () => {
  writeFileSync(path(), 'no JSON');
  await expect(read('0'.repeat(64))).rejects.toThrow(
    /is not the one that --sha256 names: its SHA-256 is \w{64}$/,
  );
});

describe('whatever a stranger writes', () => {
  const HOSTILE: readonly unknown[] = [
    ...[
      null,
      true,
      0,
      -1,
      1.5,
      1e308,
      2 ** 53,
      '',
      ' ',
      'x'.repeat(10_000),
      '\u001b[2J',
      '\n',
      '../..',
      '/etc/passwd',
    ],
    ...["id) FROM PROGRAM 'id' --", '"', "'", '\0', '__proto__', 'constructor', '9'.repeat(30), 'NaN', '-0'],
    ...[[], {}, [[]], { toString: 1 }, JSON.parse('{"__proto__":{"polluted":true}}'), Array(2_000).fill('a')],
  ];
  type Place = readonly [parent: Record<string, unknown>, key: string];

  function placesIn(value: unknown): Place[] {
    if (typeof value !== 'object' || value === null) return [];
    const parent = value as Record<string, unknown>;
    return Object.keys(parent).flatMap((key) => [[parent, key] as const, ...placesIn(parent[key])]);
  }

  const deeds: readonly ((place: Place, other: Place, value: unknown) => void)[] = [
    ([parent, key], _, value) => (parent[key] = value),
    ([parent, key]) => Reflect.deleteProperty(parent, key),
    ([parent, key], [from, name]) => (parent[key] = structuredClone(from[name])),
    ([parent], _, value) =>
      Object.defineProperty(parent, '__proto__', {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      }),
    ([parent, key]) => Array.isArray(parent[key]) && parent[key].push(structuredClone(parent[key].at(-1))),
    ([parent, key]) => Array.isArray(parent[key]) && parent[key].reverse(),
  ];

  it('is still the same backup, or is refused in one line', async () => {
    let refused = 0;
    const change = fc.tuple(fc.nat(), fc.nat(), fc.constantFrom(...deeds), fc.constantFrom(...HOSTILE));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const body = structuredClone(whole);
        for (const [first, second, deed, value] of changes) {
          const places = placesIn(body);
          const [place, other] = [first, second].map((n) => places[n % places.length]) as [Place, Place];
          deed(place, other, structuredClone(value));
        }
        seal(body);
        try {
          const taken = await read();
          // Members that were added, or that are for people, may differ; those that decide what is loaded from where
          // may not.
          const loaded = ({ shards }: Manifest) =>
            shards.map(({ files, identity }) => [files.map((f) => f.sha256), identity.shard_index]);
          expect(loaded(taken)).toEqual(loaded(whole));
        } catch (error) {
          refused += 1;
          if (!(error instanceof CommandError)) throw error;
          expect(error.message).toMatch(ONE_LINE);
        }
      }),
      { numRuns: 300 },
    );
    expect(refused).toBeGreaterThan(100);
    expect(Object.prototype).not.toHaveProperty('polluted');
  });

  it.each([
    '',
    '[]',
    '7',
    'null',
    '"x"',
    '{',
    `${'['.repeat(100_000)}`,
    `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
  ])('is not the JSON of a manifest: %.20s', async (text) => {
    writeFileSync(path(), text);
    await expectRefusal('is damaged');
  });

  it('is a manifest without an end', async () => {
    writeFileSync(path(), Buffer.alloc(17 * 1024 * 1024, ' '));
    await expectRefusal('is no manifest: it has 17825792 bytes, and one has at most 16777216');
  });

  const CONTRADICTIONS: [
    what: string,
    change: (body: Manifest, first: BackupFile) => unknown,
    message: string,
  ][] = [
    ['a shard too few', (body) => body.shards.pop(), 'it is of 2 shard(s), but lists 1'],
    ['shards in another order', (body) => body.shards.reverse(), 'shard 0 of the list is another shard'],
    [
      'a shard of another bank',
      ({ shards: [one] }) => Object.assign(one?.identity ?? {}, { bank_id: BANK_ID.replace('1', '2') }),
      'shard 0 of the list is another shard',
    ],
    [
      'a table twice',
      ({ shards: [one] }) => one?.files.splice(1, 1, ...one.files.slice(0, 1)),
      'shard 0 lists a table twice',
    ],
    [
      'a table less',
      ({ shards: [one] }) =>
        one?.files.splice(
          one.files.findIndex(({ table }) => table === 'transactions'),
          1,
        ),
      'are not those of its books',
    ],
    ['more rows than its books', (_, file) => Object.assign(file, { rows: 2 }), 'are not those of its books'],
    [
      'a file elsewhere',
      (_, file) => Object.assign(file, { file: 'shard-1/accounts.csv.gz' }),
      'the file of accounts is not where it belongs',
    ],
    ['a column twice', (_, file) => file.columns.push('id'), 'accounts has a column twice'],
    [
      'no size of the content',
      (_, file) => Reflect.deleteProperty(file, 'contentBytes'),
      'shard 0 does not say how many bytes its files hold',
    ],
    ['no sequence', (_, file) => Reflect.deleteProperty(file, 'sequence'), 'accounts lacks its sequence'],
    [
      'the ids of another shard',
      (_, { sequence }) => Object.assign(sequence ?? {}, { last: '2' }),
      'the next id of accounts belongs to another shard',
    ],
    ['SQL for a column', (_, file) => file.columns.splice(0, 1, "id) FROM PROGRAM 'id'; --"), 'is damaged'],
  ];

  it.each(CONTRADICTIONS)('has %s', async (_what, change, message) => {
    const body = structuredClone(whole);
    change(body, body.shards[0]?.files[0] as BackupFile);
    seal(body);
    await expectRefusal(message);
  });
});

describe('a file of a backup', () => {
  it.each([
    ['leads out of its folder', () => symlinkSync('/etc/passwd', at('outbox')), 'lies behind one'],
    ['is a link to nowhere', () => symlinkSync('nowhere', at('outbox')), 'is missing'],
    ['is a folder', () => mkdirSync(at('outbox')), 'is no regular file'],
    ['is a pipe that nobody writes to', () => execFileSync('mkfifo', [at('outbox')]), 'is no regular file'],
  ])('%s', async (_what, make, message) => {
    rmSync(at('outbox'));
    make();
    await expectRefusal(message);
  });

  it('lies in a folder that is a link', async () => {
    renameSync(join(folder, 'shard-1'), join(root, 'elsewhere'));
    symlinkSync(join(root, 'elsewhere'), join(folder, 'shard-1'));
    await expectRefusal('lies behind one');
  });

  it('may be reached by a link to the whole backup', async () => {
    symlinkSync(folder, join(root, 'link'));
    expect((await readManifest(join(root, 'link'))).manifest).toEqual(whole);
  });

  const replace = (text: string, change: Partial<BackupFile> = {}) => {
    const packed = gzipSync(text);
    writeFileSync(at('outbox'), packed);
    const body = structuredClone(whole);
    const file = body.shards[0]?.files.find(({ table }) => table === 'outbox');
    Object.assign(file ?? {}, { bytes: packed.length, sha256: hash(packed), ...change });
    seal(body);
  };

  it('expands to far more than its size', async () => {
    replace(`id,name\n${'7,x\n'.repeat(1_000_000)}`);
    await expectRefusal('holds more than the manifest says');
  });

  it('holds something else', async () => {
    replace('id,name\n8,x\n');
    await expectRefusal('the SHA-256 of its content is not that of the manifest');
  });

  it('has other columns than the manifest says', async () => {
    const text = 'name,id\n7,x\n';
    replace(text, { contentSha256: hash(text) });
    await expectRefusal('has other columns than the manifest says');
  });

  it('is not gzip', async () => {
    writeFileSync(at('outbox'), 'x'.repeat(readFileSync(at('outbox')).length));
    await expectRefusal("is damaged: it can't be unpacked");
  });
});
