import { PayloadTooLargeException } from '@nestjs/common';
import { keyOf } from '../domain/books.js';
import type { PostingCommand } from '../domain/command.js';
import { readVersion } from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { BODY_LIMIT_BYTES, parseJsonBody } from '../http/validation/json-body.js';
import { batchItem } from './batch.dto.js';
import { readPosting } from './transactions.dto.js';

/** Maximum number of transactions in one batch. */
export const MAX_ITEMS = 10_000;

/** A transaction to be posted, or the error of an item that can't be. */
export type BatchItem = PostingCommand | Error;

/** Reads an item from its JSON source. @throws InvalidRequestError, PayloadTooLargeException */
export function readItem(text: string): PostingCommand {
  if (Buffer.byteLength(text) > BODY_LIMIT_BYTES) throw new PayloadTooLargeException();
  const item = batchItem.read(parseJsonBody(text));
  return {
    accountId: readVersion(item.accountId) ?? 0,
    ...readPosting(item),
    idempotencyKey: item.idempotencyKey === undefined ? undefined : readIdempotencyKey(item.idempotencyKey),
  };
}

export function isCommand(item: BatchItem): item is PostingCommand {
  return !(item instanceof Error);
}

/** Replaces items that don't fit an atomic batch, because of another shard or a repeated key, with an error. */
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
