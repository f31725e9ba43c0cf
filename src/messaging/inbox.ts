import type { LogRow } from './event-log.js';

/** The most events, or nearly so, that wait for one listener. */
const MAX_WAITING_EVENTS = 250;

/**
 * What the tail of a log has handed to one listener, and the listener has not taken yet. Only so much waits: after that
 * the inbox is emptied, and {@link from} moves on.
 */
export class Inbox {
  private rows: LogRow[] = [];
  private events = 0;
  private isClosed = false;
  private start: number | undefined;
  private wake: (() => void) | undefined;

  /** @param onClose called once */
  constructor(private readonly onClose: () => void) {}

  /**
   * The position after which all rows of the listener come through this inbox; what is up to there it reads by itself.
   * Undefined: the log could not be read yet.
   */
  get from(): number | undefined {
    return this.start;
  }

  get closed(): boolean {
    return this.isClosed;
  }

  /** Waits until there is something, or {@link from} has changed, or it is closed. */
  async next(): Promise<readonly LogRow[]> {
    if (this.rows.length === 0 && !this.isClosed) await new Promise<void>((resolve) => (this.wake = resolve));
    const { rows } = this;
    this.clear();
    return rows;
  }

  /** The tail begins to hand out rows. */
  begin(position: number): void {
    this.start = position;
    this.wake?.();
  }

  push(row: LogRow): void {
    if (this.events < MAX_WAITING_EVENTS) {
      this.rows.push(row);
      this.events += row.events.length;
    } else {
      this.clear();
      this.start = row.position;
    }
    this.wake?.();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.clear();
    this.onClose();
    this.wake?.();
  }

  private clear(): void {
    this.rows = [];
    this.events = 0;
  }
}
