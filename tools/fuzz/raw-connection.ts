import { connect, type Socket } from 'node:net';
import type { Answer } from './contract.js';

/** Longer than the service may take: a request without an answer by then gets none. */
const ANSWER_TIMEOUT_MS = 20_000;

/** The service did not answer in valid HTTP: not at all, incompletely, or with other bytes. */
export class NoAnswerError extends Error {}

/**
 * A connection that sends raw bytes, one request at a time, and reconnects when the service or the request has closed
 * it.
 */
export class RawConnection {
  private socket: Socket | undefined;
  private received: Buffer = Buffer.alloc(0);
  /** Parses what was received. Called with each new piece, and at the end with the reason for the end. */
  private look: (end?: string) => void = () => undefined;

  constructor(private readonly url: string) {}

  /**
   * @param last the connection is closed after the answer
   * @throws NoAnswerError
   */
  async exchange(bytes: Buffer, { isHead = false, last = false } = {}): Promise<Answer> {
    if (this.received.length > 0) throw this.noAnswer('bytes that answer nothing came before the request');
    if (this.socket?.writable !== true) this.open();
    this.socket?.write(bytes);
    const { answer, rest } = await this.answer(isHead);
    this.received = rest;
    if (last || answer.headers['connection'] === 'close') this.close();
    return answer;
  }

  close(): void {
    this.look = () => undefined;
    this.received = Buffer.alloc(0);
    this.socket?.destroy();
    this.socket = undefined;
  }

  private open(): void {
    const { hostname, port } = new URL(this.url);
    const socket = connect(Number(port), hostname).setNoDelay(true);
    this.socket = socket;
    socket.on('data', (data) => {
      if (this.socket !== socket) return;
      this.received = Buffer.concat([this.received, data]);
      this.look();
    });
    let reason = 'the connection was closed';
    socket.on('error', ({ message }) => (reason = message));
    socket.on('close', () => this.socket === socket && this.look(reason));
  }

  private answer(isHead: boolean): Promise<{ answer: Answer; rest: Buffer }> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => fail(`no answer within ${ANSWER_TIMEOUT_MS} ms`), ANSWER_TIMEOUT_MS);
      const settle = () => {
        clearTimeout(timer);
        this.look = () => undefined;
      };
      const fail = (problem: string) => {
        settle();
        reject(this.noAnswer(problem));
      };
      this.look = (end) => {
        try {
          const parsed = parseAnswer(this.received, isHead, end !== undefined);
          if (!parsed) return end === undefined ? undefined : fail(end);
          settle();
          resolve(parsed);
        } catch (error) {
          fail((error as Error).message);
        }
      };
    });
  }

  /** Closes the connection, which is unusable after that. */
  private noAnswer(problem: string): NoAnswerError {
    const error = new NoAnswerError(`${problem}; received: "${this.received.toString('latin1')}"`);
    this.close();
    return error;
  }
}

/**
 * The first answer that was received, without interim ones; undefined: it is incomplete.
 *
 * @throws Error when the bytes are not an answer
 */
export function parseAnswer(
  received: Buffer,
  isHead: boolean,
  ended: boolean,
): { readonly answer: Answer; readonly rest: Buffer } | undefined {
  const end = received.indexOf('\r\n\r\n');
  if (end === -1) return undefined;
  const [statusLine = '', ...lines] = received.toString('latin1', 0, end).split('\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]);
  if (!status) throw new Error(`"${statusLine}" is no status line`);
  const after = received.subarray(end + 4);
  if (status < 200) return parseAnswer(after, isHead, ended);
  const headers = Object.fromEntries(lines.map(headerOf));
  const isBodiless = isHead || status === 204 || status === 304;
  const framed = isBodiless ? { body: Buffer.alloc(0), length: 0 } : bodyOf(after, headers, ended);
  if (!framed) return undefined;
  const text = new TextDecoder('utf-8', { fatal: true }).decode(framed.body);
  return { answer: { status, headers, text }, rest: after.subarray(framed.length) };
}

function headerOf(line: string): [string, string] {
  const colon = line.indexOf(':');
  if (colon < 1) throw new Error(`"${line}" is no header`);
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}

interface Framed {
  readonly body: Buffer;
  /** The length of the body as it was sent, chunk sizes included. */
  readonly length: number;
}

function bodyOf(
  bytes: Buffer,
  headers: Readonly<Record<string, string>>,
  ended: boolean,
): Framed | undefined {
  if (headers['transfer-encoding'] === 'chunked') return unchunk(bytes);
  const { 'content-length': announced } = headers;
  if (announced === undefined) return ended ? { body: bytes, length: bytes.length } : undefined;
  const length = Number(announced);
  return bytes.length < length ? undefined : { body: bytes.subarray(0, length), length };
}

function unchunk(bytes: Buffer): Framed | undefined {
  const pieces: Buffer[] = [];
  for (let at = 0; ;) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd === -1) return undefined;
    const size = parseInt(bytes.toString('latin1', at, lineEnd), 16);
    if (Number.isNaN(size)) throw new Error('a chunk without a size');
    const next = lineEnd + 2 + size + 2;
    if (bytes.length < next) return undefined;
    if (size === 0) return { body: Buffer.concat(pieces), length: next };
    pieces.push(bytes.subarray(lineEnd + 2, next - 2));
    at = next;
  }
}
