import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import { PayloadTooLargeException } from '@nestjs/common';
import fc from 'fast-check';
import type { PostingCommand } from '../domain/command.js';
import { readVersion } from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { BODY_LIMIT_BYTES, parseJsonBody } from '../http/validation/json-body.js';
import { EVERYBODY } from '../access/principal.js';
import { batchItem, itemReader, weightOf, type BatchItem, type BatchRequest } from './batch-items.js';
import type { PreparedItem } from './batch-preparation.js';
import { refuseOtherShards, refuseRepeatedKeys } from './batch.service.js';
import { readPosting } from '../transactions/transactions.dto.js';

const readItem = itemReader({ principal: EVERYBODY, dryRun: false });

/** The command that a single call's rules make of a body; undefined: they reject it. */
function byClassValidator(body: unknown): PostingCommand | undefined {
  try {
    const item = batchItem.explain(body);
    return {
      accountId: readVersion(item.accountId) ?? 0,
      ...readPosting(item, body as object),
      idempotencyKey: item.idempotencyKey && readIdempotencyKey(item.idempotencyKey),
      ...{ details: undefined, dryRun: false },
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
  '0.00001',
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
      amount: { units: 900_719_925_474_099_307n, decimals: 2 },
      amountName: 'moneyWithdraw/Deposit',
      expectedVersion: 4,
      ...{ idempotencyKey: undefined, details: undefined, dryRun: false },
    });
  });

  it('over the limit of a single call is not read', () => {
    const text = '{"accountId":1,"amount":1,"type":"Deposit"}';
    expect(readItem(text.padEnd(BODY_LIMIT_BYTES))).toMatchObject({ accountId: 1 });
    expect(() => readItem(text.padEnd(BODY_LIMIT_BYTES + 1))).toThrow(PayloadTooLargeException);
  });
});

describe('an item of each kind', () => {
  const common = { idempotencyKey: undefined, details: undefined, dryRun: false };
  const five = { units: 5n, decimals: 0 };
  const debit = { accountId: 1, type: 'debit', amount: five, expectedVersion: undefined };
  const credit = { accountId: 2, type: 'credit', amount: five, expectedVersion: undefined };

  it.each([
    [
      '{"type":"Transfer","from":1,"to":"2","amount":5}',
      { type: 'transfer', accountId: 1, legs: [debit, credit] },
      2,
    ],
    [
      '{"type":"TRANSFER","legs":[{"accountId":2,"type":"Deposit","amount":"5"},{"accountId":1,"type":"debit","amount":5}]}',
      {
        ...{ type: 'transfer', accountId: 1 },
        legs: [credit, debit].map((leg, index) => ({ ...leg, amountName: `legs[${index}].amount` })),
      },
      2,
    ],
    [
      '{"type":"hold","accountId":3,"amount":5,"expiresInSeconds":60}',
      { type: 'hold', accountId: 3, amount: five, expiresInMs: 60_000, expectedVersion: undefined },
      1,
    ],
    [
      '{"type":"Capture","holdId":"hold7"}',
      { type: 'capture', holdId: 7, amount: undefined, final: true, to: undefined },
      1,
    ],
    [
      '{"type":"Capture","holdId":"hold7","amount":"1.50","final":false,"to":2}',
      {
        type: 'capture',
        holdId: 7,
        amount: { units: 150n, decimals: 2 },
        final: false,
        to: { accountId: 2 },
      },
      2,
    ],
    ['{"type":"Void","holdId":"hold7"}', { type: 'void', holdId: 7 }, 1],
    [
      '{"type":"Reversal","transactionId":"txn7","force":true}',
      { type: 'reversal', transactionId: 7, amount: undefined, force: true },
      1,
    ],
    [
      '{"type":"Reversal","transferId":"tr7","amount":1}',
      { type: 'transfer-reversal', transferId: 7, amount: { units: 1n, decimals: 0 }, force: undefined },
      1,
    ],
  ])('%s', (text, expected, weight) => {
    const item = readItem(text);
    expect(item).toEqual({ ...common, ...expected });
    expect(weightOf(item)).toBe(weight);
  });

  it.each([
    ['{"accountId":1,"amount":"x"}', 'type'],
    ['{"accountId":1,"amount":"x","type":7}', 'type'],
    ['{"accountId":1,"typeOfTransaction":"gift"}', 'typeOfTransaction'],
    ['{"type":"constructor"}', 'type'],
    ['{"type":"Expiry","accountId":1}', 'type'],
    ['{"type":"Change","accountId":1}', 'type'],
    ['{"type":"Transfer","typeOfTransaction":"Deposit","from":1,"to":2,"amount":1}', 'typeOfTransaction'],
    ['{"type":"Transfer","from":1,"to":1,"amount":1}', 'to'],
    ['{"type":"Transfer","legs":[]}', 'legs'],
    ['{"type":"Hold","amount":1}', 'accountId'],
    ['{"type":"Capture","holdId":7}', 'holdId'],
    ['{"type":"Void","holdId":"hold7","amount":1}', 'amount'],
    ['{"type":"Reversal"}', 'transactionId'],
    ['{"type":"Reversal","transferId":"tr7","transactionId":"txn7"}', 'transactionId'],
    ['{"type":"Reversal","hasOwnProperty":1,"transactionId":"txn7"}', 'hasOwnProperty'],
  ])('%s is refused, naming %s', (text, field) => {
    expect(() => readItem(text)).toThrow(
      expect.objectContaining({ problems: [expect.objectContaining({ field })] }),
    );
  });

  it('has the details and the sender of a single request, and those of the whole batch', () => {
    const principal = { ...EVERYBODY, id: 'key:7' };
    const read = itemReader({ principal, dryRun: true });
    expect(read('{"type":"Void","holdId":"hold7","reference":"r","idempotencyKey":"k"}')).toMatchObject({
      ...{ idempotencyKey: 'k', dryRun: true, details: { reference: 'r', actor: 'key:7' } },
    });
    expect(read('{"type":"Void","holdId":"hold7"}').details).toBeUndefined();
    expect(read('{"type":"Reversal","transactionId":"txn7"}').details).toMatchObject({ actor: 'key:7' });
  });
});

describe('an atomic batch', () => {
  const common = { amount: 1n, dryRun: false };
  const deposit = (accountId: number): BatchRequest => ({ ...common, accountId, type: 'credit' });
  const fieldsOf = (items: readonly (object | Error)[]) =>
    items.map((one) => (one instanceof InvalidRequestError ? one.problems[0]?.field : one));
  const twoShards = (id: number) => (id - 1) % 2;
  const between = (from: number, to: number): BatchRequest => {
    const legs = [
      { accountId: from, type: 'debit', amount: 1n },
      { accountId: to, type: 'credit', amount: 1n },
    ] as const;
    return { type: 'transfer', accountId: from, legs };
  };

  it('holds items of one shard, which their accounts or the ids that they name tell', () => {
    const fit: BatchItem[] = [deposit(1), between(3, 5), { type: 'void', holdId: 7 }];
    expect(refuseOtherShards(fit, twoShards)).toEqual(fit);
    const items: BatchItem[] = [
      ...[
        new Error('malformed'),
        deposit(1),
        deposit(2),
        between(2, 4),
        { type: 'void' as const, holdId: 8 },
      ],
      ...[
        { type: 'reversal' as const, transactionId: 2 },
        { type: 'transfer-reversal' as const, transferId: 2 },
      ],
      between(1, 2),
      { type: 'capture', holdId: 1, final: true, to: { accountId: 2 } },
    ];
    expect(fieldsOf(refuseOtherShards(items, twoShards))).toEqual([
      ...[items[0], items[1], 'accountId', 'body', 'holdId', 'transactionId', 'transferId'],
      ...[7, 8].map(() => expect.objectContaining({ failure: { code: 'DIFFERENT_SHARDS' } }) as unknown),
    ]);
  });

  it('holds no key twice for one account, whatever uses it', () => {
    const prepared = (accountId: number, idempotencyKey?: string): PreparedItem => ({
      command: { type: 'void', holdId: 1, accountId, idempotencyKey },
      weight: 1,
      answer: () => {
        throw new Error('not carried out');
      },
    });
    const items = [prepared(1, 'k'), prepared(2, 'k'), prepared(1), prepared(1), prepared(1, 'k')];
    expect(fieldsOf(refuseRepeatedKeys(items))).toEqual([...items.slice(0, 4), 'idempotencyKey']);
  });
});
