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

const FILTERS_AND_PLACE = /^(?:\?([^:]+))?:(\d+)$/;

export const notOfThisListing = () => InvalidRequestError.of('cursor', 'is not a cursor of this listing');
