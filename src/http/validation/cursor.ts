import { createHash } from 'node:crypto';
import { InvalidRequestError } from './invalid-request.js';
import { parsePositiveInteger } from './positive-integer.js';

/** A page of a listing. */
export interface Page<T> {
  readonly data: readonly T[];
  readonly nextCursor: string | null;
}

export const DEFAULT_LIMIT = 50;
export const MAX_LIMIT = 200;

/**
 * An opaque cursor: the place after which the next page begins, and the listing that it belongs to. It contains an id
 * or a version, not an offset, so it stays right while rows are added.
 */
export function encodeCursor(listing: string, place: number): string {
  return Buffer.from(`${listing}:${place}`).toString('base64url');
}

/** The name of an owner's own listing, whose cursors nobody else can use; without an owner, of that of all accounts. */
export function listingFor(owner: string | undefined, listing: string): string {
  if (owner === undefined) return listing;
  return `${listing}/${createHash('sha256').update(owner).digest('base64url').slice(0, DIGEST_LENGTH)}`;
}

const DIGEST_LENGTH = 16;

/** @throws InvalidRequestError when it is not a cursor of this listing */
export function decodeCursor(listing: string, cursor: string): number {
  const text = Buffer.from(cursor, 'base64url').toString();
  const place = text.startsWith(`${listing}:`)
    ? parsePositiveInteger(text.slice(listing.length + 1))
    : undefined;
  if (place === undefined) throw InvalidRequestError.of('cursor', 'is not a cursor of this listing');
  return place;
}

/** Makes a page of rows. One row more than the limit was requested, to know whether another page follows. */
export function pageOf<Row, Item>(
  rows: readonly Row[],
  limit: number,
  toItem: (row: Row) => Item,
  cursorOf: (row: Row) => string,
): Page<Item> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return { data: shown.map(toItem), nextCursor: last && rows.length > limit ? cursorOf(last) : null };
}
