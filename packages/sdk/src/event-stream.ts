/** One event of a `text/event-stream`. */
export interface StreamedEvent {
  /** The last id that the stream has named; empty: none. */
  readonly id: string;
  /** `message`, unless the stream says otherwise. */
  readonly type: string;
  /** Undefined: no event, only where the stream goes on if it breaks off now. */
  readonly data: string | undefined;
}

/** Takes a stream apart as the HTML standard describes it, in whatever pieces it arrives. */
export class EventStreamParser {
  /** What the stream asks to wait before the next connection. */
  retryMs: number | undefined;
  private rest = '';
  private id: string;
  private hasNewId = false;
  private type = '';
  private data: string[] = [];
  private dataLength = 0;

  /** @param maxEventLength in characters; a longer event is an error */
  constructor(
    private readonly maxEventLength: number,
    lastEventId = '',
  ) {
    this.id = lastEventId;
  }

  /** @returns the events that are complete now, and positions @throws RangeError an event is too long */
  push(text: string): StreamedEvent[] {
    const events: StreamedEvent[] = [];
    // A lone \r at the end may be the first half of \r\n.
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line !== '') this.field(line);
      else events.push(...this.dispatch());
    }
    if (this.rest.length + this.dataLength > this.maxEventLength)
      throw new RangeError(`an event is longer than ${this.maxEventLength} characters`);
    return events;
  }

  private field(line: string): void {
    const [, name = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === 'data') {
      this.data.push(value);
      this.dataLength += value.length + 1;
    } else if (name === 'event') this.type = value;
    else if (name === 'id' && !value.includes('\0')) {
      this.id = value;
      this.hasNewId = true;
    } else if (name === 'retry' && /^\d{1,9}$/.test(value)) this.retryMs = Number(value);
  }

  private *dispatch(): Generator<StreamedEvent> {
    const data = this.data.length > 0 ? this.data.join('\n') : undefined;
    if (data !== undefined || this.hasNewId) yield { id: this.id, type: this.type || 'message', data };
    this.type = '';
    this.data = [];
    this.dataLength = 0;
    this.hasNewId = false;
  }
}
