import { connect, type Socket } from 'node:net';

/** Undefined: the connection ended without an answer. */
export type OnAnswer = (answer: Answer | undefined) => void;

export interface Answer {
  readonly status: number;
  readonly hasRetryAfter: boolean;
  /** Whether the answer leaves open if the transaction was posted. */
  readonly outcomeUnknown: boolean;
  /** The number of the new transaction; 0 if there is none. */
  readonly transactionId: number;
}

const RECONNECT_MS = 50;

/** Sent first: a connection that has never sent anything is closed earlier than a kept-alive one. */
const GREETING = 'GET /health/live HTTP/1.1\r\nHost: bank\r\n\r\n';

/**
 * One connection that carries one request at a time. A real HTTP client would cost as much as the service itself, on
 * the same processors; this one takes requests as text and reads only what is counted.
 */
export class LoadConnection {
  private socket: Socket | undefined;
  private waiting: OnAnswer | undefined;
  private text = '';
  private closing = false;

  /** @param onFree called whenever it can take a request */
  constructor(
    private readonly port: number,
    private readonly onFree: (connection: LoadConnection) => void,
  ) {
    this.open();
  }

  get isOpen(): boolean {
    return this.socket?.readyState === 'open';
  }

  send(request: string, onAnswer: OnAnswer): void {
    this.waiting = onAnswer;
    this.socket?.write(request, 'latin1');
  }

  close(): void {
    this.closing = true;
    this.socket?.destroy();
  }

  private open(): void {
    const socket = connect({ host: '127.0.0.1', port: this.port, noDelay: true });
    this.socket = socket;
    this.text = '';
    socket.once('connect', () => this.send(GREETING, () => undefined));
    socket.on('data', (data) => this.read(data.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => this.lost());
  }

  private lost(): void {
    this.finish(undefined);
    if (!this.closing) setTimeout(() => this.closing || this.open(), RECONNECT_MS);
  }

  private read(data: string): void {
    this.text += data;
    const end = this.text.indexOf('\r\n\r\n');
    if (end === -1) return;
    const head = this.text.slice(0, end).toLowerCase();
    const length = numberAfter(head, '\r\ncontent-length: ');
    if (this.text.length < end + 4 + length) return;
    const answer = {
      status: Number(head.slice(9, 12)),
      hasRetryAfter: head.includes('\r\nretry-after: '),
      outcomeUnknown: this.text.endsWith('{"error":"Outcome unknown"}'),
      transactionId: numberAfter(this.text, '"id":"txn'),
    };
    this.text = '';
    this.finish(answer);
    // The server closes the connection after this answer: it can't take another request.
    if (head.includes('\r\nconnection: close')) this.socket?.destroy();
    else this.onFree(this);
  }

  private finish(answer: Answer | undefined): void {
    const { waiting } = this;
    this.waiting = undefined;
    waiting?.(answer);
  }
}

/** 0: the prefix was not found. */
function numberAfter(text: string, prefix: string): number {
  const at = text.indexOf(prefix);
  return at === -1 ? 0 : Number.parseInt(text.slice(at + prefix.length, at + prefix.length + 16), 10);
}
