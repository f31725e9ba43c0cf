import { PassThrough } from 'node:stream';

/** How results follow each other: in a JSON array, or one on each line. */
export type ResultForm = 'json' | 'ndjson';

const FRAMES = {
  json: { first: '[', between: ',', last: ']' },
  ndjson: { first: '', between: '\n', last: '\n' },
} as const;

/** Results that are ready and that the client has not taken yet. Most clients read nothing before they have sent all. */
const UNREAD_BYTES = 4 * 1024 * 1024;

/** The answer to a batch: results, written as they come, no faster than the client takes them. */
export class ResultStream {
  readonly answer = new PassThrough({ writableHighWaterMark: UNREAD_BYTES });
  private readonly frame: (typeof FRAMES)[ResultForm];
  private started = false;

  /** @param answerTimeoutMs how long the client may take nothing before its connection is cut */
  constructor(
    form: ResultForm,
    private readonly answerTimeoutMs: number,
  ) {
    this.frame = FRAMES[form];
  }

  /** Nobody takes it any more. */
  get isGone(): boolean {
    return this.answer.destroyed;
  }

  /** Resolves when there is room for more, or nobody is left who would take it. */
  async write(results: readonly string[]): Promise<void> {
    if (this.isGone) return;
    const before = this.started ? this.frame.between : this.frame.first;
    this.started = true;
    if (!this.answer.write(before + results.join(this.frame.between))) await this.room();
  }

  end(): void {
    if (!this.isGone) this.answer.end(this.frame.last);
  }

  private room(): Promise<void> {
    return new Promise((resolve) => {
      let unread = this.answer.writableLength;
      const watch = setInterval(() => {
        if (this.answer.writableLength === unread) this.answer.destroy();
        unread = this.answer.writableLength;
      }, this.answerTimeoutMs);
      const done = () => {
        clearInterval(watch);
        this.answer.off('drain', done).off('close', done);
        resolve();
      };
      this.answer.once('drain', done).once('close', done);
    });
  }
}
