import { PayloadTooLargeException } from '@nestjs/common';
import { Ajv } from 'ajv';
import { keyOf } from '../domain/decide-batch.js';
import type { PostingCommand } from '../domain/transaction.js';
import { DtoPipe } from '../http/validation/dto.pipe.js';
import {
  IsAccountId,
  IsIdempotencyKey,
  IsOptionalField,
  readAmount,
  readVersion,
  type Numeric,
} from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { BODY_LIMIT_BYTES, parseJsonBody } from '../http/validation/json-body.js';
import { PostTransactionDto, isTypeWord, readPosting } from './transactions.dto.js';

/** Transactions in one batch. */
export const MAX_ITEMS = 10_000;

/** One transaction of a batch: a single call's body, and what that has in its path and headers. */
export class BatchItemDto extends PostTransactionDto {
  @IsAccountId()
  accountId!: Numeric;

  @IsOptionalField()
  @IsIdempotencyKey()
  idempotencyKey?: string;
}

/** A transaction to be posted, or what is wrong with what stands in its place. */
export type BatchItem = PostingCommand | Error;

/** An item by any of its names. */
type NamedItem = Partial<Record<keyof typeof FIELDS, unknown>>;

const pipe = new DtoPipe(BatchItemDto);

const RULES = {
  amount: (value: unknown) => readAmount(value) !== undefined,
  positiveInteger: (value: unknown) => readVersion(value) !== undefined,
  type: (value: unknown) => typeof value === 'string' && isTypeWord(value),
  key: (value: unknown) => typeof value === 'string' && readIdempotencyKey(value) !== undefined,
};

const FIELDS = {
  accountId: { is: 'positiveInteger' },
  amount: { is: 'amount' },
  'moneyWithdraw/Deposit': { is: 'amount' },
  type: { is: 'type' },
  typeOfTransaction: { is: 'type' },
  expectedVersion: { is: 'positiveInteger' },
  expectedversion: { is: 'positiveInteger' },
  idempotencyKey: { is: 'key' },
} as const;

const oneOf = (...names: (keyof typeof FIELDS)[]) => ({ oneOf: names.map((name) => ({ required: [name] })) });

/**
 * What {@link BatchItemDto} and its pipe accept, compiled: a tenth of their cost. What it does not accept goes to them
 * all the same, for they can say why. A test compares the two.
 */
export const isWellFormed = new Ajv()
  .addKeyword({ keyword: 'is', compile: (rule: keyof typeof RULES) => RULES[rule] })
  .compile<NamedItem>({
    type: 'object',
    properties: FIELDS,
    additionalProperties: false,
    required: ['accountId'],
    allOf: [
      oneOf('amount', 'moneyWithdraw/Deposit'),
      oneOf('type', 'typeOfTransaction'),
      { not: { required: ['expectedVersion', 'expectedversion'] } },
    ],
  });

/** Reads an item from its JSON source. @throws InvalidRequestError, PayloadTooLargeException */
export function readItem(text: string): PostingCommand {
  if (Buffer.byteLength(text) > BODY_LIMIT_BYTES) throw new PayloadTooLargeException();
  const body = parseJsonBody(text);
  return commandOf(isWellFormed(body) ? shortNamed(body) : pipe.transform(body));
}

function shortNamed(item: NamedItem): BatchItemDto {
  return {
    accountId: item.accountId,
    amount: item.amount ?? item['moneyWithdraw/Deposit'],
    type: item.type ?? item.typeOfTransaction,
    expectedVersion: item.expectedVersion ?? item.expectedversion,
    idempotencyKey: item.idempotencyKey,
  } as BatchItemDto;
}

function commandOf(item: BatchItemDto): PostingCommand {
  const { accountId, idempotencyKey } = item;
  return {
    accountId: readVersion(accountId) ?? 0,
    ...readPosting(item),
    idempotencyKey: idempotencyKey === undefined ? undefined : readIdempotencyKey(idempotencyKey),
  };
}

export function isCommand(item: BatchItem): item is PostingCommand {
  return !(item instanceof Error);
}

/** Puts what is wrong in the place of items that no atomic batch can have: of another shard, or with a key once more. */
export function refuseUnfit(
  items: readonly BatchItem[],
  shardOf: (accountId: number) => number,
): readonly BatchItem[] {
  const first = items.find(isCommand);
  const shard = first && shardOf(first.accountId);
  const keys = new Set<string>();
  return items.map((item) => {
    if (!isCommand(item)) return item;
    if (shardOf(item.accountId) !== shard) return InvalidRequestError.of('accountId', OTHER_SHARD);
    if (item.idempotencyKey === undefined) return item;
    const key = keyOf(item.accountId, item.idempotencyKey);
    if (keys.has(key)) return InvalidRequestError.of('idempotencyKey', KEY_TWICE);
    keys.add(key);
    return item;
  });
}

const OTHER_SHARD = 'is in another shard than the first account: an atomic batch stays within one shard';
const KEY_TWICE = 'is given twice in an atomic batch';
