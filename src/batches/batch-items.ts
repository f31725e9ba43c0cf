import { PayloadTooLargeException } from '@nestjs/common';
import type { Principal } from '../access/principal.js';
import { MAX_ID } from '../domain/account.js';
import type { HoldCommand, PostingCommand, TransferCommand } from '../domain/command.js';
import type { TransferReversal } from '../domain/transfer.js';
import type { CaptureRequest, VoidRequest } from '../holds/holds.dto.js';
import { readExpiry } from '../holds/holds.dto.js';
import { Contract, isJsonObject, type DtoClass } from '../http/validation/contract.js';
import { readDetails, type DetailsDto } from '../http/validation/details.dto.js';
import {
  readAmount,
  readHoldId,
  readTransactionId,
  readTransferId,
  readVersion,
} from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { BODY_LIMIT_BYTES, parseJsonBody } from '../http/validation/json-body.js';
import { MOVEMENT_WORDS } from '../http/validation/movements.js';
import { readPosting, type Reversal } from '../transactions/transactions.dto.js';
import { eitherForm, payerOf, readLegs } from '../transfers/transfers.dto.js';
import {
  BatchCaptureDto,
  BatchHoldDto,
  BatchItemDto,
  BatchLegsDto,
  BatchReversalDto,
  BatchTransferDto,
  BatchTransferReversalDto,
  BatchVoidDto,
} from './batch.dto.js';

/** Maximum number of items of one batch, and of transactions that they post: a transfer counts as its legs. */
export const MAX_ITEMS = 10_000;

/** What an item asks for, before it is known which accounts that concerns. */
export type BatchRequest =
  PostingCommand | TransferCommand | HoldCommand | CaptureRequest | VoidRequest | Reversal | TransferReversal;

/** A request, or the error of an item that is none. */
export type BatchItem = BatchRequest | Error;

/** What all items of a batch have in common. */
export interface OfBatch {
  readonly principal: Principal;
  readonly dryRun: boolean;
}

/** Reads an item from its JSON source. @throws InvalidRequestError, PayloadTooLargeException */
export type ReadItem = (text: string) => BatchRequest;

export const itemReader =
  (batch: OfBatch): ReadItem =>
  (text) => {
    if (Buffer.byteLength(text) > BODY_LIMIT_BYTES) throw new PayloadTooLargeException();
    const input = parseJsonBody(text);
    return kindOf(input)(input, batch);
  };

export function isRequest(item: BatchItem): item is BatchRequest {
  return !(item instanceof Error);
}

/** How many transactions an item counts as, as far as its own text tells. */
export function weightOf(item: BatchItem): number {
  if (!isRequest(item)) return 1;
  if (item.type === 'transfer') return item.legs.length;
  return item.type === 'capture' && item.to ? 2 : 1;
}

/** The numbers of accounts, or of other things that are in the same shard as their account, and where they are named. */
export function namedIn(item: BatchRequest): { readonly field: string; readonly ids: readonly number[] } {
  switch (item.type) {
    case 'transfer':
      return { field: 'body', ids: item.legs.map(({ accountId }) => accountId) };
    case 'capture':
      return { field: 'holdId', ids: item.to ? [item.holdId, item.to.accountId] : [item.holdId] };
    case 'void':
      return { field: 'holdId', ids: [item.holdId] };
    case 'reversal':
      return { field: 'transactionId', ids: [item.transactionId] };
    case 'transfer-reversal':
      return { field: 'transferId', ids: [item.transferId] };
    case 'credit':
    case 'debit':
    case 'hold':
      return { field: 'accountId', ids: [item.accountId] };
  }
}

/** Reads the items of one kind. */
type Kind = (input: unknown, batch: OfBatch) => BatchRequest;

interface ItemBody extends DetailsDto {
  readonly idempotencyKey?: string;
}

interface Body<T> {
  read(input: unknown): T;
}

/** @param signed whether it records its sender even if the client says nothing */
function kind<T extends ItemBody, R extends object>(
  body: Body<T>,
  read: (item: T, input: object) => R,
  signed = false,
) {
  return (input: unknown, { principal, dryRun }: OfBatch) => {
    const item = body.read(input);
    const { idempotencyKey: key } = item;
    return {
      ...read(item, input as object),
      idempotencyKey: key === undefined ? undefined : readIdempotencyKey(key),
      details: readDetails(item, principal, signed),
      dryRun,
    };
  };
}

const of = <T extends object>(dtoClass: DtoClass<T>) => new Contract(dtoClass);

export const batchItem = of(BatchItemDto);

const posting = kind(batchItem, (item, input): PostingCommand => ({
  accountId: readVersion(item.accountId) ?? MAX_ID,
  ...readPosting(item, input),
}));

const transfer = kind(eitherForm(of(BatchTransferDto), of(BatchLegsDto)), (item): TransferCommand => {
  const legs = readLegs(item);
  return { type: 'transfer', accountId: payerOf(legs), legs };
});

const hold = kind(of(BatchHoldDto), (item): HoldCommand => ({
  ...{ type: 'hold', accountId: readVersion(item.accountId) ?? MAX_ID },
  ...{ amount: readAmount(item.amount) ?? 0n, expectedVersion: readVersion(item.expectedVersion) },
  ...readExpiry(item),
}));

const capture = kind(of(BatchCaptureDto), ({ holdId, amount, final = true, to }): CaptureRequest => ({
  ...{ type: 'capture', holdId: readHoldId(holdId) ?? MAX_ID, amount: readAmount(amount), final },
  to: to === undefined ? undefined : { accountId: readVersion(to) ?? MAX_ID },
}));

const voiding = kind(of(BatchVoidDto), ({ holdId }): VoidRequest => ({
  ...{ type: 'void', holdId: readHoldId(holdId) ?? MAX_ID },
}));

const ofTransaction = kind(
  of(BatchReversalDto),
  ({ transactionId, amount, force }): Reversal => ({
    ...{ type: 'reversal', transactionId: readTransactionId(transactionId) ?? MAX_ID },
    ...{ amount: readAmount(amount), force },
  }),
  true,
);

const ofTransfer = kind(
  of(BatchTransferReversalDto),
  ({ transferId, amount, force }): TransferReversal => ({
    ...{ type: 'transfer-reversal', transferId: readTransferId(transferId) ?? MAX_ID },
    ...{ amount: readAmount(amount), force },
  }),
  true,
);

const reversal: Kind = (input, batch) =>
  'transferId' in (input as object) ? ofTransfer(input, batch) : ofTransaction(input, batch);

const WORDS = [...MOVEMENT_WORDS, 'Transfer', 'Hold', 'Capture', 'Void', 'Reversal'];

/** By the type, in lower case. */
const KINDS: ReadonlyMap<string, Kind> = new Map([
  ...MOVEMENT_WORDS.map((word) => [word.toLowerCase(), posting] as const),
  ...[['transfer', transfer] as const, ['hold', hold] as const, ['capture', capture] as const],
  ...[['void', voiding] as const, ['reversal', reversal] as const],
]);

/** @throws InvalidRequestError for an input without a known type */
function kindOf(input: unknown): Kind {
  // The contract says what is wrong with what is no object.
  if (!isJsonObject(input)) return posting;
  const { type, typeOfTransaction } = input as Readonly<Record<string, unknown>>;
  const word = type ?? typeOfTransaction;
  const known = typeof word === 'string' ? KINDS.get(word.toLowerCase()) : undefined;
  if (known) return known;
  const field = type === undefined && typeOfTransaction !== undefined ? 'typeOfTransaction' : 'type';
  throw InvalidRequestError.of(field, `must be one of: ${WORDS.join(', ').toLowerCase()} (in any case)`);
}
