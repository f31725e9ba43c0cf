import { AnswerStream } from './answer-stream.js';

/** How results follow each other: in a JSON array, or one per line. */
export type ResultForm = 'json' | 'ndjson';

const FRAMES = {
  json: { first: '[', between: ',', last: ']' },
  ndjson: { first: '', between: '\n', last: '\n' },
} as const;

/** Results that the client has not taken yet. Most clients read nothing before they have sent everything. */
const UNREAD_BYTES = 4 * 1024 * 1024;

/** The answer to a batch: results, written as they come. */
export class ResultStream extends AnswerStream {
  private readonly frame: (typeof FRAMES)[ResultForm];
  private started = false;

  /** @param answerTimeoutMs as for {@link AnswerStream} */
  constructor(form: ResultForm, answerTimeoutMs: number) {
    super(UNREAD_BYTES, answerTimeoutMs);
    this.frame = FRAMES[form];
  }

  /** Resolves when there is room for more, or the client is gone. */
  async write(results: readonly string[]): Promise<void> {
    const before = this.started ? this.frame.between : this.frame.first;
    this.started = true;
    await this.send(before + results.join(this.frame.between));
  }

  override end(): void {
    void this.send(this.frame.last);
    super.end();
  }
}
