import type { EventStream, StreamedEvent } from '../http/server/event-stream.js';
import { messageOf } from '../messaging/bank-event.js';
import type { LogRow } from '../messaging/event-log.js';
import type { EventTail } from '../messaging/event-tail.js';
import type { Inbox } from '../messaging/inbox.js';
import { untilItWorks } from './until-it-works.js';
import { readFrom, sentOf, writePlaces, type Place, type Places } from './places.js';

/** Where the events of a bank come from. */
export interface BankSource {
  readonly bankId: string;
  /** Those of its shards, in their order. */
  readonly tails: readonly EventTail[];
}

/** One who listens to all events of a bank. Shards are followed side by side: one that is down holds up no other. */
export class BankListener {
  private readonly places: (Place | undefined)[];

  /** @param user who waits for a turn where many have to catch up */
  constructor(
    private readonly source: BankSource,
    from: Places,
    private readonly stream: EventStream,
    private readonly user: string,
  ) {
    this.places = [...from];
  }

  /** Until the stream ends, or what follows is not retained any more. */
  async run(): Promise<void> {
    const inboxes = this.source.tails.map((tail) => tail.follow());
    this.stream.onGone(() => inboxes.forEach((inbox) => inbox.close()));
    await Promise.all(inboxes.map((inbox, shard) => this.follow(shard, inbox)));
  }

  private async follow(shard: number, inbox: Inbox): Promise<void> {
    while (!inbox.closed) {
      const { from } = inbox;
      if (from !== undefined) this.places[shard] ??= { position: from };
      const place = this.places[shard];
      if (from !== undefined && place && readFrom(place) < from) {
        await untilItWorks(inbox, () => this.catchUp(shard, place, from));
      } else await this.sendRows(shard, await inbox.next());
    }
  }

  /** Reads the next rows of a listener that is behind the tail. */
  private async catchUp(shard: number, place: Place, upTo: number): Promise<void> {
    const tail = this.source.tails[shard] as EventTail;
    if (!(await tail.log.retains(readFrom(place)))) return this.stream.end();
    const { rows, more } = await tail.readAfter(readFrom(place), this.user);
    await this.sendRows(shard, rows);
    const reached = this.places[shard] as Place;
    // Positions may be missing.
    if (!more && readFrom(reached) < upTo) this.places[shard] = { position: upTo };
  }

  private async sendRows(shard: number, rows: readonly LogRow[]): Promise<void> {
    await this.stream.sendAll(this.eventsOf(shard, rows));
  }

  /** Moves the listener's place as they are taken, so that each id is the place just behind its event. */
  private *eventsOf(shard: number, rows: readonly LogRow[]): Generator<StreamedEvent> {
    for (const { position, events } of rows) {
      const place = this.places[shard];
      const sent = place ? sentOf(position, place) : 0;
      for (const [index, event] of events.entries()) {
        if (index < sent) continue;
        const isLast = index + 1 === events.length;
        this.places[shard] = isLast ? { position } : { position, events: index + 1 };
        const { type, body } = messageOf(event, this.source.bankId);
        yield { type, data: body, id: writePlaces(this.places) };
      }
    }
  }
}
