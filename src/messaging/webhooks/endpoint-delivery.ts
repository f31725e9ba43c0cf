import { accountsOfEvent, type LedgerEvent } from '../../domain/ledger-event.js';
import { messageOf, type BankMessage } from '../bank-event.js';
import { DeliveryQueue, type Ticket } from './delivery-queue.js';
import type { Attempt, DeliveryState, EventPlace } from './delivery-state.js';
import type { ActiveEndpoint } from './endpoints.js';
import { ALL_EVENT_TYPES } from './event-types.js';
import { isValid, type LoggedEvent, type LogWindow } from './log-window.js';
import { Pace } from './pace.js';
import type { RetryPolicy } from './retry-policy.js';
import type { WebhookSender } from './webhook-sender.js';

/** Reads on when so much of its memory is free. */
const WORTH_READING = 500;
const GONE = 410;
/** Answers whose Retry-After is about the endpoint, not about the event. */
const LEAVE_ALONE = [429, 503];

export interface DeliveryParts {
  readonly bankId: string;
  readonly window: LogWindow;
  readonly sender: WebhookSender;
  readonly policy: RetryPolicy;
  /** Whether this process may still send: another one may be at it otherwise. */
  readonly maySend: () => boolean;
  readonly attempted: (accepted: boolean) => void;
  /** The URL answered that it is gone. */
  readonly gone: (url: string) => void;
  /** What goes wrong while the log is read. */
  readonly failing: (error: unknown) => void;
}

/** Sends the events of one shard to one endpoint. */
export class EndpointDelivery {
  private readonly queue: DeliveryQueue;
  private pace: Pace;
  /** The events that were read and are still to be sent for the first time, the oldest first. */
  private readonly read = new Map<string, LoggedEvent>();
  private inFlight = 0;
  private filling: Promise<boolean> | undefined;
  /** Reading has stopped because there was no room. */
  private wasFull = false;
  private ended = false;
  /** Whether there is anything to remember: `attempts`, or only that the position has moved. */
  private changed: 'attempts' | 'position' | undefined;

  constructor(
    private endpoint: ActiveEndpoint,
    private readonly parts: DeliveryParts,
    position: number,
    state: DeliveryState,
  ) {
    this.queue = new DeliveryQueue(position, state, parts.policy);
    this.pace = new Pace(parts.policy);
  }

  /** Another URL, or other secrets or types, from now on. */
  change(endpoint: ActiveEndpoint): void {
    if (endpoint.url !== this.endpoint.url) this.startAfresh();
    this.endpoint = endpoint;
  }

  /** What is to be remembered. Undefined: nothing has changed, or only the position and `attempts` alone matter. */
  unsaved(attemptsOnly: boolean): { readonly position: number; readonly state: DeliveryState } | undefined {
    if (!this.changed || (attemptsOnly && this.changed === 'position')) return undefined;
    this.changed = undefined;
    return { position: this.queue.position, state: this.queue.state() };
  }

  /** What was not saved is to be saved again. */
  notSaved(): void {
    this.changed = 'attempts';
  }

  get url(): string {
    return this.endpoint.url;
  }

  get failures(): number {
    return this.queue.failures;
  }

  get failingSince(): number | undefined {
    return this.queue.failingSince;
  }

  /** The age of the oldest event that has not been tried, in milliseconds. */
  lagMs(): number {
    const [oldest] = this.read.values();
    return oldest ? Math.max(0, Date.now() - oldest.message.timestamp.getTime()) : 0;
  }

  /** Delivers one event again. */
  async request(place: EventPlace): Promise<void> {
    const logged = await this.parts.window.at(place);
    if (!logged) return;
    this.queue.request(place, logged.message.accountId, Date.now());
    this.changed = 'attempts';
    this.send();
  }

  /**
   * Reads on, one page of the log at most, so that one who is far behind holds up no other, and sends what may be sent.
   *
   * @returns whether there may be more to read, and room for it
   */
  async proceed(): Promise<boolean> {
    const more = await (this.filling ??= this.fill().finally(() => (this.filling = undefined)));
    this.send();
    return more;
  }

  /** What is on its way is not waited for: whoever goes on here repeats it. */
  end(): void {
    this.ended = true;
  }

  private async fill(): Promise<boolean> {
    this.wasFull = false;
    if (this.ended || this.pace.isDown || this.queue.room === 0) return false;
    const rows = await this.parts.window.after(this.queue.readTo);
    for (const { position, events } of rows) {
      this.wasFull = this.queue.room === 0;
      if (this.wasFull) return false;
      const before = this.queue.position;
      const wanted = events.flatMap((logged, index) => (this.wants(logged.event) ? [{ logged, index }] : []));
      for (const { logged, index } of wanted) this.read.set(`${position}.${index}`, logged);
      this.queue.add(
        position,
        wanted.map(({ logged, index }) => ({ index, accountId: logged.message.accountId })),
      );
      if (this.queue.position !== before) this.changed ??= 'position';
    }
    return rows.length > 0;
  }

  private send(): void {
    while (!this.ended && this.parts.maySend() && this.pace.admits(this.inFlight, Date.now())) {
      const ticket = this.queue.next(Date.now(), this.pace.isDown);
      if (!ticket) break;
      this.inFlight += 1;
      void this.deliver(ticket)
        .catch((error: unknown) => this.parts.failing(error))
        .finally(() => {
          this.inFlight -= 1;
          this.send();
        });
    }
    if (this.wasFull && this.queue.room >= WORTH_READING && !this.filling) {
      void this.proceed().catch((error: unknown) => this.parts.failing(error));
    }
  }

  private async deliver(ticket: Ticket): Promise<void> {
    const key = `${ticket.position}.${ticket.index}`;
    let logged: LoggedEvent | undefined;
    try {
      const known = this.read.get(key);
      const isKnown = known && (this.endpoint.owner === undefined || isValid(known));
      logged = isKnown ? known : await this.parts.window.at(ticket);
    } catch (error) {
      this.queue.postponed(ticket, Date.now());
      throw error;
    }
    this.read.delete(key);
    this.changed = 'attempts';
    if (!logged) return this.queue.lost(ticket);
    // Its account may belong to somebody else by now.
    if (!this.wants(logged.event)) return this.queue.accepted(ticket, undefined);
    const { url, secrets } = this.endpoint;
    const startedMs = Date.now();
    const { status, text, retryAfterMs } = await this.parts.sender.send(url, secrets, this.told(logged));
    if (this.ended) return;
    const attempt: Attempt = {
      ...{ position: ticket.position, index: ticket.index, number: ticket.number, status, answer: text },
      ...{ eventId: logged.message.id, type: logged.message.type, accountId: ticket.accountId },
      ...{ startedAt: new Date(startedMs).toISOString(), durationMs: Date.now() - startedMs },
    };
    this.changed = 'attempts';
    const accepted = status !== undefined && status >= 200 && status < 300;
    this.parts.attempted(accepted);
    if (accepted) {
      if (this.pace.isDown) this.startAfresh();
      this.pace.accepted();
      this.queue.accepted(ticket, attempt);
      return;
    }
    const nowMs = Date.now();
    const isAbout = status !== undefined && LEAVE_ALONE.includes(status);
    this.pace.failed(nowMs, ticket.number === 1, isAbout ? retryAfterMs : 0);
    this.queue.failed(ticket, attempt, nowMs, retryAfterMs);
    if (status !== GONE) return;
    this.end();
    this.parts.gone(url);
  }

  /** What it may know. */
  private told({ event, message }: LoggedEvent): BankMessage {
    const { owner } = this.endpoint;
    return owner === undefined ? message : messageOf(event, this.parts.bankId, owner);
  }

  /** Whatever failed may succeed now. */
  private startAfresh(): void {
    this.pace = new Pace(this.parts.policy);
    this.queue.retryAll(Date.now());
  }

  private wants(event: LedgerEvent): boolean {
    const { eventTypes, owner } = this.endpoint;
    if (!eventTypes.includes(ALL_EVENT_TYPES) && !eventTypes.includes(event.kind)) return false;
    return owner === undefined || accountsOfEvent(event).some((account) => account.owner === owner);
  }
}
