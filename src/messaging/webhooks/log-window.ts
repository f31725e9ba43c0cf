import { messageOf, type BankMessage } from '../bank-event.js';
import type { LedgerEvent } from '../../domain/ledger-event.js';
import type { EventLog, LogRow } from '../event-log.js';

/** An event of the log, with the message that is made of it once for all endpoints. */
export interface LoggedEvent {
  readonly event: LedgerEvent;
  readonly message: BankMessage;
  /** When it was read, and its account's owner with it, by performance.now(). */
  readonly readMs: number;
}

export interface WindowRow {
  readonly position: number;
  readonly readMs: number;
  readonly events: readonly LoggedEvent[];
}

/** Events that one read fetches. */
const READ_EVENTS = 500;
/** Events that are kept for endpoints that come a little later. */
const KEPT_EVENTS = 5_000;
/** How long a reading tells whose events they are: a change of owner takes effect within 5 seconds. */
const VALID_MS = 4_000;

/** Whether the owner of its account is still known. */
export const isValid = ({ readMs }: Pick<LoggedEvent, 'readMs'>): boolean =>
  performance.now() - readMs < VALID_MS;

/**
 * The part of a shard's log that its endpoints are at, read once for all of them. One that is further behind reads by
 * itself.
 */
export class LogWindow {
  private rows: WindowRow[] = [];
  private events = 0;
  /** The rows are all those behind this position; undefined: nothing was read. */
  private from: number | undefined;
  private reading: Promise<void> | undefined;

  constructor(
    private readonly log: EventLog,
    private readonly bankId: string,
  ) {}

  /** Rows behind a position, without a gap; none: there are none yet. */
  async after(position: number): Promise<readonly WindowRow[]> {
    this.forget();
    if (this.from === undefined || position > this.end) this.begin(position);
    if (position < (this.from ?? 0)) return this.read(position);
    if (position === this.end)
      await (this.reading ??= this.extend().finally(() => (this.reading = undefined)));
    return this.kept(position);
  }

  /** The event at a place; undefined: the log has it no longer. */
  async at({ position, index }: { readonly position: number; readonly index: number }) {
    const kept = this.rows.find((row) => row.position === position && isValid(row));
    const row = kept ?? (await this.read(position - 1, 1)).find((one) => one.position === position);
    return row?.events[index];
  }

  /** Who is ahead of all others must not wait for them. */
  private begin(position: number): void {
    this.rows = [];
    this.events = 0;
    this.from = position;
  }

  private get end(): number {
    return this.rows.at(-1)?.position ?? this.from ?? 0;
  }

  /** Empty where the window has moved on meanwhile: it is asked again. */
  private kept(position: number): readonly WindowRow[] {
    if (position < (this.from ?? 0)) return [];
    return this.rows.slice(this.rows.findLastIndex((row) => row.position <= position) + 1);
  }

  private async extend(): Promise<void> {
    const { end } = this;
    const rows = await this.read(end);
    if (end !== this.end) return;
    this.rows.push(...rows);
    this.events += rows.reduce((sum, row) => sum + row.events.length, 0);
    this.forget();
  }

  private forget(): void {
    for (let [oldest] = this.rows; oldest; [oldest] = this.rows) {
      if (isValid(oldest) && (this.events <= KEPT_EVENTS || this.rows.length === 1)) return;
      this.rows.shift();
      this.from = oldest.position;
      this.events -= oldest.events.length;
    }
  }

  private async read(position: number, maxEvents = READ_EVENTS): Promise<WindowRow[]> {
    const readMs = performance.now();
    const { rows } = await this.log.readAfter(position, maxEvents);
    return rows.map((row) => this.windowRow(row, readMs));
  }

  private windowRow({ position, events }: LogRow, readMs: number): WindowRow {
    const logged = events.map((event) => ({ event, message: messageOf(event, this.bankId), readMs }));
    return { position, events: logged, readMs };
  }
}
