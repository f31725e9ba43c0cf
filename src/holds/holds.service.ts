import { Injectable } from '@nestjs/common';
import { MAX_ID, type LedgerAccount } from '../domain/account.js';
import type { Effects } from '../domain/books.js';
import type { HoldCommand } from '../domain/command.js';
import type { Hold, HoldStatus } from '../domain/hold.js';
import { Ledger } from '../domain/ports.js';
import type { Origin } from '../domain/origin.js';
import type { Sender } from '../domain/sender.js';
import {
  decodeFilteredCursor,
  encodeCursor,
  listingFor,
  notOfThisListing,
} from '../http/validation/cursor.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { HoldReader, type DescribedHold } from '../ledger/read/hold-reader.js';
import { foreignAmong } from '../transfers/transfers.service.js';
import {
  HoldDto,
  isTooEarly,
  STATUSES,
  type CaptureRequest,
  type HoldListing,
  type HoldPageDto,
  type VoidRequest,
} from './holds.dto.js';

/** Counts so many transactions against the sender's rate limit, once the account is known to be the sender's. */
type Admit = ((transactions?: number) => Promise<void>) | undefined;

/** A hold, and its account afterwards. */
export interface ChangedHold {
  readonly hold: DescribedHold;
  readonly account: LedgerAccount;
}

@Injectable()
export class HoldsService {
  constructor(
    private readonly ledger: Ledger,
    private readonly holds: HoldReader,
    private readonly owners: AccountOwners,
  ) {}

  /** @param origin as for {@link Ledger.execute} */
  async place(
    command: HoldCommand,
    { owner, user }: Sender,
    origin: Origin,
    admit: Admit,
  ): Promise<ChangedHold> {
    const { accountId, details } = command;
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    if (admit) await admit();
    const effects = await executeInTime(this.ledger, command, origin);
    const hold = lastHold(effects);
    if (command.dryRun !== true) this.holds.remember(hold);
    return { hold: { ...hold, details }, account: accountIn(effects, accountId) };
  }

  /** @returns its effects, and the account that the sender may not see, if that gets the money */
  async capture(
    request: CaptureRequest,
    { owner, user }: Sender,
    origin: Origin,
    admit: Admit,
  ): Promise<{ readonly effects: Effects; readonly foreign: ReadonlySet<number> }> {
    const { holdId, to } = request;
    const accountId = await this.holds.accountOf(holdId, owner, user);
    if (to?.accountId === accountId) throw sameAccount();
    const credits = to ? [{ accountId: to.accountId, type: 'credit' } as const] : [];
    const ids = credits.map((credit) => credit.accountId);
    const foreign = foreignAmong(credits, await this.owners.problems(owner, ids, user));
    if (admit) await admit(to ? 2 : 1);
    const target = to && { ...to, foreign: foreign.has(to.accountId) };
    const effects = await this.ledger.execute({ ...request, accountId, to: target }, origin);
    return { effects, foreign };
  }

  async void(
    request: VoidRequest,
    { owner, user }: Sender,
    origin: Origin,
    admit: Admit,
  ): Promise<ChangedHold> {
    const { accountId, details } = await this.holds.hold(request.holdId, owner, user);
    if (admit) await admit();
    const effects = await this.ledger.execute({ ...request, accountId }, origin);
    return { hold: { ...lastHold(effects), details }, account: accountIn(effects, accountId) };
  }

  get(holdId: number, { owner, user }: Sender): Promise<DescribedHold> {
    return this.holds.hold(holdId, owner, user);
  }

  async list(
    { accountId, cursor, limit, status }: HoldListing,
    { owner, user }: Sender,
  ): Promise<HoldPageDto> {
    const listing = listingFor(owner, `holds/${accountId}`);
    const start = startOf(listing, cursor, status);
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    const { holds, nextBelow } = await this.holds.holdsBelow(
      accountId,
      start.below,
      limit,
      start.status,
      user,
    );
    const nextCursor =
      nextBelow === undefined ? null : encodeCursor(listing, nextBelow, filterText(start.status));
    return { data: holds.map((hold) => new HoldDto(hold)), nextCursor };
  }
}

/** Places a hold, unless it would end too early. @throws LedgerError; InvalidRequestError */
export async function executeInTime(ledger: Ledger, command: HoldCommand, origin?: Origin): Promise<Effects> {
  if (!isTooEarly(command)) return ledger.execute(command, origin);
  // A retry may come so late. The dry run tells, as a duplicate.
  if (command.idempotencyKey !== undefined) await ledger.execute({ ...command, dryRun: true }, origin);
  throw tooEarly();
}

export const sameAccount = () =>
  InvalidRequestError.of('to', 'must be another account than that of the hold');

export const tooEarly = () => InvalidRequestError.of('expiresAt', 'must be at least one second ahead');

/** The hold that a command placed or changed. Those that it found expired come before. */
export function lastHold({ holds }: Effects): Hold {
  const hold = holds.at(-1);
  if (!hold) throw new Error('a command has no hold');
  return hold;
}

export function accountIn({ accounts }: Effects, accountId: number): LedgerAccount {
  const account = accounts.find((other) => other.accountId === accountId);
  if (!account) throw new Error(`a command has not changed account ${accountId}`);
  return account;
}

/** A cursor continues the listing that it was made for, with its status. It may be given alone or with the same one. */
function startOf(
  listing: string,
  cursor: string | undefined,
  asked: HoldStatus | undefined,
): { readonly below: number; readonly status: HoldStatus | undefined } {
  if (cursor === undefined) return { below: MAX_ID, status: asked };
  const { place, filters } = decodeFilteredCursor(listing, cursor);
  const status = filters === '' ? undefined : STATUSES.find((other) => filterText(other) === filters);
  if (filters !== filterText(status)) throw notOfThisListing();
  if (asked === undefined || asked === status) return { below: place, status };
  const shown =
    status === undefined ? 'without filters; give none' : `with ${filters}; give the same or none`;
  throw InvalidRequestError.of('cursor', `belongs to a listing ${shown}`);
}

const filterText = (status: HoldStatus | undefined): string =>
  status === undefined ? '' : `status=${status}`;
