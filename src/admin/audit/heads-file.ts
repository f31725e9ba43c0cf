import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { z } from 'zod';
import { messageOf } from '../../domain/error-message.js';
import { CommandError } from '../command-error.js';

export const FORMAT = 'scalable-banking-api heads';
/** Version 1 has no heads of events. */
export const FORMAT_VERSION = 2;

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const positive = z.number().int().min(1);

/** The first line: which bank, and when. */
const FIRST = z.object({
  format: z.literal(FORMAT),
  formatVersion: z.union([z.literal(1), z.literal(FORMAT_VERSION)]),
  bankId: z.guid(),
  takenAt: z.iso.datetime(),
});

/** One line per account; with the head of its changes that are not transactions, if there are any. */
const HEAD = z.object({
  accountId: positive,
  version: positive,
  hash,
  events: z.object({ revision: positive, hash }).optional(),
});

/**
 * The last lines: the head of the audit log, if there is one, and the SHA-256 of all lines before it, line feeds
 * included.
 */
const EVENTS = z.object({ lastEventId: positive, hash });
const LAST = z.object({ accounts: z.number().int().min(0), sha256: hash });

export type FirstLine = z.output<typeof FIRST>;
export type Head = z.output<typeof HEAD>;
export type EventsHead = z.output<typeof EVENTS>;
export type LastLine = z.output<typeof LAST>;

export interface HeadsReader {
  readonly onFirst: (first: FirstLine) => void;
  /** Receives the heads in chunks, in the order of the file; reading waits for it. */
  readonly onHeads: (heads: readonly Head[]) => Promise<void>;
  readonly onEvents: (events: EventsHead) => void;
}

/** Heads per chunk. */
const CHUNK = 10_000;
/** In characters. */
const MAX_LINE = 1_000;

/**
 * Reads a file of heads from its first to its last line.
 *
 * @returns its last line
 * @throws CommandError when it can't be read, or was changed since it was written
 */
export async function readHeads(
  path: string,
  { onFirst, onHeads, onEvents }: HeadsReader,
  signal?: AbortSignal,
): Promise<LastLine> {
  const digest = createHash('sha256');
  let chunk: Head[] = [];
  let accounts = 0;
  let last: LastLine | undefined;
  let lineNumber = 0;
  const damaged = () => new CommandError(`${path} is damaged in line ${lineNumber}, or is no file of heads`);
  for await (const line of linesOf(path, signal)) {
    lineNumber += 1;
    const value = line.length <= MAX_LINE ? parse(line) : undefined;
    if (last !== undefined || value === undefined) throw damaged();
    if (lineNumber === 1) {
      const first = FIRST.safeParse(value);
      if (!first.success) throw damaged();
      onFirst(first.data);
    } else if ('accountId' in value) {
      const head = HEAD.safeParse(value);
      if (!head.success) throw damaged();
      accounts += 1;
      chunk.push(head.data);
      if (chunk.length === CHUNK) {
        await onHeads(chunk);
        chunk = [];
      }
    } else if ('lastEventId' in value) {
      const events = EVENTS.safeParse(value);
      if (!events.success) throw damaged();
      onEvents(events.data);
    } else {
      const parsed = LAST.safeParse(value);
      if (parsed.data?.accounts !== accounts || parsed.data.sha256 !== digest.digest('hex')) throw damaged();
      last = parsed.data;
      continue;
    }
    digest.update(`${line}\n`);
  }
  if (last === undefined) throw new CommandError(`${path} is not whole: its last line is missing`);
  if (chunk.length > 0) await onHeads(chunk);
  return last;
}

/** The lines without their line feeds. Ends with the first line longer than {@link MAX_LINE}. */
async function* linesOf(path: string, signal?: AbortSignal): AsyncGenerator<string> {
  let rest = '';
  try {
    for await (const chunk of createReadStream(path, { encoding: 'utf8', signal })) {
      const lines = (rest + (chunk as string)).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
      if (rest.length <= MAX_LINE) continue;
      yield rest;
      return;
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw new CommandError(`${path} can't be read: ${messageOf(error)}`, { cause: error });
  }
  if (rest !== '') yield rest;
}

function parse(line: string): object | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
