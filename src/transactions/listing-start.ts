import { MAX_ID } from '../domain/account.js';
import { FIRST_INSTANT_MS, LAST_INSTANT_MS } from '../domain/instant.js';
import type { TransactionType } from '../domain/transaction.js';
import { continued, filterWord, joined, readFilterWord, type FilterForm } from '../http/validation/cursor.js';
import { isLine } from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import type { TransactionFilter } from '../ledger/read/ledger-reader.js';
import { TYPE_WORDS } from '../http/openapi/receipt.js';

/** Where a page of an account's transactions begins, and which of them it shows. */
export interface ListingStart {
  /** A version. */
  readonly below: number;
  readonly filter: TransactionFilter;
}

/** @throws InvalidRequestError when the cursor belongs to another listing */
export function startOf(listing: string, cursor: string | undefined, asked: TransactionFilter): ListingStart {
  if (cursor === undefined) return { below: MAX_ID, filter: asked };
  const { place, filter } = continued(listing, cursor, asked, FORM);
  return { below: place, filter };
}

/** The filter as a cursor has it: equal filters have equal texts. Empty: there is none. */
export function filterText(filter: TransactionFilter): string {
  const { type, from, to, minAmount, maxAmount, reference, idempotencyKey } = filter;
  return joined('&', {
    type,
    from: from?.getTime(),
    to: to?.getTime(),
    min: minAmount,
    max: maxAmount,
    reference: reference === undefined ? undefined : filterWord(reference),
    key: idempotencyKey === undefined ? undefined : filterWord(idempotencyKey),
  });
}

const PARTS = [
  'type=(credit|debit|hold|release)',
  ...['from', 'to'].map((name) => `${name}=(-?\\d{1,15})`),
  ...['min', 'max'].map((name) => `${name}=(\\d{1,16}\\.\\d{2,4})`),
  ...['reference', 'key'].map((name) => `${name}=([\\w-]+)`),
];
const FILTER = new RegExp(`^${PARTS.map((part) => `(?:&?${part})?`).join('')}$`);

/** Undefined: it is not what {@link filterText} writes. */
function readFilter(text: string): TransactionFilter | undefined {
  const [, type, from, to, min, max, reference, key] = FILTER.exec(text) ?? [];
  const filter = {
    type: type as TransactionType | undefined,
    from: dateOf(from),
    to: dateOf(to),
    minAmount: min,
    maxAmount: max,
    reference: lineOf(readFilterWord(reference)),
    idempotencyKey: readIdempotencyKey(readFilterWord(key) ?? ''),
  };
  return filterText(filter) === text ? filter : undefined;
}

/** Undefined, too: no time that a request could have. */
function dateOf(digits: string | undefined): Date | undefined {
  const time = Number(digits);
  return time >= FIRST_INSTANT_MS && time <= LAST_INSTANT_MS ? new Date(time) : undefined;
}

const lineOf = (text: string | undefined) => (isLine(text, 255) ? text : undefined);

const shownAs = ({ type, from, to, ...others }: TransactionFilter) =>
  joined(' and ', {
    type: type && TYPE_WORDS[type],
    from: from?.toISOString(),
    to: to?.toISOString(),
    ...others,
  });

const FORM: FilterForm<TransactionFilter> = { write: filterText, read: readFilter, show: shownAs };
