import { once } from 'node:events';
import { request } from 'node:http';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { messageOf } from '../../src/domain/error-message.js';
import { UserError } from '../../src/domain/user-error.js';

/** A running service, and the credential for it. */
export interface Target {
  /** Without a slash at the end. */
  readonly url: string;
  /** An API key or an access token; undefined: none is sent. */
  readonly credential: string | undefined;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** No answer came, so it is not known whether the request was carried out. */
export class NoAnswerError extends UserError {}

const CONNECT_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 30_000;

/**
 * Opens a connection and, for https, agrees on its encryption: what is sent on it then leaves at once.
 *
 * @throws NoAnswerError
 */
export async function open({ url }: Target): Promise<Socket> {
  const { protocol, hostname, port } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const encrypted = protocol === 'https:';
  const socket = encrypted
    ? connectTls({ host, port: Number(port || 443), servername: isIP(host) === 0 ? host : '' })
    : connectTcp({ host, port: Number(port || 80) });
  // Whoever sends on the connection is told of a failure; before that, nobody is.
  socket.on('error', () => undefined);
  try {
    const signal = AbortSignal.timeout(CONNECT_TIMEOUT_MS);
    await once(socket, encrypted ? 'secureConnect' : 'connect', { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    const { code = '' } = error as NodeJS.ErrnoException;
    // What OpenSSL says of an answer that does not look like TLS.
    const problem = /^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG)$/.test(code)
      ? 'it does not speak https: is http meant?'
      : messageOf(error);
    throw new NoAnswerError(`no service answers at ${url}: ${problem}`, { cause: error });
  }
}

/** What is sent to a path of the service. */
export interface Call {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/**
 * Sends one request on a connection of its own and closes it after the answer.
 *
 * @throws NoAnswerError
 */
export async function exchange({ url, credential }: Target, call: Call, socket: Socket): Promise<Answer> {
  const { host, pathname } = new URL(url);
  const outgoing = request({
    createConnection: () => socket,
    method: call.method,
    path: `${pathname.replace(/\/$/, '')}${call.path}`,
    headers: {
      host,
      ...(credential !== undefined && { authorization: `Bearer ${credential}` }),
      ...(call.body !== undefined && { 'content-type': 'application/json' }),
      ...call.headers,
    },
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  });
  const answered = Promise.withResolvers<Answer>();
  outgoing.on('error', answered.reject);
  outgoing.on('response', (incoming) => {
    const pieces: Buffer[] = [];
    incoming.on('data', (piece: Buffer) => pieces.push(piece));
    incoming.on('error', answered.reject);
    incoming.on('end', () =>
      answered.resolve({ status: incoming.statusCode ?? 0, text: Buffer.concat(pieces).toString() }),
    );
  });
  outgoing.end(call.body);
  try {
    return await answered.promise;
  } catch (error) {
    throw new NoAnswerError(`no answer: ${messageOf(error)}`, { cause: error });
  } finally {
    socket.destroy();
  }
}
