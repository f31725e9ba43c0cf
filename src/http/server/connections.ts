import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import type { Config } from '../../config/config.js';
import { ConnectionPlaces } from './connection-places.js';
import { requestIdOf } from './request-id.js';
import type { Headers } from './security-headers.js';

export const JSON_TYPE = 'application/json; charset=utf-8';

/** Connections over the limit that are still told so with a 503; what comes beyond them is closed unheard. */
export const SURPLUS_CONNECTIONS = 256;

/** How often connections are looked at: a timeout is noticed at most this much late. Node's default is 30 s. */
const CHECK_MS = 500;

const MAX_HEADER_BYTES = 16 * 1024;

/** While the service stops: how often idle connections are closed, and how long a request may take to come in whole. */
const CLOSE_IDLE_MS = 20;
const STOP_UNFINISHED_MS = 5_000;

/** The answer that is being written, the request that is being read, and the connection below TLS, are Node's own notes. */
type HttpSocket = Socket & {
  readonly _parent?: Socket | null;
  readonly _httpMessage?: ServerResponse | null;
  readonly parser?: { readonly incoming?: IncomingMessage | null } | null;
};

interface Connection {
  readonly surplus: boolean;
  /** Requests whose answers have not left yet. */
  open: number;
  /** What the client has not taken at a look at the connection, and when that was first seen. */
  unread?: { readonly answer: ServerResponse; readonly taken: number; readonly sinceMs: number };
}

/** Node's own bounds, for the service's port and the one for management. */
export function serverOptions(limits: Config['http']): ServerOptions {
  return {
    // Node would answer a request without a Host by itself, with no body and no request id; a hook does.
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
 * A request that has no body gets no stream of one, which saves a GET a seventh of its cost: its body has ended, and
 * nothing says so. Node's types do not know the option yet.
 */
const WITHOUT_BODY = { optimizeEmptyRequests: true };

/**
 * The connections of the HTTP servers and their bounds: how many there are, how many requests one of them may have
 * open, and how long one may leave an answer unread. (How long it may take to send a request, or to agree on TLS, is
 * Node's to watch.)
 */
export class Connections {
  /** Those that can send requests. */
  private readonly connections = new Map<Socket, Connection>();
  /** The same, by the socket below TLS. */
  private readonly byRawSocket = new WeakMap<Socket, Connection>();
  /** Those that have not agreed on TLS yet. */
  private readonly handshakes = new Set<Socket>();
  private readonly servers = new Set<Server>();
  private readonly checks = setInterval(() => this.cutUnread(), CHECK_MS).unref();

  constructor(private readonly limits: Pick<Config['http'], 'maxPipelined' | 'answerTimeoutMs'>) {}

  /** @returns how many connections it has, those included that have not agreed on TLS yet: they take a place, too */
  watch(server: Server, maxConnections: number): () => number {
    this.servers.add(server);
    server.maxConnections = maxConnections + SURPLUS_CONNECTIONS;
    // Of several workers, too: Node would else pass a surplus connection on from one full worker to the next for ever.
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
   * Counts a request in; to be followed by {@link answered} when its answer has left. False: it is to be refused, for its
   * connection is over the limit or has too many requests open.
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

  /** Whether the connection is to end with its answer. */
  isSurplus(socket: Socket): boolean {
    return this.connections.get(socket)?.surplus ?? false;
  }

  /**
   * Lets the servers close: Node would wait for clients that keep a connection, send nothing or half a request, for as
   * long as they like. Requests that are at work are still answered.
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
   * An answer that is complete has to leave within the time; one that still grows, to go on within it.
   *
   * Not socket.setTimeout, which also ends a connection whose request is still at work, and lets a byte a minute pass.
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

/** The answer that has come to its end but has not left, or of which a part waits for the client to take it. */
function unreadOf(socket: HttpSocket): ServerResponse | undefined {
  const answer = socket._httpMessage;
  return answer && (answer.writableEnded || socket.writableLength > 0) ? answer : undefined;
}

/** A request has come in whole, and its answer has not left yet. (How long that may take, has its own bound.) */
function isAtWork(socket: HttpSocket): boolean {
  return socket._httpMessage?.req.complete ?? false;
}

/** What the operating system has of a connection; TLS itself can't be reset. */
function belowTls(socket: HttpSocket): Socket {
  return socket._parent ?? socket;
}

/** What is no HTTP at all, or did not come in time, is answered by hand: there is no request yet, or half of one. */
export function answerRaw(error: NodeJS.ErrnoException, socket: HttpSocket, headers: Headers): void {
  // Without TLS where it is expected, there is no way to answer.
  const noTls = error.code?.startsWith('ERR_SSL_') || error.code?.startsWith('ERR_TLS_');
  if (error.code === 'ECONNRESET' || noTls || !socket.writable) return void socket.destroy();
  const atWork = socket._httpMessage;
  // An earlier request of the connection, or one that was answered before its body had come: what is sent now would be
  // taken for its answer. It gets its own, then the connection ends.
  if (atWork && (atWork.req.complete || atWork.headersSent)) {
    return void atWork.once('finish', () => socket.destroySoon());
  }
  // The answer did not wait for the rest of the request, and has left.
  if (!atWork && socket.parser?.incoming) return void socket.destroy();
  const { status, text } = rawAnswer(error.code);
  endRaw(socket, status, text, atWork ? requestIdOf(atWork.req) : randomUUID(), headers);
}

/** Nothing more is read: a request whose rest comes after its 408 must not be carried out. */
export function endRaw(
  socket: Socket,
  status: string,
  text: string,
  requestId: string,
  headers: Headers,
): void {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.pause();
  socket.write(
    `HTTP/1.1 ${status}\r\nContent-Type: ${JSON_TYPE}\r\nContent-Length: ${text.length}\r\n` +
      `X-Request-Id: ${requestId}\r\nConnection: close\r\n${lines.join('')}\r\n${text}`,
  );
  socket.destroySoon();
}

/** An answer to what is for no route. */
export function endUnrouted(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  text: string,
  headers: Headers,
): void {
  const own = {
    'content-type': JSON_TYPE,
    'content-length': text.length,
    'x-request-id': requestIdOf(request),
  };
  response.writeHead(status, { ...headers, ...own }).end(text);
}

function rawAnswer(code: string | undefined): { readonly status: string; readonly text: string } {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return { status: '431 Request Header Fields Too Large', text: '{"error":"Headers too large"}' };
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return { status: '408 Request Timeout', text: '{"error":"Request not received in time"}' };
  }
  return {
    status: '400 Bad Request',
    text: '{"error":"Invalid request","details":[{"field":"request","message":"is not valid HTTP"}]}',
  };
}
