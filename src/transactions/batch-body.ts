import { setImmediate as nextTurn } from 'node:timers/promises';
import { PayloadTooLargeException } from '@nestjs/common';
import { GatheredBytes } from '../http/validation/gathered-bytes.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import {
  BATCH_BODY_LIMIT_BYTES,
  BODY_LIMIT_BYTES,
  NotJsonError,
  parseJsonBody,
} from '../http/validation/json-body.js';
import { elementsOf, memberOf } from '../http/validation/json-elements.js';
import { MAX_ITEMS, readItem, type BatchItem } from './batch-items.js';

/** Items read in one turn of the event loop, and passed on together. */
const CHUNK_ITEMS = 250;
/** Characters of JSON parsed in one turn of the event loop: some 15 ms for the slowest kind. */
const TURN_LENGTH = 64 * 1024;

export const EMPTY_BATCH = 'must hold at least one transaction';

/** Members of `{"atomic": …, "transactions": […]}`; if there are more, one is unknown or repeated. */
const MAX_MEMBERS = 2;
/** Characters of an unknown name that the error message shows. */
const SHOWN_NAME = 100;

export interface JsonBatch {
  /** Undefined: the body does not say. */
  readonly atomic: boolean | undefined;
  readonly items: readonly BatchItem[];
}

/**
 * Reads a batch that is one JSON text: an array of items, or an object that contains the array.
 *
 * @throws InvalidRequestError when the text as a whole is malformed, PayloadTooLargeException when it has too many
 *   items
 */
export async function readJsonBatch(text: string): Promise<JsonBatch> {
  const bracket = /^[ \t\n\r]*([[{])/.exec(text)?.[1];
  if (bracket === undefined) throw InvalidRequestError.of('body', NOT_A_BATCH);
  const isObject = bracket === '{';
  const { atomic, array } = isObject ? readEnvelope(text) : { atomic: undefined, array: text };
  const elements = elementsOf(array, '[]', MAX_ITEMS);
  if (elements.length > MAX_ITEMS) throw new PayloadTooLargeException();
  if (elements.length === 0) throw InvalidRequestError.of(isObject ? 'transactions' : 'body', EMPTY_BATCH);
  const items: BatchItem[] = [];
  let length = 0;
  for (const element of elements) {
    if (items.length % CHUNK_ITEMS === 0 || length > TURN_LENGTH) {
      await nextTurn();
      length = 0;
    }
    length += element.length;
    const item = attempt(() => readItem(element));
    if (item instanceof NotJsonError) throw item;
    items.push(item);
  }
  return { atomic, items };
}

const NOT_A_BATCH = 'must be a JSON array of transactions, or a JSON object that holds one';

function readEnvelope(text: string): { atomic: boolean | undefined; array: string } {
  const found = new Map<string, string>();
  for (const { name: source, value } of elementsOf(text, '{}', MAX_MEMBERS).map(memberOf)) {
    const name = String(
      parseJsonBody(source.length > SHOWN_NAME ? `${source.slice(0, SHOWN_NAME)}"` : source),
    );
    if (!['atomic', 'transactions'].includes(name))
      throw InvalidRequestError.of(name, 'is not a known field');
    if (found.has(name)) throw InvalidRequestError.of('body', 'has the same key twice');
    found.set(name, value);
  }
  const atomic = found.get('atomic');
  if (atomic !== undefined && !['true', 'false'].includes(atomic)) {
    throw InvalidRequestError.of('atomic', 'must be true or false');
  }
  const array = found.get('transactions');
  if (!array?.startsWith('['))
    throw InvalidRequestError.of('transactions', 'must be an array of transactions');
  return { atomic: atomic === undefined ? undefined : atomic === 'true', array };
}

/** Splits items into the same chunks as {@link readLines} yields. */
export async function* inChunks(items: readonly BatchItem[]): AsyncGenerator<readonly BatchItem[]> {
  for (let at = 0; at < items.length; at += CHUNK_ITEMS) {
    yield items.slice(at, at + CHUNK_ITEMS);
    await nextTurn();
  }
}

/**
 * Reads a batch of one item per line while it arrives. If the batch is too large or does not arrive in time, that error
 * becomes its last item.
 *
 * @throws that error if it occurs before the first item
 */
export async function* readLines(body: AsyncIterable<Buffer>): AsyncGenerator<readonly BatchItem[]> {
  let count = 0;
  try {
    for await (const lines of linesOf(body)) {
      for (let at = 0; at < lines.length; at += CHUNK_ITEMS) {
        const items = lines.slice(at, at + Math.min(CHUNK_ITEMS, MAX_ITEMS - count)).map(readLine);
        count += items.length;
        if (items.length > 0) yield items;
        if (count === MAX_ITEMS && at + items.length < lines.length) throw new PayloadTooLargeException();
      }
    }
  } catch (error) {
    if (count === 0) throw error;
    yield [error as Error];
  }
}

function readLine(line: string | undefined): BatchItem {
  return line === undefined ? new PayloadTooLargeException() : attempt(() => readItem(line));
}

function attempt(read: () => BatchItem): BatchItem {
  try {
    return read();
  } catch (error) {
    return error as Error;
  }
}

const NEWLINE = 0x0a;

/** The non-blank lines completed by each piece; undefined for a line that is too long to be kept. */
async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<(string | undefined)[]> {
  let received = 0;
  const rest = new GatheredBytes();
  for await (const piece of body) {
    received += piece.length;
    if (received > BATCH_BODY_LIMIT_BYTES) throw new PayloadTooLargeException();
    const end = piece.lastIndexOf(NEWLINE) + 1;
    if (end > 0) {
      // Joins bytes rather than texts: a character may have been cut in two.
      rest.append(piece.subarray(0, end));
      const text = rest.bytes.toString();
      rest.clear();
      yield text.split('\n').filter(hasText).map(ifShort);
    }
    // Of an overlong line, keeps just enough to tell that it is too long.
    rest.append(piece.subarray(end, end + Math.max(0, BODY_LIMIT_BYTES + 1 - rest.length)));
  }
  yield [rest.bytes.toString()].filter(hasText).map(ifShort);
}

const hasText = (line: string) => /[^ \t\r]/.test(line);
const ifShort = (line: string) => (Buffer.byteLength(line) > BODY_LIMIT_BYTES ? undefined : line);
