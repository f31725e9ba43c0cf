import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { codeOf } from '../database/embedded/errors.js';
import { messageOf } from '../error-message.js';
import { WorkError } from '../explain.js';

/** Written last: a folder without it is no backup. */
const MANIFEST = 'manifest.json';
const FORMAT = 'scalable-banking-api backup';
/** Raised when a backup is written that an older release would misread. */
const FORMAT_VERSION = 4;
/** Those that this release reads. Version 1 knows no archive, version 2 no keys and no audit log, version 3 no openings. */
const READABLE = [1, 2, 3, FORMAT_VERSION] as const;

/**
 * The tables that a backup holds as files, in the order in which they can be loaded. The shard's identity is in the
 * manifest. `drawn`: the ids come from a sequence of the table's own. `ledger`: its rows come and change by openings and
 * postings alone.
 */
export const BACKED_UP = [
  { table: 'accounts', key: 'accounts', id: 'account_id', drawn: true, ledger: true },
  {
    table: 'account_openings',
    key: 'accountOpenings',
    id: 'account_id',
    drawn: false,
    ledger: true,
  },
  { table: 'transactions', key: 'transactions', id: 'transaction_id', drawn: true, ledger: true },
  {
    table: 'archived_transactions',
    key: 'archivedTransactions',
    id: 'transaction_id',
    drawn: false,
    ledger: true,
  },
  { table: 'outbox', key: 'outbox', id: 'outbox_id', drawn: true, ledger: false },
  { table: 'api_keys', key: 'apiKeys', id: 'key_id', drawn: true, ledger: false },
  { table: 'audit_events', key: 'auditEvents', id: 'event_id', drawn: true, ledger: false },
] as const;

/** One of {@link BACKED_UP}. */
export type BackedUp = (typeof BACKED_UP)[number];

const count = z.number().int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const FILE = z.object({
  table: z.enum(BACKED_UP.map(({ table }) => table)),
  /** Within the backup's folder, as it is written here and nowhere else. */
  file: z.string().regex(/^shard-\d+\/[a-z_]+\.csv\.gz$/),
  columns: z.array(z.string()).min(1),
  rows: count,
  /** Of the file, as is `sha256`: what `sha256sum` prints. */
  bytes: count,
  sha256,
  /** Of the CSV text in it. Rows are in the order of their ids, so the same rows always have the same one. */
  contentSha256: sha256,
  /** Where the sequence of the table's ids stood, if it has one; `called`: that id was handed out. */
  sequence: z.object({ last: z.string().regex(/^\d{1,19}$/), called: z.boolean() }).optional(),
});

const SHARD = z.object({
  index: count,
  /** When its snapshot was taken, by its server's clock. */
  snapshotAt: z.string(),
  /** The row of shard_identity, without the lease of a relay. */
  identity: z.record(z.string(), z.unknown()),
  /** What `verify` found in the snapshot. */
  books: z.object({ accounts: count, transactions: count, balance: z.string(), faulty: count }),
  files: z.array(FILE).min(1).max(BACKED_UP.length),
});

const BODY = z.object({
  format: z.literal(FORMAT),
  formatVersion: z.literal(READABLE),
  bankId: z.string(),
  shardCount: z.number().int().min(1),
  /** Those that had been applied, oldest first: the schema that the files are of. */
  migrations: z.array(z.string()).min(1),
  shards: z.array(SHARD).min(1),
});

export type BackupFile = z.output<typeof FILE>;
export type BackupShard = z.output<typeof SHARD>;
export type Manifest = z.output<typeof BODY>;

/** Puts the manifest, with a checksum of its own, on the disk. */
export async function writeManifest(
  folder: string,
  content: Omit<Manifest, 'format' | 'formatVersion'>,
): Promise<Manifest> {
  const body: Manifest = { format: FORMAT, formatVersion: FORMAT_VERSION, ...content };
  const text = `${JSON.stringify({ ...body, checksum: checksumOf(body) }, null, 2)}\n`;
  await writeFile(join(folder, MANIFEST), text, { flag: 'wx', mode: 0o600, flush: true });
  return body;
}

/** @throws WorkError that says what is wrong with it */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, MANIFEST);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw new WorkError(`${path} can't be read: ${messageOf(error)}`);
    throw new WorkError(
      `${folder} is no backup: there is no ${MANIFEST} in it, which is written when all else is there`,
    );
  });
  const damaged = new WorkError(`${path} is damaged, so what the backup should hold is not known`);
  const { checksum, ...body } = parseObject(text) ?? {};
  if (body['format'] !== FORMAT) throw damaged;
  if (!READABLE.some((version) => version === body['formatVersion'])) {
    throw new WorkError(
      `${path} is of the format version ${String(body['formatVersion'])}; this release reads the versions ${READABLE.join(', ')}`,
    );
  }
  if (checksum !== checksumOf(body)) throw damaged;
  const parsed = BODY.safeParse(body);
  if (!parsed.success || parsed.data.shards.length !== parsed.data.shardCount) throw damaged;
  return parsed.data;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** JSON.stringify keeps the order of the members, so what was parsed gives the same text again. */
function checksumOf(body: object): string {
  return createHash('sha256').update(JSON.stringify(body)).digest('hex');
}

/**
 * Reads every file that the manifest names.
 *
 * @throws WorkError that names the first one that is missing, or is not what was written
 */
export async function checkFiles(
  folder: string,
  manifest: Pick<Manifest, 'shards'>,
  signal?: AbortSignal,
): Promise<void> {
  for (const { file, bytes, sha256: expected } of manifest.shards.flatMap((shard) => shard.files)) {
    const path = join(folder, file);
    try {
      const { size } = await stat(path);
      if (size !== bytes) throw new WorkError(`${path} is damaged: it has ${size} bytes instead of ${bytes}`);
      const found = await measure(createReadStream(path, { signal }));
      if (found.sha256 !== expected) throw new WorkError(`${path} is damaged: its SHA-256 is another one`);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof WorkError) throw error;
      if (codeOf(error) === 'ENOENT') throw new WorkError(`the backup is not whole: ${path} is missing`);
      throw new WorkError(`${path} can't be read: ${messageOf(error)}`, { cause: error });
    }
  }
}

/** Measures what passes by. */
export class Measure {
  bytes = 0;
  private readonly hash = createHash('sha256');

  /** Hands on what it is given: a step of a pipeline. */
  async *pass(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      this.bytes += chunk.length;
      this.hash.update(chunk);
      yield chunk;
    }
  }

  /** Of all that has passed; to be asked for once, at the end. */
  sha256(): string {
    return this.hash.digest('hex');
  }
}

/** Measures a stream to its end. */
export async function measure(source: AsyncIterable<Buffer>): Promise<{ bytes: number; sha256: string }> {
  const measured = new Measure();
  const rest = measured.pass(source);
  while (!(await rest.next()).done);
  return { bytes: measured.bytes, sha256: measured.sha256() };
}
