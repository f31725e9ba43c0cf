import { connect, type Socket } from 'node:net';
import type { Answer } from '../test/support/openapi.js';

/** Longer than the service may take; a request that is not answered by then is not answered. */
const ANSWER_TIMEOUT_MS = 20_000;

/** The service did not answer as HTTP wants it: not at all, not whole, or with bytes that are no answer. */
export class NoAnswerError extends Error {}

/**
 * A connection that sends bytes as they are, one request at a time, and is opened again where the service or the
 * request has ended it.
 */
export class RawConnection {
  private socket: Socket | undefined;

  constructor(private readonly url: string) {}

  /**
   * @param last the connection is closed after the answer
   * @throws NoAnswerError
   */
  async exchange(bytes: Buffer, { isHead = false, last = false } = {}): Promise<Answer> {
    const { hostname, port } = new URL(this.url);
    const open = this.socket?.writable === true ? this.socket : undefined;
    const socket = open ?? connect(Number(port), hostname).setNoDelay(true);
    this.socket = socket;
    try {
      const answer = await readAnswer(socket, isHead, () => socket.write(bytes));
      if (last || answer.headers['connection'] === 'close') this.close();
      return answer;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    this.socket?.destroy();
    this.socket = undefined;
  }
}

function readAnswer(socket: Socket, isHead: boolean, send: () => void): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const settle = (outcome: () => void) => {
      clearTimeout(timer);
      socket.removeAllListeners('data').removeAllListeners('error').removeAllListeners('close');
      socket.on('error', () => undefined);
      outcome();
    };
    const fail = (problem: string) =>
      settle(() => reject(new NoAnswerError(`${problem}; received: ${received.toString('latin1')}`)));
    const timer = setTimeout(() => fail(`no answer within ${ANSWER_TIMEOUT_MS} ms`), ANSWER_TIMEOUT_MS);
    const read = (ended: boolean) => {
      try {
        const answer = parseAnswer(received, isHead, ended);
        if (answer) settle(() => resolve(answer));
        else if (ended) fail('the connection was closed before the answer was whole');
      } catch (error) {
        fail((error as Error).message);
      }
    };
    socket.on('data', (data) => {
      received = Buffer.concat([received, data]);
      read(false);
    });
    socket.on('error', ({ message }) => fail(message));
    socket.on('close', () => read(true));
    send();
  });
}

/**
 * The first answer in what was received, interim ones left out; undefined as long as it is not whole.
 *
 * @throws Error when it is no answer
 */
export function parseAnswer(received: Buffer, isHead: boolean, ended: boolean): Answer | undefined {
  const end = received.indexOf('\r\n\r\n');
  if (end === -1) return undefined;
  const [statusLine = '', ...lines] = received.toString('latin1', 0, end).split('\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]);
  if (!status) throw new Error(`"${statusLine}" is no status line`);
  const rest = received.subarray(end + 4);
  if (status < 200) return parseAnswer(rest, isHead, ended);
  const headers = Object.fromEntries(lines.map(headerOf));
  const body = bodyOf(rest, headers, ended, isHead || status === 204 || status === 304);
  return body && { status, headers, text: new TextDecoder('utf-8', { fatal: true }).decode(body) };
}

function headerOf(line: string): [string, string] {
  const colon = line.indexOf(':');
  if (colon < 1) throw new Error(`"${line}" is no header`);
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}

function bodyOf(
  bytes: Buffer,
  headers: Readonly<Record<string, string>>,
  ended: boolean,
  isBodiless: boolean,
): Buffer | undefined {
  if (isBodiless) return Buffer.alloc(0);
  if (headers['transfer-encoding'] === 'chunked') return unchunk(bytes);
  const length = headers['content-length'];
  if (length === undefined) return ended ? bytes : undefined;
  return bytes.length < Number(length) ? undefined : bytes.subarray(0, Number(length));
}

function unchunk(bytes: Buffer): Buffer | undefined {
  const pieces: Buffer[] = [];
  for (let at = 0; ;) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd === -1) return undefined;
    const size = parseInt(bytes.toString('latin1', at, lineEnd), 16);
    if (Number.isNaN(size)) throw new Error('a chunk without a size');
    const next = lineEnd + 2 + size + 2;
    if (bytes.length < next) return undefined;
    if (size === 0) return Buffer.concat(pieces);
    pieces.push(bytes.subarray(lineEnd + 2, next - 2));
    at = next;
  }
}
