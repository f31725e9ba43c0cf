import { PassThrough } from 'node:stream';

/** How results follow each other: in a JSON array, or one per line. */
export type ResultForm = 'json' | 'ndjson';

const FRAMES = {
  json: { first: '[', between: ',', last: ']' },
  ndjson: { first: '', between: '\n', last: '\n' },
} as const;

/** Results that the client has not taken yet. Most clients read nothing before they have sent everything. */
const UNREAD_BYTES = 4 * 1024 * 1024;

/** The answer to a batch: results, written as they come, no faster than the client takes them. */
export class ResultStream {
  readonly answer = new PassThrough({ writableHighWaterMark: UNREAD_BYTES });
  private readonly frame: (typeof FRAMES)[ResultForm];
  private started = false;
  private written = 0;

  /** @param answerTimeoutMs how long the client may take nothing before its connection is cut */
  constructor(form: ResultForm, answerTimeoutMs: number) {
    this.frame = FRAMES[form];
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
  async write(results: readonly string[]): Promise<void> {
    if (this.isGone) return;
    const before = this.started ? this.frame.between : this.frame.first;
    this.started = true;
    const bytes = Buffer.from(before + results.join(this.frame.between));
    this.written += bytes.length;
    if (!this.answer.write(bytes)) await this.room();
  }

  end(): void {
    if (this.isGone) return;
    this.written += this.frame.last.length;
    this.answer.end(this.frame.last);
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
