import { isOwner, type AccountStatus } from '../domain/account.js';
import {
  decodeFilteredCursor,
  filterWord,
  joined,
  notOfThisListing,
  readFilterWord,
} from '../http/validation/cursor.js';
import { isLine } from '../http/validation/field-rules.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import type { AccountFilter } from '../ledger/read/ledger-reader.js';

/** Where a page of accounts begins, and which of them it shows. */
export interface AccountListingStart {
  /** An id. */
  readonly after: number;
  readonly filter: AccountFilter;
}

/**
 * A cursor continues the listing that it was made for, with its filters. It may be given alone or with the same filters.
 *
 * @throws InvalidRequestError when it belongs to another listing
 */
export function startOf(
  listing: string,
  cursor: string | undefined,
  asked: AccountFilter,
): AccountListingStart {
  if (cursor === undefined) return { after: 0, filter: asked };
  const { place, filters } = decodeFilteredCursor(listing, cursor);
  const filter = readFilter(filters);
  if (!filter) throw notOfThisListing();
  const askedText = filterText(asked);
  if (askedText === '' || askedText === filters) return { after: place, filter };
  const shown =
    filters === ''
      ? 'without filters; give none'
      : `with ${joined(' and ', { ...filter })}; give the same or none`;
  throw InvalidRequestError.of('cursor', `belongs to a listing ${shown}`);
}

/** The filter as a cursor has it: equal filters have equal texts. Empty: there is none. */
export function filterText({ owner, reference, status }: AccountFilter): string {
  return joined('&', {
    owner: owner === undefined ? undefined : filterWord(owner),
    reference: reference === undefined ? undefined : filterWord(reference),
    status,
  });
}

const FILTER =
  /^(?:owner=([\w-]+))?(?:&?reference=([\w-]+))?(?:&?status=(open|debits_blocked|frozen|closed))?$/;

/** Undefined: it is not what {@link filterText} writes. */
function readFilter(text: string): AccountFilter | undefined {
  const [, ownerWord, referenceWord, status] = FILTER.exec(text) ?? [];
  const [owner, reference] = [readFilterWord(ownerWord), readFilterWord(referenceWord)];
  const filter = {
    owner: owner !== undefined && isOwner(owner) ? owner : undefined,
    reference: isLine(reference, 255) ? reference : undefined,
    status: status as AccountStatus | undefined,
  };
  return filterText(filter) === text ? filter : undefined;
}
