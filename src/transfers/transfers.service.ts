import { Injectable } from '@nestjs/common';
import type { Leg, TransferCommand } from '../domain/command.js';
import { LedgerError } from '../domain/errors.js';
import { Ledger } from '../domain/ports.js';
import type { Origin } from '../domain/origin.js';
import type { Sender } from '../domain/sender.js';
import { reversalCommand, transferIn, type Transfer, type TransferReversal } from '../domain/transfer.js';
import { decodeCursor, encodeCursor, listingFor } from '../http/validation/cursor.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import type { Listing } from '../http/validation/page-query.dto.js';
import { MAX_ID } from '../domain/account.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { TransferReader } from '../ledger/read/transfer-reader.js';
import { TransferDto, type TransferPageDto } from './transfers.dto.js';

/** Counts a request's transactions against the sender's rate limit. @throws TooManyRequestsError */
type Admit = (transactions: number) => Promise<void>;

@Injectable()
export class TransfersService {
  constructor(
    private readonly ledger: Ledger,
    private readonly reader: TransferReader,
    private readonly owners: AccountOwners,
  ) {}

  /**
   * The money may leave only the sender's own accounts, and arrive anywhere.
   *
   * @param origin as for {@link Ledger.execute}
   * @param admit asked once the accounts are known to be the sender's
   * @throws LedgerError; InvalidRequestError; and what `admit` throws
   */
  async transfer(
    command: TransferCommand,
    { owner, user }: Sender,
    origin: Origin,
    admit: Admit | undefined,
  ): Promise<Transfer> {
    const ids = command.legs.map(({ accountId }) => accountId);
    const foreign = foreignAmong(command.legs, await this.owners.problems(owner, ids, user));
    const legs = command.legs.map((leg) => ({ ...leg, foreign: foreign.has(leg.accountId) }));
    if (admit) await admit(legs.length);
    return transferIn(await this.ledger.execute({ ...command, legs }, origin), { foreign });
  }

  /**
   * Only who owns the accounts that pay back, or is bound to no owner, may reverse a transfer.
   *
   * @param betweenShards called first when the money goes back to another shard
   * @throws as {@link transfer}
   */
  async reverse(
    reversal: TransferReversal,
    { owner, user }: Sender,
    origin: Origin,
    admit: Admit | undefined,
    betweenShards: (from: number, to: number) => Promise<void>,
  ): Promise<Transfer> {
    const { transferId } = reversal;
    // Its legs never change, so they may be read before their accounts are locked.
    const original = await this.reader.transfer(transferId, owner, user);
    const command = reversalCommand(reversal, original);
    const { accountId } = command;
    const elsewhere = command.accountIds.find(
      (id) => this.ledger.shardOf(id) !== this.ledger.shardOf(accountId),
    );
    if (elsewhere !== undefined) await betweenShards(accountId, elsewhere);
    if (admit) await admit(original.legs.length);
    const effects = await this.ledger.execute(command, origin);
    return transferIn(effects, { reversedId: transferId, foreign: original.foreign });
  }

  get(transferId: number, { owner, user }: Sender): Promise<Transfer> {
    return this.reader.transfer(transferId, owner, user);
  }

  async list({ accountId, cursor, limit }: Listing, { owner, user }: Sender): Promise<TransferPageDto> {
    const listing = listingFor(owner, `transfers/${accountId}`);
    const below = cursor === undefined ? MAX_ID : decodeCursor(listing, cursor);
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    const { transfers, nextBelow } = await this.reader.transfersBelow(accountId, below, limit, owner, user);
    return {
      data: transfers.map((transfer) => new TransferDto(transfer)),
      nextCursor: nextBelow === undefined ? null : encodeCursor(listing, nextBelow),
    };
  }
}

/**
 * The accounts of a transfer that the sender may not see.
 *
 * @param problems why accounts can't be used by the sender, by account
 * @throws LedgerError ACCOUNT_NOT_FOUND when money would leave one of them; InvalidRequestError when a leg tells its
 *   version
 */
export function foreignAmong(
  legs: readonly Pick<Leg, 'accountId' | 'type' | 'expectedVersion'>[],
  problems: ReadonlyMap<number, Error>,
): ReadonlySet<number> {
  const foreign = new Set<number>();
  for (const [index, { accountId, type, expectedVersion }] of legs.entries()) {
    const problem = problems.get(accountId);
    if (!problem) continue;
    if (!isNotFound(problem)) throw problem;
    if (type === 'debit') throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND', accountId });
    if (expectedVersion !== undefined) throw InvalidRequestError.of(versionOfLeg(index), FOREIGN_VERSION);
    foreign.add(accountId);
  }
  return foreign;
}

const isNotFound = (problem: Error) =>
  problem instanceof LedgerError && problem.failure.code === 'ACCOUNT_NOT_FOUND';

const FOREIGN_VERSION = 'is the version of an account that you may not see: leave it out';
const versionOfLeg = (index: number) => `legs[${index}].expectedVersion`;
