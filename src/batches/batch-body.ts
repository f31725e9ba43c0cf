import { setImmediate as nextTurn } from 'node:timers/promises';
import { PayloadTooLargeException } from '@nestjs/common';
import { GatheredBytes } from '../http/validation/gathered-bytes.js';
import { advice, adviceFor } from '../http/validation/advice.js';
import { BOM_BYTES, decodeUtf8, NotUtf8Error, withoutBom } from '../http/validation/decode-utf8.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import {
  BATCH_BODY_LIMIT_BYTES,
  BODY_LIMIT_BYTES,
  NotJsonError,
  parseJsonBody,
} from '../http/validation/json-body.js';
import { elementsOf, memberOf } from '../http/validation/json-elements.js';
import { RefusedBodyError } from '../http/validation/refused-body.js';
import { MAX_ITEMS, weightOf, type BatchItem, type ReadItem } from './batch-items.js';

/** Items read in one turn of the event loop, and passed on together. */
const CHUNK_ITEMS = 250;
/** Characters of JSON parsed in one turn of the event loop: some 15 ms for the slowest kind. */
const TURN_LENGTH = 64 * 1024;

export const EMPTY_BATCH = 'must hold at least one transaction';

const MEMBERS = ['atomic', 'transactions'];
const ADVICE = MEMBERS.map((name) => advice(name, `did you mean ${name}?`));
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
 * @throws InvalidRequestError when the text as a whole is malformed, RefusedBodyError when it has too many transactions
 */
export async function readJsonBatch(text: string, readItem: ReadItem): Promise<JsonBatch> {
  const bracket = /^[ \t\n\r]*([[{])/.exec(text)?.[1];
  if (bracket === undefined) throw InvalidRequestError.of('body', NOT_A_BATCH);
  const isObject = bracket === '{';
  const { atomic, array } = isObject ? readEnvelope(text) : { atomic: undefined, array: text };
  const elements = elementsOf(array, '[]', MAX_ITEMS);
  if (elements.length > MAX_ITEMS) throw new RefusedBodyError('TOO_MANY_TRANSACTIONS');
  if (elements.length === 0) throw InvalidRequestError.of(isObject ? 'transactions' : 'body', EMPTY_BATCH);
  const items: BatchItem[] = [];
  let [length, transactions] = [0, 0];
  for (const element of elements) {
    if (items.length % CHUNK_ITEMS === 0 || length > TURN_LENGTH) {
      await nextTurn();
      length = 0;
    }
    length += element.length;
    const item = attempt(() => readItem(element));
    if (item instanceof NotJsonError) throw item;
    items.push(item);
    transactions += weightOf(item);
    if (transactions > MAX_ITEMS) throw new RefusedBodyError('TOO_MANY_TRANSACTIONS');
  }
  return { atomic, items };
}

const NOT_A_BATCH = 'must be a JSON array of transactions, or a JSON object that holds one';

function readEnvelope(text: string): { atomic: boolean | undefined; array: string } {
  const found = new Map<string, string>();
  // If there are more, one is unknown or repeated.
  for (const { name: source, value } of elementsOf(text, '{}', MEMBERS.length).map(memberOf)) {
    const name = String(
      parseJsonBody(source.length > SHOWN_NAME ? `${source.slice(0, SHOWN_NAME)}"` : source),
    );
    if (!MEMBERS.includes(name)) {
      const hint = adviceFor(name, ADVICE) ?? 'the object holds transactions and, if you like, atomic';
      throw InvalidRequestError.of(name, `is not a known field; ${hint}`);
    }
    if (found.has(name)) throw InvalidRequestError.of('body', 'has the same key twice');
    found.set(name, value);
  }
  const atomic = found.get('atomic');
  if (atomic !== undefined && !['true', 'false', 'null'].includes(atomic)) {
    throw InvalidRequestError.of('atomic', 'must be true or false');
  }
  const array = found.get('transactions');
  if (!array?.startsWith('['))
    throw InvalidRequestError.of('transactions', 'must be an array of transactions');
  return { atomic: atomic === undefined || atomic === 'null' ? undefined : atomic === 'true', array };
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
export async function* readLines(
  body: AsyncIterable<Buffer>,
  readItem: ReadItem,
): AsyncGenerator<readonly BatchItem[]> {
  const read = (line: Line): BatchItem => (line instanceof Error ? line : attempt(() => readItem(line)));
  let transactions = 0;
  try {
    for await (const lines of linesOf(body)) {
      for (let at = 0; at < lines.length; at += CHUNK_ITEMS) {
        const items = lines.slice(at, at + CHUNK_ITEMS).map(read);
        const admitted = items.filter((item) => (transactions += weightOf(item)) <= MAX_ITEMS);
        if (admitted.length > 0) yield admitted;
        if (admitted.length < items.length) throw new RefusedBodyError('TOO_MANY_TRANSACTIONS');
      }
    }
  } catch (error) {
    if (transactions === 0) throw error;
    yield [error as Error];
  }
}

function attempt(read: () => BatchItem): BatchItem {
  try {
    return read();
  } catch (error) {
    return error as Error;
  }
}

/** A line, or why it can't be read. */
type Line = string | Error;

const NEWLINE = 0x0a;
/** Of a longer line, just enough is kept to tell that it is too long, even if it begins with a byte order mark. */
const KEPT_BYTES = BOM_BYTES + BODY_LIMIT_BYTES + 1;

/** The non-blank lines completed by each piece. */
async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<Line[]> {
  let received = 0;
  let isFirst = true;
  const rest = new GatheredBytes();
  const take = () => {
    const lines = linesIn(isFirst ? withoutBom(rest.bytes) : rest.bytes);
    isFirst = false;
    rest.clear();
    return lines;
  };
  for await (const piece of body) {
    received += piece.length;
    if (received > BATCH_BODY_LIMIT_BYTES) throw new PayloadTooLargeException();
    const end = piece.lastIndexOf(NEWLINE) + 1;
    if (end > 0) {
      // Joins bytes rather than texts: a character may have been cut in two.
      rest.append(piece.subarray(0, end));
      yield take();
    }
    rest.append(piece.subarray(end, end + Math.max(0, KEPT_BYTES - rest.length)));
  }
  yield take();
}

function linesIn(bytes: Buffer): Line[] {
  const text = decodeUtf8(bytes);
  const lines = text === undefined ? bytes.toString('latin1').split('\n').map(lineOfBytes) : text.split('\n');
  return lines.filter(hasText).map(ifShort);
}

/** So that a line that is not UTF-8 spoils no other. @param bytes one as each character */
function lineOfBytes(bytes: string): Line {
  // Of a line that is too long, the end is missing, perhaps in the middle of a character.
  if (bytes.length > BODY_LIMIT_BYTES) return new PayloadTooLargeException();
  return decodeUtf8(Buffer.from(bytes, 'latin1')) ?? new NotUtf8Error();
}

const hasText = (line: Line) => line instanceof Error || /[^ \t\r]/.test(line);

const ifShort = (line: Line) =>
  typeof line === 'string' && Buffer.byteLength(line) > BODY_LIMIT_BYTES
    ? new PayloadTooLargeException()
    : line;
