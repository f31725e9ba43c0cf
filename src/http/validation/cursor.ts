import { createHash } from 'node:crypto';
import { InvalidRequestError } from './invalid-request.js';
import { parsePositiveInteger } from './positive-integer.js';

export const DEFAULT_LIMIT = 50;
export const MAX_LIMIT = 200;

/** Where a page begins, and what its listing shows. */
export interface Start {
  readonly place: number;
  /** As the cursor has them: input, like the cursor itself. Empty: none. */
  readonly filters: string;
}

/**
 * An opaque cursor: the place after which the next page begins, and the listing that it belongs to, with its filters. It
 * contains an id or a version, not an offset, so it stays right while rows are added.
 *
 * @param filters any text without a colon
 */
export function encodeCursor(listing: string, place: number, filters = ''): string {
  return Buffer.from(`${listing}${filters && `?${filters}`}:${place}`).toString('base64url');
}

/** Those of several parts that are defined, each as `name=value`. */
export const joined = (by: string, parts: Readonly<Record<string, string | number | undefined>>): string =>
  Object.entries(parts)
    .flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
    .join(by);

/** Any text in a form that filters may have. */
export const filterWord = (text: string): string => Buffer.from(text).toString('base64url');

/** Undefined, too: it is not what {@link filterWord} writes. */
export function readFilterWord(word: string | undefined): string | undefined {
  const text = Buffer.from(word ?? '', 'base64url').toString();
  return text !== '' && filterWord(text) === word ? text : undefined;
}

/** The name of an owner's own listing, whose cursors nobody else can use; without an owner, of that of all accounts. */
export function listingFor(owner: string | undefined, listing: string): string {
  if (owner === undefined) return listing;
  return `${listing}/${createHash('sha256').update(owner).digest('base64url').slice(0, DIGEST_LENGTH)}`;
}

const DIGEST_LENGTH = 16;

/** @throws InvalidRequestError when it is not a cursor of this listing without filters */
export function decodeCursor(listing: string, cursor: string): number {
  const { place, filters } = decodeFilteredCursor(listing, cursor);
  if (filters !== '') throw notOfThisListing();
  return place;
}

/** @throws InvalidRequestError when it is not a cursor of this listing, with whatever filters */
export function decodeFilteredCursor(listing: string, cursor: string): Start {
  const bytes = Buffer.from(cursor, 'base64url');
  const text = bytes.toString();
  // The decoder skips what is not base64url.
  if (bytes.toString('base64url') !== cursor) throw notOfThisListing();
  const rest = text.startsWith(listing) ? text.slice(listing.length) : '';
  const [, filters = '', digits = ''] = FILTERS_AND_PLACE.exec(rest) ?? [];
  const place = parsePositiveInteger(digits);
  if (place === undefined) throw notOfThisListing();
  return { place, filters };
}

/** How the filters of a listing are written. */
export interface FilterForm<F> {
  /** As a cursor has them: equal filters have equal texts. Empty: there are none. */
  readonly write: (filter: F) => string;
  /** Undefined: it is not what `write` writes. */
  readonly read: (text: string) => F | undefined;
  /** As a client gives them. */
  readonly show: (filter: F) => string;
}

/**
 * A cursor continues the listing that it was made for, with its filters. It may be given alone or with the same filters.
 *
 * @throws InvalidRequestError when it belongs to another listing
 */
export function continued<F>(
  listing: string,
  cursor: string,
  asked: F,
  { write, read, show }: FilterForm<F>,
): { readonly place: number; readonly filter: F } {
  const { place, filters } = decodeFilteredCursor(listing, cursor);
  const filter = read(filters);
  if (!filter) throw notOfThisListing();
  const askedText = write(asked);
  if (askedText === '' || askedText === filters) return { place, filter };
  const shown = filters === '' ? 'without filters; give none' : `with ${show(filter)}; give the same or none`;
  throw InvalidRequestError.of('cursor', `belongs to a listing ${shown}`);
}

const FILTERS_AND_PLACE = /^(?:\?([^:]+))?:(\d+)$/;

export const notOfThisListing = () => InvalidRequestError.of('cursor', 'is not a cursor of this listing');
