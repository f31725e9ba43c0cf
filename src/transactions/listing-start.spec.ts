import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { MAX_ID } from '../domain/account.js';
import { encodeCursor, listingFor } from '../http/validation/cursor.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import type { TransactionFilter } from '../ledger/read/ledger-reader.js';
import { filterText, startOf } from './listing-start.js';

const LISTING = 'transactions/1';

/** The problem with a cursor. */
function refusal(cursor: string, asked: TransactionFilter = {}): string | undefined {
  try {
    startOf(LISTING, cursor, asked);
  } catch (error) {
    if (error instanceof InvalidRequestError && error.problems[0]?.field === 'cursor') {
      return error.problems[0].message;
    }
    throw error;
  }
  return undefined;
}

const instant = fc.date({
  min: new Date('0000-01-01T00:00:00Z'),
  max: new Date('9999-12-31T23:59:59.999Z'),
  noInvalidDate: true,
});
const filter: fc.Arbitrary<TransactionFilter> = fc.record(
  { type: fc.constantFrom('credit', 'debit'), from: instant, to: instant },
  { requiredKeys: [] },
);
const place = fc.integer({ min: 1, max: MAX_ID });
const ASKED_NOTHING: TransactionFilter = {};

describe('startOf', () => {
  it('continues a listing with its filters, given again or not', () => {
    fc.assert(
      fc.property(filter, place, (asked, below) => {
        const cursor = encodeCursor(LISTING, below, filterText(asked));
        for (const again of [asked, ASKED_NOTHING]) {
          const start = startOf(LISTING, cursor, again);
          expect(start.below).toBe(below);
          expect(filterText(start.filter)).toBe(filterText(asked));
        }
      }),
    );
  });

  it('refuses other filters, and filters for a listing without', () => {
    fc.assert(
      fc.property(filter, filter, place, (made, asked, below) => {
        fc.pre(filterText(asked) !== '' && filterText(asked) !== filterText(made));
        expect(refusal(encodeCursor(LISTING, below, filterText(made)), asked)).toContain(
          'belongs to a listing',
        );
      }),
    );
  });

  it('says which filters it belongs to', () => {
    const cursor = (made: TransactionFilter) => encodeCursor(LISTING, 5, filterText(made));
    const from = new Date('2025-05-02T10:24:02Z');
    expect(refusal(cursor({ type: 'credit', from }), { type: 'debit' })).toBe(
      'belongs to a listing with type=Deposit and from=2025-05-02T10:24:02.000Z; give the same or none',
    );
    expect(refusal(cursor({}), { type: 'debit' })).toBe('belongs to a listing without filters; give none');
  });

  it('writes cursors without filters as they always were', () => {
    expect(encodeCursor(LISTING, 5, filterText({}))).toBe(
      Buffer.from('transactions/1:5').toString('base64url'),
    );
  });

  it('writes no cursor longer than a request may have', () => {
    const longest = encodeCursor(
      listingFor('ada', `transactions/${MAX_ID}`),
      MAX_ID,
      filterText({ type: 'credit', from: new Date('0000-01-01'), to: new Date('0000-01-01') }),
    );
    expect(longest.length).toBeLessThanOrEqual(200);
  });

  it.each([
    'type=gift',
    'type=',
    'type=credit&',
    '&type=credit',
    'type=credit&type=debit',
    'from=1&type=credit',
    'to=1&from=1',
    'from=01',
    'from=-0',
    'from=1.5',
    'from=1e3',
    'from=253402387140001',
    'from=999999999999999',
    'to=-62167305540001',
    'from=x',
    'order=1',
    'type=credit\u0000',
    "type=credit' OR 1=1--",
  ])('refuses a cursor with the filters %j', (filters) => {
    expect(refusal(encodeCursor(LISTING, 5, filters))).toBe('is not a cursor of this listing');
  });
});
