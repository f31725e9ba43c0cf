import { isOwner, type AccountStatus } from '../domain/account.js';
import { continued, filterWord, joined, readFilterWord, type FilterForm } from '../http/validation/cursor.js';
import { isLine } from '../http/validation/field-rules.js';
import type { AccountFilter } from '../ledger/read/ledger-reader.js';

/** Where a page of accounts begins, and which of them it shows. */
export interface AccountListingStart {
  /** An id. */
  readonly after: number;
  readonly filter: AccountFilter;
}

/** @throws InvalidRequestError when the cursor belongs to another listing */
export function startOf(
  listing: string,
  cursor: string | undefined,
  asked: AccountFilter,
): AccountListingStart {
  if (cursor === undefined) return { after: 0, filter: asked };
  const { place, filter } = continued(listing, cursor, asked, FORM);
  return { after: place, filter };
}

/** The filter as a cursor has it: equal filters have equal texts. Empty: there is none. */
export function filterText({ owner, reference, status, currency }: AccountFilter): string {
  return joined('&', {
    owner: owner === undefined ? undefined : filterWord(owner),
    reference: reference === undefined ? undefined : filterWord(reference),
    status,
    currency,
  });
}

const FILTER =
  /^(?:owner=([\w-]+))?(?:&?reference=([\w-]+))?(?:&?status=(open|debits_blocked|frozen|closed))?(?:&?currency=([A-Z]{3}))?$/;

/** Undefined: it is not what {@link filterText} writes. */
function readFilter(text: string): AccountFilter | undefined {
  const [, ownerWord, referenceWord, status, currency] = FILTER.exec(text) ?? [];
  const [owner, reference] = [readFilterWord(ownerWord), readFilterWord(referenceWord)];
  const filter = {
    owner: owner !== undefined && isOwner(owner) ? owner : undefined,
    reference: isLine(reference, 255) ? reference : undefined,
    status: status as AccountStatus | undefined,
    currency,
  };
  return filterText(filter) === text ? filter : undefined;
}

const FORM: FilterForm<AccountFilter> = {
  write: filterText,
  read: readFilter,
  show: (filter) => joined(' and ', { ...filter }),
};
