import { accountsOfEvent, versionIn, type LedgerEvent } from '../domain/ledger-event.js';
import type { Sender } from '../domain/sender.js';
import type { EventStream, StreamedEvent } from '../http/server/event-stream.js';
import type { AccountEventReader, AccountState } from '../ledger/read/account-event-reader.js';
import type { LedgerReader } from '../ledger/read/ledger-reader.js';
import { messageOf } from '../messaging/bank-event.js';
import type { EventTail } from '../messaging/event-tail.js';
import type { Inbox } from '../messaging/inbox.js';
import { untilItWorks } from './until-it-works.js';

/** Where the events of an account come from. */
export interface AccountSource {
  readonly accountId: number;
  readonly bankId: string;
  readonly tail: EventTail;
  readonly accounts: LedgerReader;
  readonly events: AccountEventReader;
}

/**
 * One who listens to the events of an account. Its versions have no gaps, so the listener sees by itself what is a repeat
 * and what it has to read from the database first.
 */
export class AccountListener {
  /** What has been sent. */
  private state: AccountState;

  constructor(
    private readonly source: AccountSource,
    from: AccountState,
    private readonly stream: EventStream,
    private readonly sender: Sender,
  ) {
    this.state = from;
  }

  /** Until the stream ends. */
  async run(): Promise<void> {
    const { tail, accountId } = this.source;
    const inbox = tail.follow(accountId);
    this.stream.onGone(() => inbox.close());
    await this.follow(inbox);
  }

  private async follow(inbox: Inbox): Promise<void> {
    let caughtUp = -1;
    while (!inbox.closed) {
      const { from } = inbox;
      if (from !== undefined && caughtUp < from) {
        await untilItWorks(inbox, () => this.catchUp());
        caughtUp = from;
        continue;
      }
      for (const { events } of await inbox.next()) {
        if (this.follows(events)) await this.send(events);
        else caughtUp = -1;
      }
    }
  }

  /** Sends what the account's tables have and the listener has not. */
  private async catchUp(): Promise<void> {
    const { accounts, events, accountId } = this.source;
    const { user } = this.sender;
    const now = await accounts.account(accountId, user);
    for await (const some of events.between(accountId, this.state, now, user)) {
      if (this.stream.isGone) return;
      await this.send(some);
    }
  }

  /** Whether no version is missing between what has been sent and these events. */
  private follows(events: readonly LedgerEvent[]): boolean {
    const first = events.map((event) => this.versionOf(event)).find((version) => version !== undefined);
    return first === undefined || first <= this.state.version + 1;
  }

  private send(events: readonly LedgerEvent[]): Promise<void> {
    return this.stream.sendAll(this.made(events.filter((event) => this.isWanted(event))));
  }

  /** Only the last event of a version has its id: whoever comes back with it has got all of them. */
  private *made(events: readonly LedgerEvent[]): Generator<StreamedEvent> {
    for (const [index, event] of events.entries()) {
      const version = this.versionOf(event);
      const next = events[index + 1];
      const isLast = version !== undefined && (!next || this.versionOf(next) !== version);
      if (isLast) this.state = { ...this.state, version };
      if (event.kind === 'account.changed') this.state = { ...this.state, revision: event.revision };
      const { type, body } = messageOf(event, this.source.bankId, this.sender.owner);
      yield { type, data: body, id: isLast ? String(version) : undefined };
    }
  }

  private isWanted(event: LedgerEvent): boolean {
    // A transfer is read with all its legs.
    const { accountId } = this.source;
    if (!accountsOfEvent(event).some((account) => account.accountId === accountId)) return false;
    if (event.kind === 'account.changed') return event.revision > this.state.revision;
    const version = this.versionOf(event);
    return version === undefined || version > this.state.version;
  }

  private versionOf(event: LedgerEvent): number | undefined {
    return versionIn(event, this.source.accountId);
  }
}
