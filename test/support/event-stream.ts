import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type { BankEvent } from '../../src/messaging/bank-event.js';
import { eventually } from './requests.js';

/** An event as it was received. */
export interface Received {
  readonly type: string;
  readonly id: string | undefined;
  readonly data: BankEvent;
}

/** A client of a stream of events that does what a browser does, except that it does not come back by itself. */
export class EventStreamClient {
  readonly events: Received[] = [];
  readonly comments: string[] = [];
  /** Of the last block that had one. */
  lastId: string | undefined;
  retry: string | undefined;
  ended = false;
  private rest = '';
  /** Blocks are complete when they arrive. */
  private constructor(private readonly answer: IncomingMessage) {
    answer.setEncoding('utf8');
    answer.on('data', (text: string) => this.read(text));
    answer.on('error', () => undefined);
    answer.on('close', () => (this.ended = true));
  }

  static open(url: string, headers: Record<string, string> = {}): Promise<EventStreamClient> {
    return new Promise((resolve, reject) => {
      const asked = request(url, { headers, agent: false }, (answer) =>
        resolve(new EventStreamClient(answer)),
      );
      asked.on('error', reject);
      asked.end();
    });
  }

  get status(): number {
    return this.answer.statusCode ?? 0;
  }

  get headers(): IncomingHttpHeaders {
    return this.answer.headers;
  }

  /** What came that is no event, like the body of an error. */
  get text(): string {
    return this.rest;
  }

  pause(): void {
    this.answer.socket.pause();
  }

  resume(): void {
    this.answer.socket.resume();
  }

  close(): void {
    this.answer.destroy();
  }

  until(isDone: (events: readonly Received[]) => boolean, timeoutMs?: number): Promise<void> {
    return eventually(() => {
      if (isDone(this.events)) return Promise.resolve();
      const last = this.events.at(-1);
      throw new Error(
        `${this.events.length} events, the last: ${JSON.stringify(last)}, ended: ${this.ended}`,
      );
    }, timeoutMs);
  }

  private read(text: string): void {
    const blocks = (this.rest + text).split('\n\n');
    this.rest = blocks.pop() ?? '';
    for (const block of blocks) this.readBlock(block);
  }

  private readBlock(block: string): void {
    const fields = new Map(
      block.split('\n').map((line) => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')] as const;
      }),
    );
    const [type, id, data] = [fields.get('event'), fields.get('id'), fields.get('data')];
    this.lastId = id ?? this.lastId;
    this.retry ??= fields.get('retry');
    if (fields.has('')) this.comments.push(fields.get('') ?? '');
    if (data !== undefined) this.events.push({ type: type ?? '', id, data: JSON.parse(data) as BankEvent });
  }
}
