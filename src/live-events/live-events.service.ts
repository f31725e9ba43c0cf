import { Inject, Injectable } from '@nestjs/common';
import { LedgerError } from '../domain/errors.js';
import type { Sender } from '../domain/sender.js';
import type { EventStream } from '../http/server/event-stream.js';
import { AccountEventReader, type AccountState } from '../ledger/read/account-event-reader.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import { EventsGoneError } from '../messaging/event-log.js';
import type { EventTail } from '../messaging/event-tail.js';
import { TAILS } from '../messaging/messaging.module.js';
import { SHARDS } from '../sharding/sharding.module.js';
import type { Shard } from '../sharding/shard.js';
import { AccountListener } from './account-listener.js';
import { BankListener } from './bank-listener.js';
import { noPlaceInLog, type AccountEventsRequest } from './live-events.dto.js';
import { readFrom, readPlaces, writePlaces, type Place, type Places } from './places.js';
import { mayPass } from './until-it-works.js';

/** Events that can be streamed. */
export interface Listening {
  /** Where they begin. */
  readonly id: string;
  listen(stream: EventStream): Promise<void>;
}

@Injectable()
export class LiveEventsService {
  constructor(
    private readonly accounts: LedgerReader,
    private readonly events: AccountEventReader,
    private readonly owners: AccountOwners,
    @Inject(TAILS) private readonly tails: readonly EventTail[],
    @Inject(SHARDS) private readonly shards: readonly Shard[],
  ) {}

  /** @throws LedgerError ACCOUNT_NOT_FOUND when an account is not the sender's (any more), or why that can't be told */
  async checkOwner(accountId: number, { owner, user }: Sender): Promise<void> {
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
  }

  /** @throws LedgerError ACCOUNT_NOT_FOUND, VERSION_NOT_REACHED, DATABASE_FAILED, OVERLOADED */
  async ofAccount({ accountId, after }: AccountEventsRequest, sender: Sender): Promise<Listening> {
    await this.checkOwner(accountId, sender);
    const from = await this.stateAt(accountId, after, sender.user);
    const shard = (accountId - 1) % this.shards.length;
    const source = {
      ...{ accountId, accounts: this.accounts, events: this.events },
      ...{ tail: this.tails[shard] as EventTail, bankId: this.bankId },
    };
    return {
      id: String(from.version),
      listen: (stream) => new AccountListener(source, from, stream, sender).run(),
    };
  }

  /** @throws InvalidRequestError; EventsGoneError */
  async ofBank(lastId: string | undefined, user: string): Promise<Listening> {
    const from = lastId === undefined ? await this.ends() : await this.placesOf(lastId);
    const source = { bankId: this.bankId, tails: this.tails };
    return {
      id: writePlaces(from),
      listen: (stream) => new BankListener(source, from, stream, user).run(),
    };
  }

  private get bankId(): string {
    return (this.shards[0] as Shard).identity.bankId;
  }

  private async stateAt(accountId: number, after: number | undefined, user: string): Promise<AccountState> {
    const now = await this.accounts.account(accountId, user);
    if (after === undefined) return now;
    if (after > now.version) throw new LedgerError({ code: 'VERSION_NOT_REACHED' });
    return { version: after, revision: await this.events.revisionAt(accountId, after, user) };
  }

  private ends(): Promise<Places> {
    return Promise.all(
      this.tails.map(({ log }) => log.end().then((position): Place => ({ position }), unlessDown)),
    );
  }

  private async placesOf(lastId: string): Promise<Places> {
    const places = readPlaces(lastId, this.shards.length);
    if (!places) throw noPlaceInLog();
    const retained = await Promise.all(
      this.tails.map(({ log }, shard) => {
        const place = places[shard];
        return place ? log.retains(readFrom(place)).catch(unlessDown) : Promise.resolve(true);
      }),
    );
    if (retained.includes(false)) throw new EventsGoneError();
    return places;
  }
}

/** A shard that is down holds up no other. */
function unlessDown(error: unknown): undefined {
  if (!mayPass(error)) throw error;
}
