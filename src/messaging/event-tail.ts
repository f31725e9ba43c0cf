import type { Logger } from '@nestjs/common';
import { AdaptiveConcurrencyLimiter } from '../concurrency/adaptive-concurrency-limiter.js';
import { accountsOfEvent } from '../domain/ledger-event.js';
import type { EventLog, LogPage, LogRow } from './event-log.js';
import { Inbox } from './inbox.js';

/** The most events, or nearly so, that one read takes. */
const MAX_EVENTS = 500;
/** How long to wait after a read that failed. */
const RETRY_MS = 1_000;
/** Reads of listeners that are behind: a few connections, whatever the number of listeners. */
const CATCHING_UP = { maxInFlight: 2, queue: 1_000, maxWaitMs: 10_000 };

/**
 * Follows the end of one shard's log for all listeners of this process: each row is read once, however many listen, and
 * nothing is read while nobody does. A listener that takes its events too slowly is not waited for, and nothing is kept
 * for it: its {@link Inbox} tells from where on it has to read by itself.
 */
export class EventTail {
  private readonly toAll = new Set<Inbox>();
  private readonly byAccount = new Map<number, Set<Inbox>>();
  private readonly catchingUp = new AdaptiveConcurrencyLimiter(CATCHING_UP);
  /** Up to where the log has been handed out; undefined: it is not followed. */
  private position: number | undefined;
  private running: Promise<void> | undefined;
  private wakeUp: (() => void) | undefined;
  private stopped = false;
  private failing = false;

  /** @param pollMs how often the log is looked at, unless {@link wake} says that there is something */
  constructor(
    readonly log: EventLog,
    private readonly pollMs: number,
    private readonly logger: Logger,
  ) {}

  /** @param accountId whose events are wanted; undefined: those of all accounts */
  follow(accountId?: number): Inbox {
    const inboxes = accountId === undefined ? this.toAll : (this.byAccount.get(accountId) ?? new Set());
    if (accountId !== undefined) this.byAccount.set(accountId, inboxes);
    const inbox = new Inbox(() => {
      inboxes.delete(inbox);
      if (accountId !== undefined && inboxes.size === 0) this.byAccount.delete(accountId);
    });
    inboxes.add(inbox);
    if (this.stopped) inbox.close();
    else if (this.position !== undefined) inbox.begin(this.position);
    this.running ??= this.run();
    return inbox;
  }

  /** Reads rows for a listener that is behind. @throws LedgerError OVERLOADED; what the database fails with */
  readAfter(position: number, user: string): Promise<LogPage> {
    return this.catchingUp.run(user, () => this.log.readAfter(position, MAX_EVENTS));
  }

  /** There is something new in the log. */
  wake(): void {
    this.wakeUp?.();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    for (const inbox of this.inboxes()) inbox.close();
    this.wake();
    await this.running;
  }

  private get isIdle(): boolean {
    return this.toAll.size === 0 && this.byAccount.size === 0;
  }

  private inboxes(): Inbox[] {
    return [...this.toAll, ...[...this.byAccount.values()].flatMap((inboxes) => [...inboxes])];
  }

  private async run(): Promise<void> {
    while (!this.isIdle && !this.stopped) await this.pause(await this.readOn());
    this.position = undefined;
    this.running = undefined;
  }

  /** @returns how long to pause, in milliseconds */
  private async readOn(): Promise<number> {
    try {
      if (this.position === undefined) {
        this.position = await this.log.end();
        for (const inbox of this.inboxes()) inbox.begin(this.position);
      }
      for (let more = true; more && !this.isIdle && !this.stopped;) {
        const page = await this.log.readAfter(this.position, MAX_EVENTS);
        for (const row of page.rows) this.handOut(row);
        this.position = page.rows.at(-1)?.position ?? this.position;
        more = page.more;
      }
      if (this.failing) this.logger.log('live events go on');
      this.failing = false;
      return this.pollMs;
    } catch (error) {
      if (!this.failing) this.logger.warn({ msg: 'live events wait for the database', err: error });
      this.failing = true;
      return RETRY_MS;
    }
  }

  private handOut(row: LogRow): void {
    for (const inbox of this.toAll) inbox.push(row);
    if (this.byAccount.size === 0) return;
    const listened = new Map<number, LogRow['events'][number][]>();
    for (const event of row.events) {
      for (const { accountId } of accountsOfEvent(event)) {
        if (!this.byAccount.has(accountId)) continue;
        const events = listened.get(accountId);
        if (events) events.push(event);
        else listened.set(accountId, [event]);
      }
    }
    for (const [accountId, events] of listened) {
      for (const inbox of this.byAccount.get(accountId) ?? []) inbox.push({ position: row.position, events });
    }
  }

  /** Ends early when it is woken. */
  private async pause(ms: number): Promise<void> {
    if (this.stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wakeUp = undefined;
  }
}
