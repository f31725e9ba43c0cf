import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { MAX_ID } from '../../domain/account.js';
import { decodeCursor, encodeCursor, listingFor } from './cursor.js';
import { InvalidRequestError } from './invalid-request.js';

function isRefused(listing: string, cursor: string): boolean {
  try {
    decodeCursor(listing, cursor);
  } catch (error) {
    if (error instanceof InvalidRequestError && error.problems[0]?.field === 'cursor') return true;
    throw error;
  }
  return false;
}

/** Any UTF-16 code unit, lone surrogates included. (fast-check's own `binary` takes seconds to build.) */
const anyUnit = fc
  .oneof(fc.nat({ max: 0x7f }), fc.nat({ max: 0xffff }))
  .map((code) => String.fromCharCode(code));

const base64url = (text: string) => Buffer.from(text).toString('base64url');
const listing = fc.oneof(
  fc.constantFrom('accounts', 'transactions/1', 'transactions/11', 'transactions/1:1'),
  fc.integer({ min: 1, max: MAX_ID }).map((accountId) => `transactions/${accountId}`),
);
const place = fc.integer({ min: 1, max: MAX_ID });

describe('a cursor', () => {
  it('decodes to the place that it was made for, and needs no escaping in a URL', () => {
    fc.assert(
      fc.property(listing, place, (of, at) => {
        const cursor = encodeCursor(of, at);
        expect(cursor).toMatch(/^[A-Za-z0-9_-]+$/);
        expect(cursor.length).toBeLessThanOrEqual(200);
        expect(decodeCursor(of, cursor)).toBe(at);
      }),
    );
  });

  it('of another listing is refused', () => {
    fc.assert(
      fc.property(listing, listing, place, (one, other, at) => {
        fc.pre(one !== other);
        expect(isRefused(other, encodeCursor(one, at))).toBe(true);
      }),
    );
  });

  it('that was made for another owner, or for a sender who sees all accounts, is refused', () => {
    const owner = fc.option(fc.string({ minLength: 1, maxLength: 255 }), { nil: undefined });
    fc.assert(
      fc.property(owner, owner, listing, place, (one, other, of, at) => {
        fc.pre(one !== other);
        const cursor = encodeCursor(listingFor(one, of), at);
        expect(isRefused(listingFor(other, of), cursor)).toBe(true);
        expect(decodeCursor(listingFor(one, of), cursor)).toBe(at);
        expect(cursor.length).toBeLessThanOrEqual(200);
      }),
    );
  });

  it.each([
    ['nothing', ''],
    ['what is not base64', '%%%'],
    ['a bare number', '5'],
    ['base64 of anything', base64url('hello')],
    ['a listing without a place', base64url('accounts:')],
    ['place 0', base64url('accounts:0')],
    ['a negative place', base64url('accounts:-1')],
    ['a fraction', base64url('accounts:1.5')],
    ['a place beyond bigint', base64url('accounts:9223372036854775808')],
    ['SQL', base64url('accounts:1; DROP TABLE accounts')],
    ['something after the place', base64url('accounts:5\u0000')],
    ['something before the listing', base64url(' accounts:5')],
    ['of a listing with filters', encodeCursor('accounts', 5, 'type=credit')],
    ['of a listing with empty filters', base64url('accounts?:5')],
    ['a filter with a place in it', base64url('accounts?x:5:5')],
  ])('that is %s is refused', (_, cursor) => {
    expect(isRefused('accounts', cursor)).toBe(true);
  });

  it('that is arbitrary text is refused or names a place, and never fails in another way', () => {
    fc.assert(
      fc.property(fc.string({ unit: anyUnit, maxLength: 50 }), (cursor) => {
        expect(isRefused('accounts', cursor)).toBe(true);
      }),
    );
  });
});
