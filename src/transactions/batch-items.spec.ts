import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import { PayloadTooLargeException } from '@nestjs/common';
import fc from 'fast-check';
import type { PostingCommand } from '../domain/command.js';
import { readVersion } from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { BODY_LIMIT_BYTES, parseJsonBody } from '../http/validation/json-body.js';
import { batchItem } from './batch.dto.js';
import { readItem, refuseUnfit, type BatchItem } from './batch-items.js';
import { readPosting } from './transactions.dto.js';

/** The command that a single call's rules make of a body; undefined: they reject it. */
function byClassValidator(body: unknown): PostingCommand | undefined {
  try {
    const item = batchItem.explain(body);
    return {
      accountId: readVersion(item.accountId) ?? 0,
      ...readPosting(item),
      idempotencyKey: item.idempotencyKey && readIdempotencyKey(item.idempotencyKey),
    };
  } catch (error) {
    if (error instanceof InvalidRequestError) return undefined;
    throw error;
  }
}

/** Valid amounts, and some that are valid only in another field. */
const AMOUNTS = ['1', '0.01', '"49.5"', '1.50', '9999999999999999.99', '9007199254740993.07'];
const ODD_AMOUNTS = [
  '"0"',
  '0',
  '-1',
  '1e2',
  '0.001',
  '"1e2"',
  '" 1"',
  '10000000000000000',
  '"０"',
  '{"text":"5"}',
];
const INTEGERS = ['1', '"7"', '9007199254740993', '9223372036854775807'];
const ODD_INTEGERS = ['9223372036854775808', '0', '1.0', '"01"', '{"text":"5"}'];
const TYPES = ['"Deposit"', '"withdraw"', '"CREDIT"', '"debit"'];
const ODD_TYPES = ['"gift"', '"constructor"', '""'];
const KEYS = ['"k"', '"\\"k\\""', `"${'x'.repeat(255)}"`, '"\\u006b"'];
const ODD_KEYS = ['""', '"a b"', '"\\"k"', `"${'x'.repeat(256)}"`, '7'];
const ANYTHING = ['null', 'true', '[]', '{}', '"\\u0000"'];

const member = (names: string[], good: string[], odd: string[]) => {
  const value = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...good) },
    { weight: 1, arbitrary: fc.constantFrom(...odd, ...ANYTHING) },
  );
  return fc.tuple(fc.constantFrom(...names), value).map(([name, text]) => `"${name}":${text}`);
};
const amount = member(['amount', 'moneyWithdraw/Deposit'], AMOUNTS, ODD_AMOUNTS);
const type = member(['type', 'typeOfTransaction'], TYPES, ODD_TYPES);
const version = member(['expectedVersion', 'expectedversion'], INTEGERS, ODD_INTEGERS);
const account = member(['accountId'], INTEGERS, ODD_INTEGERS);
const key = member(['idempotencyKey'], KEYS, ODD_KEYS);
const unknown = member(['note', '__proto__', 'constructor', 'toString', 'Amount', 'text', ''], ['1'], []);

/** Mostly one of each field; sometimes fewer or more. */
const item = fc
  .tuple(
    fc.tuple(account, amount, type),
    fc.subarray(['version', 'key'] as const),
    fc.tuple(version, key),
    fc.oneof(
      { weight: 5, arbitrary: fc.constant([]) },
      {
        weight: 1,
        arbitrary: fc.array(fc.oneof(account, amount, type, version, key, unknown), { maxLength: 2 }),
      },
    ),
    fc.oneof({ weight: 9, arbitrary: fc.constant(-1) }, { weight: 1, arbitrary: fc.nat(2) }),
  )
  .map(([needed, given, optional, more, without]) => {
    const kept = needed.filter((_, place) => place !== without);
    const chosen = optional.filter((_, place) =>
      given.includes((['version', 'key'] as const)[place] ?? 'key'),
    );
    return `{${[...kept, ...chosen, ...more].join()}}`;
  });

describe('an item of a batch', () => {
  it('is accepted by the compiled schema exactly when a single call would accept it, with the same result', () => {
    let taken = 0;
    fc.assert(
      fc.property(item, (text) => {
        let body: unknown;
        try {
          body = parseJsonBody(text);
        } catch {
          return; // It never reaches the schema.
        }
        const expected = byClassValidator(body);
        expect({ text, taken: batchItem.isWellFormed(body) }).toEqual({
          text,
          taken: expected !== undefined,
        });
        if (!expected) return;
        taken += 1;
        expect(readItem(text)).toEqual(expected);
      }),
      { numRuns: 3_000 },
    );
    expect(taken).toBeGreaterThan(1_000);
  });

  it.each(['null', '5', '"x"', '[]', 'true', '{}', '[{"accountId":1,"amount":1,"type":"Deposit"}]'])(
    'is not %s',
    (text) => {
      expect(batchItem.isWellFormed(parseJsonBody(text))).toBe(false);
      expect(() => readItem(text)).toThrow(InvalidRequestError);
    },
  );

  it('is exact to the last digit', () => {
    const text =
      '{"accountId":"3","moneyWithdraw/Deposit":9007199254740993.07,"type":"Debit","expectedVersion":"4"}';
    expect(readItem(text)).toEqual({
      accountId: 3,
      type: 'debit',
      amount: 900_719_925_474_099_307n,
      expectedVersion: 4,
      idempotencyKey: undefined,
    });
  });

  it('over the limit of a single call is not read', () => {
    const text = '{"accountId":1,"amount":1,"type":"Deposit"}';
    expect(readItem(text.padEnd(BODY_LIMIT_BYTES))).toMatchObject({ accountId: 1 });
    expect(() => readItem(text.padEnd(BODY_LIMIT_BYTES + 1))).toThrow(PayloadTooLargeException);
  });
});

describe('refuseUnfit', () => {
  const command = (accountId: number, idempotencyKey?: string): BatchItem => ({
    accountId,
    type: 'credit',
    amount: 1n,
    idempotencyKey,
  });
  const fieldsOf = (items: readonly BatchItem[]) =>
    items.map((one) => (one instanceof InvalidRequestError ? one.problems[0]?.field : one));
  const twoShards = (accountId: number) => (accountId - 1) % 2;

  it('keeps items that fit an atomic batch', () => {
    const items = [command(1, 'k'), command(3, 'k'), command(1), command(1)];
    expect(refuseUnfit(items, twoShards)).toEqual(items);
  });

  it('rejects accounts of another shard than the first, and repeated keys', () => {
    const items = [new Error('malformed'), command(1, 'k'), command(2), command(1, 'k'), command(3)];
    expect(fieldsOf(refuseUnfit(items, twoShards))).toEqual([
      items[0],
      items[1],
      'accountId',
      'idempotencyKey',
      items[4],
    ]);
  });
});
