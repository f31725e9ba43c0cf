import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import type { AnnouncedTransaction } from '../domain/ledger-event.js';
import { MAX_MONEY } from '../domain/money.js';
import { readBankEvent } from './bank-event.js';
import { transactionPostedJson } from './transaction-posted.js';

const ajv = new Ajv2020();
const [isV1, isV2] = [1, 2].map((version) => {
  const schema = readFileSync(`docs/events/transaction.posted.v${version}.schema.json`, 'utf8');
  return ajv.compile(JSON.parse(schema) as object);
});

/** By the schema of its version; and who reads what a broker delivers must be of the same opinion. */
function isValid(event: unknown): boolean {
  const isOfSchema = isV1?.(event) === true || isV2?.(event) === true;
  expect(readBankEvent(JSON.stringify(event)) !== undefined).toBe(isOfSchema);
  return isOfSchema;
}

const BANK = '2b5d74f1-4b36-41ad-9d3c-0123456789ab';

const TRANSACTION: AnnouncedTransaction = {
  transactionId: 131,
  timestamp: new Date('2026-05-01T12:00:00.123Z'),
  accountId: 7,
  type: 'debit',
  amount: 4_950n,
  balanceAfter: 35_000n,
  heldAfter: 0n,
  versionAfter: 3,
  decimals: 2,
  idempotencyKey: 'key-1',
};

const EVENT = {
  specversion: '1.0',
  id: 'txn131',
  source: `urn:uuid:${BANK}`,
  type: 'transaction.posted.v1',
  subject: 'accounts/7',
  time: '2026-05-01T12:00:00.123Z',
  sequence: '3',
  datacontenttype: 'application/json',
  data: {
    transactionId: 'txn131',
    accountId: 7,
    type: 'Withdraw',
    amount: '49.50',
    balance: '350.00',
    version: 3,
    idempotencyKey: 'key-1',
  },
};

const eventOf = (changes: Partial<AnnouncedTransaction> = {}) =>
  JSON.parse(transactionPostedJson({ ...TRANSACTION, ...changes }, BANK)) as typeof EVENT;

describe('transaction.posted', () => {
  it('is the transaction as a CloudEvent', () => {
    expect(eventOf()).toEqual(EVENT);
  });

  it('of a plain transaction has no more than that, also where something is on hold', () => {
    const text =
      `{"specversion":"1.0","id":"txn131","source":"urn:uuid:${BANK}","type":"transaction.posted.v1",` +
      '"subject":"accounts/7","time":"2026-05-01T12:00:00.123Z","sequence":"3","datacontenttype":"application/json",' +
      '"data":{"transactionId":"txn131","accountId":7,"type":"Withdraw","amount":"49.50","balance":"350.00",' +
      '"version":3,"idempotencyKey":"key-1"}}';
    expect(transactionPostedJson(TRANSACTION, BANK)).toBe(text);
    expect(transactionPostedJson({ ...TRANSACTION, heldAfter: 5n }, BANK)).toBe(text);
  });

  it('says what the transaction belongs to, and no more of its details than can stay public', () => {
    const details = {
      reference: 'a "b"',
      effectiveDate: '2026-05-01',
      description: 'd',
      metadata: '{}',
      actor: 'x',
    };
    const { type, data } = eventOf({ transferId: 130, holdId: 12, reversesId: 9, details });
    expect(type).toBe('transaction.posted.v1');
    const belongs = { transferId: 'tr130', holdId: 'hold12', reverses: 'txn9' };
    expect(data).toEqual({ ...EVENT.data, ...belongs, reference: 'a "b"', effectiveDate: '2026-05-01' });
    expect(eventOf({ details: { actor: 'x', digest: 'ab' } })).toEqual(EVENT);
  });

  it.each([
    ['a hold', { type: 'hold', heldAfter: 4_950n }, { type: 'Hold', held: '49.50' }],
    ['a release', { type: 'release' }, { type: 'Release', held: '0.00' }],
    ['an overdraft', { balanceAfter: -5n }, { balance: '-0.05', held: '0.00' }],
  ] as const)('is of version 2 for %s', (_what, changes, members) => {
    const event = eventOf(changes);
    const v2 = { ...EVENT, type: 'transaction.posted.v2', data: { ...EVENT.data, ...members } };
    expect(event).toEqual(v2);
    expect(isValid(event)).toBe(true);
    expect(isValid({ ...event, type: 'transaction.posted.v1' })).toBe(false);
  });

  it.each([
    [
      { currency: 'JPY', decimals: 0 },
      { amount: '4950', balance: '35000', held: '0', currency: 'JPY' },
    ],
    [
      { currency: 'KWD', decimals: 3 },
      { amount: '4.950', balance: '35.000', held: '0.000', currency: 'KWD' },
    ],
    [{ currency: 'EUR' }, { held: '0.00', currency: 'EUR' }],
  ])("is of version 2 for a currency that is not the bank's, and names it: %j", (changes, members) => {
    const event = eventOf(changes);
    const v2 = { ...EVENT, type: 'transaction.posted.v2', data: { ...EVENT.data, ...members } };
    expect(event).toEqual(v2);
    expect(isValid(event)).toBe(true);
    expect(isV1?.({ ...event, type: 'transaction.posted.v1' })).toBe(changes.currency === 'EUR');
  });

  it('has no key where the request had none', () => {
    expect(eventOf({ idempotencyKey: undefined }).data).not.toHaveProperty('idempotencyKey');
  });

  it('keeps to its schema, whatever the transaction', () => {
    const key = fc.string({
      minLength: 1,
      maxLength: 255,
      unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
    });
    const transactions = fc.record({
      transactionId: fc.maxSafeNat().filter((id) => id > 0),
      accountId: fc.maxSafeNat().filter((id) => id > 0),
      timestamp: fc.date({ min: new Date('1970-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }),
      type: fc.constantFrom('credit' as const, 'debit' as const, 'hold' as const, 'release' as const),
      amount: fc.bigInt({ min: 1n, max: MAX_MONEY }),
      balanceAfter: fc.bigInt({ min: -MAX_MONEY, max: MAX_MONEY }),
      heldAfter: fc.bigInt({ min: 0n, max: MAX_MONEY }),
      transferId: fc.option(
        fc.maxSafeNat().filter((id) => id > 0),
        { nil: undefined },
      ),
      versionAfter: fc.maxSafeNat().filter((version) => version > 1),
      idempotencyKey: fc.option(key, { nil: undefined }),
    });
    fc.assert(
      fc.property(transactions, (transaction) => {
        const event = eventOf(transaction);
        expect(isValid(event)).toBe(true);
        expect(event.data.idempotencyKey).toBe(transaction.idempotencyKey);
      }),
    );
  });
});

describe('what a broker delivers', () => {
  it('is read as the event that it is', () => {
    expect(readBankEvent(JSON.stringify(EVENT))).toEqual(EVENT);
    expect(JSON.stringify(readBankEvent(JSON.stringify(EVENT)))).toBe(JSON.stringify(EVENT));
  });

  it('is left out where it is endless, or too deep to be printed', () => {
    const deep = (levels: number): unknown => (levels === 0 ? 1 : [deep(levels - 1)]);
    expect(readBankEvent(JSON.stringify({ ...EVENT, more: deep(10) }))).toBeDefined();
    expect(readBankEvent(JSON.stringify({ ...EVENT, more: deep(20) }))).toBeUndefined();
    const text = JSON.stringify({ ...EVENT, more: 0 });
    const nested = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
    expect(readBankEvent(text.replace('"more":0', `"more":${nested}`))).toBeUndefined();
    expect(readBankEvent(JSON.stringify({ ...EVENT, more: 'x'.repeat(100_000) }))).toBeUndefined();
  });

  it.each(['', 'x', '{', 'null', '[]', '"x"', '{}', '\0'])('is left out where it is %j', (text) => {
    expect(readBankEvent(text)).toBeUndefined();
  });
});

describe('the schema of transaction.posted', () => {
  it('accepts the event, also with members that it does not know', () => {
    expect(isValid(EVENT)).toBe(true);
    expect(isValid({ ...EVENT, partitionkey: '7', data: { ...EVENT.data, note: '' } })).toBe(true);
  });

  it.each(Object.keys(EVENT).filter((member) => member !== 'sequence'))(
    'refuses an event without %s',
    (member) => {
      expect(isValid({ ...EVENT, [member]: undefined })).toBe(false);
    },
  );

  it.each(Object.keys(EVENT.data).filter((member) => member !== 'idempotencyKey'))(
    'refuses data without %s',
    (member) => {
      expect(isValid({ ...EVENT, data: { ...EVENT.data, [member]: undefined } })).toBe(false);
    },
  );

  it.each([
    ['specversion', '0.3'],
    ['id', 131],
    ['id', 'txn0'],
    ['source', BANK],
    ['type', 'transaction.posted.v2'],
    ['type', 'transaction.posted.v3'],
    ['subject', 'accounts/0'],
    ['time', '2026-05-01 12:00:00'],
    ['datacontenttype', 'text/plain'],
  ])('refuses an event whose %s is %j', (member, value) => {
    expect(isValid({ ...EVENT, [member]: value })).toBe(false);
  });

  it.each([
    ['transactionId', '131'],
    ['accountId', '7'],
    ['accountId', 0],
    ['type', 'credit'],
    ['amount', 49.5],
    ['amount', '49.5'],
    ['amount', '-49.50'],
    ['balance', '1e3'],
    ['balance', '-1.00'],
    ['transferId', '7'],
    ['holdId', 'txn7'],
    ['reverses', 7],
    ['reference', ''],
    ['effectiveDate', 'today'],
    ['balance', '12345678901234567.00'],
    ['version', '3'],
    ['version', 1],
    ['version', 2.5],
    ['idempotencyKey', ''],
  ])('refuses data whose %s is %j', (member, value) => {
    expect(isValid({ ...EVENT, data: { ...EVENT.data, [member]: value } })).toBe(false);
  });
});
