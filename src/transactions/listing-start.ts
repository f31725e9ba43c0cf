import { MAX_ID } from '../domain/account.js';
import { FIRST_INSTANT_MS, LAST_INSTANT_MS } from '../domain/instant.js';
import type { TransactionType } from '../domain/transaction.js';
import { decodeFilteredCursor, notOfThisListing } from '../http/validation/cursor.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import type { TransactionFilter } from '../ledger/read/ledger-reader.js';
import { TYPE_WORDS } from '../http/openapi/receipt.js';

/** Where a page of an account's transactions begins, and which of them it shows. */
export interface ListingStart {
  /** A version. */
  readonly below: number;
  readonly filter: TransactionFilter;
}

/**
 * A cursor continues the listing that it was made for, with its filters. It may be given alone or with the same filters.
 *
 * @throws InvalidRequestError when it belongs to another listing
 */
export function startOf(listing: string, cursor: string | undefined, asked: TransactionFilter): ListingStart {
  if (cursor === undefined) return { below: MAX_ID, filter: asked };
  const { place, filters } = decodeFilteredCursor(listing, cursor);
  const filter = readFilter(filters);
  if (!filter) throw notOfThisListing();
  const askedText = filterText(asked);
  if (askedText === '' || askedText === filters) return { below: place, filter };
  const shown =
    filters === '' ? 'without filters; give none' : `with ${shownAs(filter)}; give the same or none`;
  throw InvalidRequestError.of('cursor', `belongs to a listing ${shown}`);
}

/** The filter as a cursor has it: equal filters have equal texts. Empty: there is none. */
export function filterText({ type, from, to }: TransactionFilter): string {
  return joined('&', type && `type=${type}`, from && `from=${from.getTime()}`, to && `to=${to.getTime()}`);
}

const FILTER = /^(?:type=(credit|debit|hold|release))?(?:&?from=(-?\d{1,15}))?(?:&?to=(-?\d{1,15}))?$/;

/** Undefined: it is not what {@link filterText} writes. */
function readFilter(text: string): TransactionFilter | undefined {
  const [, type, from, to] = FILTER.exec(text) ?? [];
  const filter = { type: type as TransactionType | undefined, from: dateOf(from), to: dateOf(to) };
  return filterText(filter) === text ? filter : undefined;
}

/** Undefined, too: no time that a request could have. */
function dateOf(digits: string | undefined): Date | undefined {
  const time = Number(digits);
  return time >= FIRST_INSTANT_MS && time <= LAST_INSTANT_MS ? new Date(time) : undefined;
}

const shownAs = ({ type, from, to }: TransactionFilter) =>
  joined(
    ' and ',
    type && `type=${TYPE_WORDS[type]}`,
    from && `from=${from.toISOString()}`,
    to && `to=${to.toISOString()}`,
  );

const joined = (by: string, ...parts: readonly (string | undefined)[]) =>
  parts.filter((part) => part !== undefined).join(by);
