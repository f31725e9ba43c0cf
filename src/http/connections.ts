import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Config } from '../config.js';
import { requestIdOf } from './request-id.js';

export const JSON_TYPE = 'application/json; charset=utf-8';

/** Connections over the limit that are still told so with a 503; what comes beyond them is closed unheard. */
export const SURPLUS_CONNECTIONS = 256;

/** How often connections are looked at: a timeout is noticed at most this much late. Node's default is 30 s. */
export const CHECK_MS = 500;

/** While the service stops: how often idle connections are closed, and how long a request may take to come in whole. */
const CLOSE_IDLE_MS = 20;
const STOP_UNFINISHED_MS = 5_000;

/** The answer that is being written, and the request that is being read, are Node's own notes. */
type HttpSocket = Socket & {
  readonly _httpMessage?: ServerResponse | null;
  readonly parser?: { readonly incoming?: IncomingMessage | null } | null;
};

interface Connection {
  readonly surplus: boolean;
  /** Requests whose answers have not left yet. */
  open: number;
  /** The answer that was complete at a look at the connection, but had not left yet, and when that was first seen. */
  unread?: { readonly answer: ServerResponse; readonly sinceMs: number };
}

/**
 * The connections of the HTTP server and their bounds: how many there are, how many requests one of them may have
 * open, and how long one may leave an answer unread. (How long it may take to send a request is Node's to watch.)
 */
export class Connections {
  private readonly connections = new Map<Socket, Connection>();

  constructor(
    private readonly server: Server,
    private readonly limits: Config['http'],
  ) {
    server.maxConnections = limits.maxConnections + SURPLUS_CONNECTIONS;
    // Of several workers, too: Node would else pass a surplus connection on from one full worker to the next for ever.
    (server as Server & { dropMaxConnection: boolean }).dropMaxConnection = true;
    server.on('connection', (socket) => this.add(socket));
    const checks = setInterval(() => this.cutUnread(), CHECK_MS).unref();
    server.once('close', () => clearInterval(checks));
  }

  get size(): number {
    return this.connections.size;
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
   * Lets the server close: Node would wait for clients that keep a connection, send nothing or half a request, for as
   * long as they like. Requests that are at work are still answered.
   */
  windUp(): void {
    const startedMs = performance.now();
    const closer = setInterval(() => {
      this.server.closeIdleConnections();
      if (performance.now() - startedMs < STOP_UNFINISHED_MS) return;
      for (const socket of this.connections.keys()) if (!isAtWork(socket)) socket.destroy();
    }, CLOSE_IDLE_MS);
    this.server.once('close', () => clearInterval(closer));
  }

  private add(socket: Socket): void {
    this.connections.set(socket, { surplus: this.connections.size >= this.limits.maxConnections, open: 0 });
    socket.once('close', () => this.connections.delete(socket));
  }

  /** Not socket.setTimeout, which also ends a connection whose request is still at work, and lets a byte a minute pass. */
  private cutUnread(): void {
    const nowMs = performance.now();
    for (const [socket, connection] of this.connections) {
      const answer = (socket as HttpSocket)._httpMessage;
      if (!answer?.writableEnded) connection.unread = undefined;
      else if (connection.unread?.answer !== answer) connection.unread = { answer, sinceMs: nowMs };
      else if (nowMs - connection.unread.sinceMs >= this.limits.answerTimeoutMs) socket.resetAndDestroy();
    }
  }
}

/** A request has come in whole, and its answer has not left yet. (How long that may take, has its own bound.) */
function isAtWork(socket: HttpSocket): boolean {
  return socket._httpMessage?.req.complete ?? false;
}

/** What is no HTTP at all, or did not come in time, is answered by hand: there is no request yet, or half of one. */
export function answerRaw(error: NodeJS.ErrnoException, socket: HttpSocket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const atWork = socket._httpMessage;
  // An earlier request of the connection, or one that was answered before its body had come: what is sent now would be
  // taken for its answer. It gets its own, then the connection ends.
  if (atWork && (atWork.req.complete || atWork.headersSent)) {
    return void atWork.once('finish', () => socket.destroySoon());
  }
  // The answer did not wait for the rest of the request, and has left.
  if (!atWork && socket.parser?.incoming) return void socket.destroy();
  const { status, text } = rawAnswer(error.code);
  endRaw(socket, status, text, atWork ? requestIdOf(atWork.req) : randomUUID());
}

/** Nothing more is read: a request whose rest comes after its 408 must not be carried out. */
export function endRaw(socket: Socket, status: string, text: string, requestId: string): void {
  socket.pause();
  socket.write(
    `HTTP/1.1 ${status}\r\nContent-Type: ${JSON_TYPE}\r\nContent-Length: ${text.length}\r\n` +
      `X-Request-Id: ${requestId}\r\nConnection: close\r\n\r\n${text}`,
  );
  socket.destroySoon();
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
