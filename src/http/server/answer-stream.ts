import { PassThrough } from 'node:stream';

/** An answer that is written while it is made, no faster than the client takes it. */
export class AnswerStream {
  readonly answer: PassThrough;
  private written = 0;

  /**
   * @param unreadBytes what may be written before the client takes it
   * @param answerTimeoutMs how long the client may take nothing before its connection is cut
   */
  constructor(unreadBytes: number, answerTimeoutMs: number) {
    this.answer = new PassThrough({ writableHighWaterMark: unreadBytes });
    // What there was to take at the last look, and how much had been taken by then.
    let before = { unread: 0, taken: 0 };
    const watch = setInterval(() => {
      const now = { unread: this.unread, taken: this.written - this.unread };
      if (before.unread > 0 && now.taken === before.taken) this.cut();
      before = now;
    }, answerTimeoutMs).unref();
    this.answer.once('close', () => clearInterval(watch));
  }

  /** The client is gone. */
  get isGone(): boolean {
    return this.answer.destroyed;
  }

  /** Resolves when there is room for more, or the client is gone. */
  async send(part: string | Buffer): Promise<void> {
    if (this.isGone) return;
    const bytes = Buffer.from(part);
    this.written += bytes.length;
    if (!this.answer.write(bytes)) await this.room();
  }

  end(): void {
    if (!this.isGone) this.answer.end();
  }

  /** Ends the connection with the answer incomplete. */
  cut(): void {
    this.answer.destroy();
  }

  private get unread(): number {
    return this.answer.writableLength + this.answer.readableLength;
  }

  private room(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.answer.off('drain', done).off('close', done);
        resolve();
      };
      this.answer.once('drain', done).once('close', done);
    });
  }
}
