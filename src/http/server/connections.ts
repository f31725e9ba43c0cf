import { randomUUID } from 'node:crypto';
import {
  STATUS_CODES,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import type { Config } from '../../config/config.js';
import { errorAnswer, invalidRequest, writeError, type ErrorAnswer } from '../errors/error-answer.js';
import { ConnectionPlaces } from './connection-places.js';
import { requestIdOf } from './request-id.js';
import type { Headers } from './security-headers.js';

/** Connections over the limit that still get a 503; those beyond them are closed without an answer. */
export const SURPLUS_CONNECTIONS = 256;

/** How often connections are checked: a timeout is noticed at most this late. Node's default is 30 s. */
const CHECK_MS = 500;

const MAX_HEADER_BYTES = 16 * 1024;

/**
 * While the service stops: how often idle connections are closed, and how long a request may take to arrive completely.
 */
const CLOSE_IDLE_MS = 20;
const STOP_UNFINISHED_MS = 5_000;

/** Node's own notes: the answer being written, the request being read, and the connection below TLS. */
type HttpSocket = Socket & {
  readonly _parent?: Socket | null;
  readonly _httpMessage?: ServerResponse | null;
  readonly parser?: { readonly incoming?: IncomingMessage | null } | null;
};

interface Connection {
  readonly surplus: boolean;
  /** Requests whose answers have not been sent yet. */
  open: number;
  /** The unread answer at the last check, how much of it had been taken, and when that was first seen. */
  unread?: { readonly answer: ServerResponse; readonly taken: number; readonly sinceMs: number };
}

/** Node's own limits, for the service's port and the management port. */
export function serverOptions(limits: Config['http']): ServerOptions {
  return {
    // Node would answer a request without a Host with neither body nor request id; a hook does better.
    requireHostHeader: false,
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: CHECK_MS,
    ...WITHOUT_BODY,
  };
}

/**
 * A request without a body gets no body stream, which saves a GET a seventh of its cost: the stream has already ended
 * and emits no `end` event. Node's types do not know the option yet.
 */
const WITHOUT_BODY = { optimizeEmptyRequests: true };

/**
 * The connections of the HTTP servers and their limits: how many there are, how many open requests each may have, and
 * how long an answer may stay unread. (Node limits how long a request or a TLS handshake may take.)
 */
export class Connections {
  /** Connections that can send requests. */
  private readonly connections = new Map<Socket, Connection>();
  /** The same, by the socket below TLS. */
  private readonly byRawSocket = new WeakMap<Socket, Connection>();
  /** Connections whose TLS handshake is not complete. */
  private readonly handshakes = new Set<Socket>();
  private readonly servers = new Set<Server>();
  private readonly checks = setInterval(() => this.cutUnread(), CHECK_MS).unref();

  constructor(private readonly limits: Pick<Config['http'], 'maxPipelined' | 'answerTimeoutMs'>) {}

  /** @returns how many connections the server has, including unfinished TLS handshakes, which take a place, too */
  watch(server: Server, maxConnections: number): () => number {
    this.servers.add(server);
    server.maxConnections = maxConnections + SURPLUS_CONNECTIONS;
    // Also with several workers: otherwise Node would pass a surplus connection between full workers for ever.
    (server as Server & { dropMaxConnection: boolean }).dropMaxConnection = true;
    const places = new ConnectionPlaces(maxConnections, SURPLUS_CONNECTIONS / 2, (socket) => {
      const connection = this.byRawSocket.get(socket);
      return connection === undefined || connection.open === 0;
    });
    const surplus = new WeakSet<Socket>();
    server.on('connection', (socket) => {
      if (!places.take(socket)) surplus.add(socket);
    });
    const add = (socket: Socket) => this.add(socket, surplus.has(belowTls(socket)));
    if (server instanceof TlsServer) this.watchHandshakes(server).on('secureConnection', add);
    else server.on('connection', add);
    server.once('close', () => {
      this.servers.delete(server);
      if (this.servers.size === 0) clearInterval(this.checks);
    });
    return () => places.size;
  }

  /**
   * Counts a request; call {@link answered} when its answer has been sent. False: reject it, because its connection is
   * over the limit or has too many open requests.
   */
  admit(socket: Socket): boolean {
    const connection = this.connections.get(socket);
    if (!connection) return true;
    connection.open += 1;
    return !connection.surplus && connection.open <= this.limits.maxPipelined;
  }

  answered(socket: Socket): void {
    const connection = this.connections.get(socket);
    if (connection) connection.open -= 1;
  }

  /** Whether the connection must be closed after its answer. */
  isSurplus(socket: Socket): boolean {
    return this.connections.get(socket)?.surplus ?? false;
  }

  /**
   * Lets the servers close: Node would wait indefinitely for clients that keep a connection and send nothing or half a
   * request. Requests at work are still answered.
   */
  windUp(): void {
    const startedMs = performance.now();
    for (const server of this.servers) if (!server.listening) this.servers.delete(server);
    const closer = setInterval(() => {
      if (this.servers.size === 0) return clearInterval(closer);
      for (const server of this.servers) server.closeIdleConnections();
      for (const socket of this.handshakes) socket.destroy();
      if (performance.now() - startedMs < STOP_UNFINISHED_MS) return;
      for (const socket of this.connections.keys()) if (!isAtWork(socket)) socket.destroy();
    }, CLOSE_IDLE_MS);
  }

  private add(socket: Socket, surplus: boolean): void {
    const connection: Connection = { surplus, open: 0 };
    this.connections.set(socket, connection);
    this.byRawSocket.set(belowTls(socket), connection);
    socket.once('close', () => this.connections.delete(socket));
  }

  private watchHandshakes(server: TlsServer): TlsServer {
    server.on('connection', (socket: Socket) => {
      this.handshakes.add(socket);
      socket.once('close', () => this.handshakes.delete(socket));
    });
    return server.on('secureConnection', (socket) => this.handshakes.delete(belowTls(socket)));
  }

  /**
   * Cuts connections whose client does not read: a complete answer must be taken within the time, an incomplete one
   * must make progress within it.
   *
   * Not socket.setTimeout, which also ends a connection whose request is still at work, and tolerates a byte a minute.
   */
  private cutUnread(): void {
    const nowMs = performance.now();
    for (const [socket, connection] of this.connections) {
      const answer = unreadOf(socket);
      const taken = answer?.writableEnded ? 0 : socket.bytesWritten - socket.writableLength;
      const { unread } = connection;
      if (!answer) connection.unread = undefined;
      else if (unread?.answer !== answer || unread.taken !== taken) {
        connection.unread = { answer, taken, sinceMs: nowMs };
      } else if (nowMs - unread.sinceMs >= this.limits.answerTimeoutMs) belowTls(socket).resetAndDestroy();
    }
  }
}

/** An answer that is complete but not sent, or a part of which waits for the client to take it. */
function unreadOf(socket: HttpSocket): ServerResponse | undefined {
  const answer = socket._httpMessage;
  return answer && (answer.writableEnded || socket.writableLength > 0) ? answer : undefined;
}

/**
 * A request has arrived completely, and its answer has not been sent yet. (Another limit covers how long that may
 * take.)
 */
function isAtWork(socket: HttpSocket): boolean {
  return socket._httpMessage?.req.complete ?? false;
}

/** The operating system's connection; TLS itself can't be reset. */
function belowTls(socket: HttpSocket): Socket {
  return socket._parent ?? socket;
}

/** Answers what Node would answer by itself, or leave unanswered. */
export function answerBelowRoutes(server: Server, headers: Headers): void {
  // A client that closes its side after a request still waits for the answer.
  (server as Server & { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true;
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    endUnrouted(request, response, errorAnswer('EXPECTATION_FAILED'), headers);
  });
  // Node installs nothing for CONNECT, and would otherwise close the connection without an answer.
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => socket.destroy());
    endRaw(socket, errorAnswer('NOT_FOUND'), request, headers);
  });
}

/** Answers what is not HTTP, or did not arrive in time, by hand: there is no complete request for a route. */
export function answerRaw(error: NodeJS.ErrnoException, socket: HttpSocket, headers: Headers): void {
  // Plain text on a TLS port can't be answered.
  const noTls = error.code?.startsWith('ERR_SSL_') || error.code?.startsWith('ERR_TLS_');
  if (error.code === 'ECONNRESET' || noTls || !socket.writable) return void socket.destroy();
  const atWork = socket._httpMessage;
  // An earlier request is not answered yet, or this one was answered before its body arrived. Another answer would be
  // taken for that request's, so let its own be sent, then end the connection.
  if (atWork && (atWork.req.complete || atWork.headersSent)) {
    return void atWork.once('finish', () => socket.destroySoon());
  }
  // The answer has already been sent, without waiting for the rest of the request.
  if (!atWork && socket.parser?.incoming) return void socket.destroy();
  endRaw(socket, rawAnswer(error.code), atWork?.req, headers);
}

/**
 * Stops reading: a request whose rest arrives after its 408 must not be carried out.
 *
 * @param request undefined: its head did not arrive, so nothing is known of the form that the client would like
 */
export function endRaw(
  socket: Socket,
  answer: ErrorAnswer,
  request: IncomingMessage | undefined,
  headers: Headers,
): void {
  const { fields, text } = unrouted(answer, request, headers);
  const lines = Object.entries({ ...fields, Connection: 'close' }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  socket.pause();
  socket.write(`HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status]}\r\n${lines.join('')}\r\n${text}`);
  socket.destroySoon();
}

/** Answers a request that reaches no route. */
export function endUnrouted(
  request: IncomingMessage,
  response: ServerResponse,
  answer: ErrorAnswer,
  headers: Headers,
): void {
  const { fields, text } = unrouted(answer, request, headers);
  response.writeHead(answer.status, fields).end(text);
}

/** @param headers those of every answer */
function unrouted(answer: ErrorAnswer, request: IncomingMessage | undefined, headers: Headers) {
  const { type, text } = writeError(answer, request?.headers);
  const fields = {
    ...headers,
    ...answer.headers,
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(text),
    'X-Request-Id': request ? requestIdOf(request) : randomUUID(),
  };
  return { fields, text };
}

function rawAnswer(code: string | undefined): ErrorAnswer {
  if (code === 'HPE_HEADER_OVERFLOW') return errorAnswer('HEADERS_TOO_LARGE');
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return errorAnswer('NOT_RECEIVED');
  return invalidRequest([{ field: 'request', message: 'is not valid HTTP' }]);
}
