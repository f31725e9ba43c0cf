import { createHash } from 'node:crypto';
import { constants, open, realpath, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { z } from 'zod';
import { codeOf, messageOf } from '../../domain/error-message.js';
import { BANK_TABLES, copiedTables } from '../../storage/tables.js';
import { CommandError } from '../command-error.js';

/** Written last: a folder without it is not a backup. */
const MANIFEST = 'manifest.json';
const FORMAT = 'scalable-banking-api backup';
/** To be increased when a change would make an older release misread a backup. */
const FORMAT_VERSION = 5;
/**
 * Versions that this release reads. Version 1 has no archive, version 2 no keys and no audit log, version 3 no
 * openings, version 4 no holds, details or events of accounts.
 */
const READABLE = [1, 2, 3, 4, FORMAT_VERSION] as const;

/** The first version that says how large the content of each file is. */
const FIRST_MEASURED = 4;

/** More than any bank needs: a shard takes about 4 kB. */
const MAX_MANIFEST_BYTES = 16 * 1024 * 1024;
const MAX_SHARDS = 1_024;
const MAX_MIGRATIONS = 1_000;

const tableNamed = (wanted: string) => copiedTables(BANK_TABLES).find(({ name }) => name === wanted);

const count = z.number().int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const time = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)$/);

// A manifest may be hostile: only numbers, and names of these forms, are accepted.
const FILE = z.object({
  table: z.string().refine((name) => tableNamed(name) !== undefined),
  /** Within the backup's folder: `shard-<index>/<table>.csv.gz`. */
  file: z.string(),
  /** In the order of the file. Only compared with the target's own catalogue, never used. */
  columns: z
    .array(z.string().regex(/^\w{1,63}$/))
    .min(1)
    .max(100),
  rows: count,
  /** Size of the file. Like `sha256`, it is of the compressed file: what `sha256sum` reads. */
  bytes: count,
  sha256,
  /** SHA-256 of the uncompressed CSV. Rows are ordered by id, so the same rows always have the same hash. */
  contentSha256: sha256,
  /** Size of the uncompressed CSV, from version 4 on. */
  contentBytes: count.optional(),
  /** State of the sequence of the table's ids, if it has one; `called`: `last` has been handed out. */
  sequence: z.object({ last: z.string().regex(/^[1-9]\d{0,15}$/), called: z.boolean() }).optional(),
});

const SUM = z.string().regex(/^(-?\d{1,40}(\.\d{1,4})?|NaN)$/);

const SHARD = z.object({
  index: count,
  /** When its snapshot was taken, by the server's clock. */
  snapshotAt: time,
  /** The row of shard_identity, as far as a restored shard keeps it. */
  identity: z
    .object({ bank_id: z.guid(), shard_index: count, shard_count: count, created_at: time })
    // Compared with the target's own catalogue, like the columns of the files.
    .catchall(z.union([z.string().max(1_000), z.number(), z.boolean(), z.null()])),
  /** What `verify` found in the snapshot. */
  books: z.object({
    accounts: count,
    transactions: count,
    balance: SUM,
    /** Of other currencies than the bank's, by their codes. */
    otherBalances: z.record(z.string().regex(/^[A-Z]{3}$/), SUM).optional(),
    faulty: count,
  }),
  files: z.array(FILE).min(1).max(100),
});

const BODY = z.object({
  format: z.literal(FORMAT),
  formatVersion: z.literal(READABLE),
  bankId: z.guid(),
  shardCount: z.number().int().min(1).max(MAX_SHARDS),
  /** The migrations that had been applied, oldest first: they define the schema of the files. */
  migrations: z
    .array(z.string().regex(/^\w{1,200}$/))
    .min(1)
    .max(MAX_MIGRATIONS),
  shards: z.array(SHARD).min(1).max(MAX_SHARDS),
});

export type BackupFile = z.output<typeof FILE>;
export type BackupShard = z.output<typeof SHARD>;
export type Manifest = z.output<typeof BODY>;

/** A manifest, and what `sha256sum manifest.json` prints. */
export interface SealedManifest {
  readonly manifest: Manifest;
  readonly sha256: string;
}

/** Writes the manifest to disk, with a checksum of its own. */
export async function writeManifest(
  folder: string,
  content: Omit<Manifest, 'format' | 'formatVersion'>,
): Promise<SealedManifest> {
  const manifest: Manifest = { format: FORMAT, formatVersion: FORMAT_VERSION, ...content };
  const text = `${JSON.stringify({ ...manifest, checksum: checksumOf(manifest) }, null, 2)}\n`;
  await writeFile(join(folder, MANIFEST), text, { flag: 'wx', mode: 0o600, flush: true });
  return { manifest, sha256: hashOf(text) };
}

/**
 * @param expected the SHA-256 that it must have; a manifest with another one is not parsed
 * @throws CommandError that says what is wrong with it
 */
export async function readManifest(folder: string, expected?: string): Promise<SealedManifest> {
  const path = join(folder, MANIFEST);
  const bytes = await readSmallFile(folder, path);
  const found = hashOf(bytes);
  if (expected !== undefined && found !== expected) {
    throw new CommandError(`${path} is not the one that --sha256 names: its SHA-256 is ${found}`);
  }
  const body = parseSealed(bytes.toString());
  const damaged = new CommandError(`${path} is damaged, so what the backup should hold is not known`);
  if (body?.['format'] !== FORMAT) throw damaged;
  const version = body['formatVersion'];
  if (typeof version === 'number' && !READABLE.some((known) => known === version)) {
    throw new CommandError(
      `${path} has the format version ${version}; this release reads the versions ${READABLE.join(', ')}`,
    );
  }
  const parsed = BODY.safeParse(body);
  if (!parsed.success) throw damaged;
  const contradiction = contradictionIn(parsed.data);
  if (contradiction !== undefined) throw new CommandError(`${path} contradicts itself: ${contradiction}`);
  return { manifest: parsed.data, sha256: found };
}

async function readSmallFile(folder: string, path: string): Promise<Buffer> {
  const file = await openInside(folder, MANIFEST).catch((error: unknown) => {
    if (error instanceof CommandError) throw error;
    if (codeOf(error) !== 'ENOENT') throw new CommandError(`${path} can't be read: ${messageOf(error)}`);
    throw new CommandError(
      `${folder} is no backup: there is no ${MANIFEST} in it, which is written when all else is there`,
    );
  });
  try {
    const { size } = await file.stat();
    if (size > MAX_MANIFEST_BYTES) {
      throw new CommandError(
        `${path} is no manifest: it has ${size} bytes, and one has at most ${MAX_MANIFEST_BYTES}`,
      );
    }
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** @returns the manifest without its checksum; undefined when the checksum is wrong, or it can't be parsed */
function parseSealed(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    const { checksum, ...body } = parsed as Record<string, unknown>;
    return checksum === checksumOf(body) ? body : undefined;
  } catch {
    // Not JSON, not an object, or nested too deeply to be serialised again.
    return undefined;
  }
}

/** JSON.stringify keeps the order of the members, so a parsed manifest gives the same text again. */
function checksumOf(body: object): string {
  return hashOf(JSON.stringify(body));
}

function hashOf(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

/** Finds contradictions that none of our backups contains. */
function contradictionIn({ formatVersion, shards, shardCount, bankId }: Manifest): string | undefined {
  if (shards.length !== shardCount) return `it is of ${shardCount} shard(s), but lists ${shards.length}`;
  for (const [index, { index: named, identity, books, files }] of shards.entries()) {
    const { bank_id, shard_index, shard_count } = identity;
    const inPlace =
      [named, shard_index, shard_count, bank_id].join() === [index, index, shardCount, bankId].join();
    if (!inPlace) return `shard ${index} of the list is another shard`;
    if (new Set(files.map(({ table }) => table)).size < files.length)
      return `shard ${index} lists a table twice`;
    if (!haveRowsOf(files, books)) return `the numbers of rows of shard ${index} are not those of its books`;
    if (formatVersion >= FIRST_MEASURED && files.some(({ contentBytes }) => contentBytes === undefined))
      return `shard ${index} does not say how many bytes its files hold`;
    const problem = files.map((file) => problemOf(file, index, shardCount)).find(Boolean);
    if (problem !== undefined) return `in shard ${index} ${problem}`;
  }
  return undefined;
}

/** Whether the files have as many accounts and transactions as the books of their shard. */
export function haveRowsOf(files: readonly BackupFile[], books: BackupShard['books']): boolean {
  const rowsOf = (...tables: string[]) =>
    files.reduce((sum, { table, rows }) => sum + (tables.includes(table) ? rows : 0), 0);
  return (
    rowsOf('accounts') === books.accounts &&
    rowsOf('transactions', 'archived_transactions') === books.transactions
  );
}

function problemOf(
  { table, file, columns, sequence }: BackupFile,
  index: number,
  count: number,
): string | undefined {
  if (file !== fileOf(index, table)) return `the file of ${table} is not where it belongs`;
  if (new Set(columns).size < columns.length) return `${table} has a column twice`;
  const { drawn = false, ledger = false } = tableNamed(table) ?? {};
  if ((sequence !== undefined) !== drawn) return `${table} ${drawn ? 'lacks its' : 'has a'} sequence`;
  // Each shard hands out every count-th id, so an id tells its shard.
  if (!ledger || !sequence || (BigInt(sequence.last) - 1n) % BigInt(count) === BigInt(index))
    return undefined;
  return `the next id of ${table} belongs to another shard`;
}

/** The path of a table's rows within the backup's folder. */
export function fileOf(shard: number, table: string): string {
  return `shard-${shard}/${table}.csv.gz`;
}

/**
 * Opens a file of a backup.
 *
 * @throws CommandError when it is a link, lies behind a link, or is not a regular file: reading a pipe would never end
 */
async function openInside(folder: string, file: string): Promise<FileHandle> {
  const path = join(folder, file);
  if ((await realpath(path)) !== join(await realpath(folder), file)) {
    throw new CommandError(
      `${path} is a link or lies behind one: the files of a backup are in its own folder`,
    );
  }
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new CommandError(`${path} is no regular file`);
}

/**
 * Reads every file that the manifest names.
 *
 * @throws CommandError that names the first one that is missing or was changed
 */
export async function checkFiles(
  folder: string,
  { shards }: Pick<Manifest, 'shards'>,
  signal?: AbortSignal,
): Promise<void> {
  for (const file of shards.flatMap(({ files }) => files)) {
    const content = contentOf(folder, file, signal);
    while (!(await content.next()).done);
  }
}

/**
 * The rows of a file, as CSV with a header line, checked against the manifest as they are read.
 *
 * @throws CommandError that names the file when it is missing, damaged or not what the manifest says; at the latest
 *   when it ends
 */
export async function* contentOf(
  folder: string,
  file: BackupFile,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  const path = join(folder, file.file);
  try {
    yield* unpack(await openInside(folder, file.file), path, file, signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CommandError) throw error;
    if (codeOf(error) === 'ENOENT') throw new CommandError(`the backup is not whole: ${path} is missing`);
    if (codeOf(error)?.startsWith('Z_')) throw new CommandError(`${path} is damaged: it can't be unpacked`);
    throw new CommandError(`${path} can't be read: ${messageOf(error)}`, { cause: error });
  }
}

async function* unpack(
  handle: FileHandle,
  path: string,
  { bytes, sha256: expected, columns, contentBytes = Infinity, contentSha256 }: BackupFile,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  const { size } = await handle.stat();
  const packed = handle.createReadStream({ signal });
  try {
    if (size !== bytes)
      throw new CommandError(`${path} is damaged: it has ${size} bytes instead of ${bytes}`);
    const [read, content] = [new Measure(), new Measure()];
    const rows = pipeline(
      packed,
      (chunks: AsyncIterable<Buffer>) => read.pass(chunks),
      createGunzip(),
      () => undefined,
    );
    const head = `${columns.join(',')}\n`;
    let begin = '';
    for await (const chunk of content.pass(rows)) {
      if (content.bytes > contentBytes) throw new CommandError(`${path} holds more than the manifest says`);
      if (begin.length < head.length) begin += chunk.toString('latin1', 0, head.length);
      if (!begin.startsWith(head.slice(0, begin.length))) {
        throw new CommandError(`${path} has other columns than the manifest says`);
      }
      yield chunk;
    }
    if (read.sha256() !== expected)
      throw new CommandError(`${path} is damaged: its SHA-256 is not that of the manifest`);
    if (content.sha256() !== contentSha256) {
      throw new CommandError(`${path} is damaged: the SHA-256 of its content is not that of the manifest`);
    }
  } finally {
    packed.destroy();
  }
}

/** Counts and hashes the bytes of a stream. */
export class Measure {
  bytes = 0;
  private readonly hash = createHash('sha256');

  /** Passes on what it reads: a step of a pipeline. */
  async *pass(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      this.bytes += chunk.length;
      this.hash.update(chunk);
      yield chunk;
    }
  }

  /** The hash of all bytes so far; call it once, at the end. */
  sha256(): string {
    return this.hash.digest('hex');
  }
}

/** Counts and hashes a stream to its end. */
export async function measure(source: AsyncIterable<Buffer>): Promise<{ bytes: number; sha256: string }> {
  const measured = new Measure();
  const rest = measured.pass(source);
  while (!(await rest.next()).done);
  return { bytes: measured.bytes, sha256: measured.sha256() };
}
