import { Injectable } from '@nestjs/common';
import { forbidden } from '../access/access-errors.js';
import { MOVEMENT_SCOPES, type Principal, type Scope } from '../access/principal.js';
import type { Effects } from '../domain/books.js';
import type { Command } from '../domain/command.js';
import type { Transaction } from '../domain/transaction.js';
import { reversalCommand, transferIn, type AboutTransfer, type Transfer } from '../domain/transfer.js';
import { DryHoldDto, HoldDto } from '../holds/holds.dto.js';
import { accountIn, lastHold, sameAccount } from '../holds/holds.service.js';
import { DryReceiptDto, ReceiptDto } from '../http/openapi/receipt.js';
import { written, type Written } from '../http/openapi/resource.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { HoldReader, type DescribedHold } from '../ledger/read/hold-reader.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import { TransferReader } from '../ledger/read/transfer-reader.js';
import { DryTransactionDto, TransactionDto } from '../transactions/transactions.dto.js';
import { DryTransferDto, TransferDto } from '../transfers/transfers.dto.js';
import { foreignAmong } from '../transfers/transfers.service.js';
import { isRequest, type BatchItem, type BatchRequest } from './batch-items.js';

/** The answer to a request that was carried out. */
export interface PostedAnswer {
  readonly status: 200 | 201 | 202;
  readonly code?: undefined;
  readonly body: object;
  readonly as: Written<object>;
}

/** An item that may go to the ledger. */
export interface Prepared {
  readonly command: Command;
  /** How many transactions it counts as. */
  readonly weight: number;
  readonly answer: (effects: Effects) => PostedAnswer;
}

export type PreparedItem = Prepared | Error;

export const isPrepared = (item: PreparedItem): item is Prepared => !(item instanceof Error);

/**
 * Makes commands of requests: checks what a single call would have checked before the ledger, and looks up the accounts
 * that the requests concern, all at once.
 */
@Injectable()
export class BatchPreparation {
  constructor(
    private readonly owners: AccountOwners,
    private readonly reader: LedgerReader,
    private readonly holds: HoldReader,
    private readonly transfers: TransferReader,
  ) {}

  /** Replaces each request with its command, or with the error that a single call would have got. */
  async prepare(
    items: readonly BatchItem[],
    principal: Principal,
    user: string,
  ): Promise<readonly PreparedItem[]> {
    const allowed = items.map((item) => (isRequest(item) ? (forbiddenTo(principal, item) ?? item) : item));
    const known = await this.lookUp(allowed.filter(isRequest), principal, user);
    return allowed.map((item) => (isRequest(item) ? attempt(() => prepared(item, known)) : item));
  }

  private async lookUp(
    requests: readonly BatchRequest[],
    principal: Principal,
    user: string,
  ): Promise<Known> {
    const { owner } = principal;
    const named = idsIn(requests);
    const [problems, holds, originals, transfers] = await Promise.all([
      this.owners.problems(owner, accountsIn(requests), user),
      named.holds.length === 0 ? NONE : this.holds.holdsOf(named.holds, owner, user),
      named.originals.length === 0 ? NONE : this.reader.transactions(named.originals, owner, user),
      named.transfers.length === 0 ? NONE : this.transfers.transfers(named.transfers, owner, user),
    ]);
    return { principal, problems, holds, originals, transfers };
  }
}

const NONE = new Map<number, never>();

/** What was looked up for requests. */
interface Known {
  readonly principal: Principal;
  /** Why accounts can't be used by the sender, by account. */
  readonly problems: ReadonlyMap<number, Error>;
  readonly holds: ReadonlyMap<number, DescribedHold | Error>;
  readonly originals: ReadonlyMap<number, Transaction | Error>;
  readonly transfers: ReadonlyMap<number, Transfer | Error>;
}

/** The error of a request that its own text forbids. What a reversal needs depends on what it reverses. */
export function forbiddenTo(principal: Principal, item: BatchRequest): Error | undefined {
  if (item.type === 'reversal') return item.force === true ? forbidden(principal, 'admin') : undefined;
  if (item.type === 'transfer-reversal' && item.force === true) return forbidden(principal, 'admin');
  return forbidden(principal, scopeOf(item));
}

function scopeOf(item: Exclude<BatchRequest, { readonly type: 'reversal' }>): Scope {
  switch (item.type) {
    case 'credit':
    case 'debit':
      return MOVEMENT_SCOPES[item.type];
    case 'hold':
    case 'void':
      return 'withdrawals:write';
    case 'capture':
      return item.to ? 'transfers:write' : 'withdrawals:write';
    case 'transfer':
    case 'transfer-reversal':
      return 'transfers:write';
  }
}

function idsIn(requests: readonly BatchRequest[]) {
  const [holds, originals, transfers]: number[][] = [[], [], []];
  for (const item of requests) {
    if (item.type === 'capture' || item.type === 'void') holds?.push(item.holdId);
    else if (item.type === 'reversal') originals?.push(item.transactionId);
    else if (item.type === 'transfer-reversal') transfers?.push(item.transferId);
  }
  return { holds: holds ?? [], originals: originals ?? [], transfers: transfers ?? [] };
}

/** The accounts that requests name themselves. */
function accountsIn(requests: readonly BatchRequest[]): number[] {
  return requests.flatMap((item) => {
    if (item.type === 'transfer') return item.legs.map(({ accountId }) => accountId);
    if (item.type === 'capture') return item.to ? [item.to.accountId] : [];
    return 'accountId' in item ? [item.accountId] : [];
  });
}

/** @throws Error of a request that can't be carried out */
function prepared(item: BatchRequest, known: Known): Prepared {
  const dryRun = item.dryRun === true;
  switch (item.type) {
    case 'credit':
    case 'debit':
      refuse(known.problems.get(item.accountId));
      return { command: item, weight: 1, answer: dryRun ? dryReceipt : receipt };
    case 'hold':
      refuse(known.problems.get(item.accountId));
      return { command: item, weight: 1, answer: holdAnswer(item, 201, dryRun) };
    case 'transfer': {
      const foreign = foreignAmong(item.legs, known.problems);
      const legs = item.legs.map((leg) => ({ ...leg, foreign: foreign.has(leg.accountId) }));
      return { command: { ...item, legs }, weight: legs.length, answer: transferAnswer({ foreign }, dryRun) };
    }
    case 'capture':
      return preparedCapture(item, known);
    case 'void': {
      const { accountId, details } = found(known.holds.get(item.holdId));
      const command = { ...item, accountId };
      return { command, weight: 1, answer: holdAnswer({ accountId, details }, 200, dryRun) };
    }
    case 'reversal': {
      const { accountId, type } = found(known.originals.get(item.transactionId));
      if (type === 'credit') refuse(forbidden(known.principal, MOVEMENT_SCOPES.debit));
      if (type === 'debit') refuse(forbidden(known.principal, MOVEMENT_SCOPES.credit));
      return { command: { ...item, accountId }, weight: 1, answer: reversalAnswer(dryRun) };
    }
    case 'transfer-reversal': {
      const original = found(known.transfers.get(item.transferId));
      const answer = transferAnswer({ reversedId: item.transferId, foreign: original.foreign }, dryRun);
      return { command: reversalCommand(item, original), weight: original.legs.length, answer };
    }
  }
}

function preparedCapture(item: Extract<BatchRequest, { readonly type: 'capture' }>, known: Known): Prepared {
  const { accountId } = found(known.holds.get(item.holdId));
  const { to, dryRun = false } = item;
  if (!to) return { command: { ...item, accountId }, weight: 1, answer: dryRun ? dryReceipt : receipt };
  if (to.accountId === accountId) throw sameAccount();
  const foreign = foreignAmong([{ accountId: to.accountId, type: 'credit' }], known.problems);
  return {
    command: { ...item, accountId, to: { ...to, foreign: foreign.has(to.accountId) } },
    weight: 2,
    answer: transferAnswer({ foreign }, dryRun),
  };
}

function refuse(problem: Error | undefined): void {
  if (problem) throw problem;
}

function found<T extends object>(outcome: T | Error | undefined): T {
  if (outcome === undefined) throw new Error('was not looked up');
  if (outcome instanceof Error) throw outcome;
  return outcome;
}

function attempt(prepare: () => Prepared): PreparedItem {
  try {
    return prepare();
  } catch (error) {
    return error as Error;
  }
}

/** How a body is written when it was posted, and in a dry run. */
type Forms = readonly [posted: Written<object>, dryRun: Written<object>];
const RECEIPT: Forms = [written<object>(ReceiptDto), written(DryReceiptDto)];
const TRANSACTION: Forms = [written<object>(TransactionDto), written(DryTransactionDto)];
const TRANSFER: Forms = [written<object>(TransferDto), written(DryTransferDto)];
const HOLD: Forms = [written<object>(HoldDto), written(DryHoldDto)];

const posted = ([as]: Forms, body: object): PostedAnswer => ({ status: 201, body, as });
const rehearsed = ([, as]: Forms, body: object): PostedAnswer => ({ status: 200, body, as });
const answered = (forms: Forms, body: object, dryRun: boolean) => (dryRun ? rehearsed : posted)(forms, body);

/** The transaction of a command that posts one; those of holds that it found expired come before. */
const last = ({ transactions }: Effects) => transactions.at(-1) as Transaction;

const receipt = (effects: Effects) => posted(RECEIPT, new ReceiptDto(last(effects)));
const dryReceipt = (effects: Effects) => rehearsed(RECEIPT, new ReceiptDto(last(effects)));

const reversalAnswer = (dryRun: boolean) => (effects: Effects) =>
  answered(TRANSACTION, new TransactionDto(last(effects)), dryRun);

const transferAnswer =
  (about: AboutTransfer, dryRun: boolean) =>
  (effects: Effects): PostedAnswer => {
    const transfer = transferIn(effects, about);
    const answer = answered(TRANSFER, new TransferDto(transfer), dryRun);
    return transfer.status === 'pending' ? { ...answer, status: 202 } : answer;
  };

const holdAnswer =
  (
    { accountId, details }: Pick<DescribedHold, 'accountId'> & Partial<Pick<DescribedHold, 'details'>>,
    status: 200 | 201,
    dryRun: boolean,
  ) =>
  (effects: Effects): PostedAnswer => {
    const body = new HoldDto({ ...lastHold(effects), details }, accountIn(effects, accountId));
    // A void answers with the hold as it was placed, which a dry run knows, too.
    return status === 200 ? { status, body, as: HOLD[0] } : answered(HOLD, body, dryRun);
  };
