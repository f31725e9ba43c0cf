import type { FastifyReply } from 'fastify';
import { AnswerStream } from './answer-stream.js';

export const EVENT_STREAM_MEDIA_TYPE = 'text/event-stream';

/** Events that the client has not taken yet, beyond what the operating system keeps for it. */
const UNREAD_BYTES = 64 * 1024;
/** Small events are sent together, up to about this much. */
const PART_CHARACTERS = 16 * 1024;

export interface StreamedEvent {
  readonly type: string;
  /** Without line breaks, as JSON.stringify writes it. */
  readonly data: string;
  /** Where to go on after this event; undefined: after the last event that has one. */
  readonly id?: string | undefined;
}

/** An answer of server-sent events (WHATWG HTML, 9.2), which goes on until it is ended. */
export class EventStream extends AnswerStream {
  private sentMs = performance.now();
  private onEnd: (() => void)[] = [];

  /** @param answerTimeoutMs as for {@link AnswerStream} */
  constructor(answerTimeoutMs: number) {
    super(UNREAD_BYTES, answerTimeoutMs);
    this.answer.once('close', () => this.gone());
  }

  /** It has been ended, too. */
  override get isGone(): boolean {
    return super.isGone || this.answer.writableEnded;
  }

  /** Calls back once it has ended, or the client is gone: at once if that is so already. */
  onGone(callBack: () => void): void {
    if (this.isGone) callBack();
    else this.onEnd.push(callBack);
  }

  override end(): void {
    super.end();
    this.gone();
  }

  /**
   * The head of the answer, and where to go on if it breaks off before the first event: browsers take an id from a block
   * without data, too.
   *
   * A client that closes its side of the connection is gone: the service would otherwise go on answering, and learn it
   * from a later write.
   *
   * @param retryMs how long the client should wait before it comes back
   */
  begin(reply: FastifyReply, retryMs: number, id: string): void {
    const { socket } = reply.request.raw;
    const end = () => this.end();
    socket.once('end', end);
    this.onGone(() => socket.off('end', end));
    void reply
      .type(EVENT_STREAM_MEDIA_TYPE)
      // nginx would collect the answer before it passes it on.
      .header('x-accel-buffering', 'no')
      .send(this.answer);
    void this.send(`retry: ${retryMs}\nid: ${id}\n\n`);
  }

  override send(part: string | Buffer): Promise<void> {
    this.sentMs = performance.now();
    return super.send(part);
  }

  /** Sends events, which are made no sooner than the client takes them. */
  async sendAll(events: Iterable<StreamedEvent>): Promise<void> {
    let part = '';
    for (const { type, data, id } of events) {
      part += `event: ${type}\n${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`;
      if (part.length < PART_CHARACTERS) continue;
      const full = part;
      part = '';
      await this.send(full);
      if (this.isGone) return;
    }
    if (part !== '') await this.send(part);
  }

  private gone(): void {
    for (const callBack of this.onEnd.splice(0)) callBack();
  }

  /** A comment, after some time without events: it keeps proxies from cutting the connection, and finds dead clients. */
  heartbeat(afterMs: number): void {
    if (performance.now() - this.sentMs >= afterMs) void this.send(':\n\n');
  }
}

/** Whether a request is answered with events: how long that takes is up to the client. */
export const isEventStream = (reply: FastifyReply): boolean =>
  reply.getHeader('content-type') === EVENT_STREAM_MEDIA_TYPE;
