import { InvalidRequestError } from './invalid-request.js';
import type { OwnedAccount } from '../../domain/account.js';
import { parsePositiveInteger } from './positive-integer.js';

/** RFC 9110, 8.8.3: any visible character except the quote, and obs-text. A comma in a tag does not end it. */
const TAG = String.raw`(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"`;
const TAGS = new RegExp(TAG, 'g');
/**
 * RFC 9110, 5.6.1: empty list elements are ignored, but at least one element must remain. White space belongs to the
 * comma or the tag before it, never to both sides: with two ways to read each blank, a few dozen of them would take for
 * ever.
 */
const LIST = String.raw`[ \t,]*${TAG}[ \t]*(?:,[ \t]*(?:${TAG}[ \t]*)?)*`;
const TAG_LIST = new RegExp(`^${LIST}$`);

/** If-Match and If-None-Match, as JSON Schema has them. */
export const CONDITION = { type: 'string', pattern: String.raw`^(?:\*|${LIST})$` };

/** A tag of an account: its version and, optionally, its revision, and the form of its money. */
const ACCOUNT_TAG = /^"([1-9]\d*)(?:\.(0|[1-9]\d*))?(?:-string)?"$/;

/** The entity tag of an answer that shows an account's version and balance. */
export function versionTag(version: number): string {
  return `"${version}"`;
}

/** The entity tag of an account, which also shows what changes without a new version, like its status and its owner. */
export function accountTag({ version, revision }: OwnedAccount): string {
  return `"${version}.${revision}"`;
}

/** The entity tag of the same answer with money as text, which is another representation (RFC 9110, 8.8.3). */
export function textMoneyTag(tag: string): string {
  return `${tag.slice(0, -1)}-string"`;
}

/**
 * The versions that an If-Match header allows (RFC 9110, 13.1.1), named by any of these tags. Undefined: no condition,
 * as with `*`, which any account meets. Tags that no account can have, weak ones included, allow nothing.
 *
 * @throws InvalidRequestError when it is not a list of entity tags
 */
export function parseIfMatch(header: string | undefined): number[] | undefined {
  if (header === undefined || header.trim() === '*') return undefined;
  return tagsOf('If-Match', header)
    .map((tag) => parsePositiveInteger(ACCOUNT_TAG.exec(tag)?.[1] ?? ''))
    .filter((version) => version !== undefined);
}

/**
 * The same for a change of an account that is no transaction: the revisions that it may have. A tag without a revision
 * is that of a balance and allows nothing.
 *
 * @throws InvalidRequestError when it is not a list of entity tags
 */
export function parseRevisions(header: string | undefined): number[] | undefined {
  if (header === undefined || header.trim() === '*') return undefined;
  return tagsOf('If-Match', header)
    .map((tag) => ACCOUNT_TAG.exec(tag)?.[2])
    .filter((revision) => revision !== undefined)
    .map(Number);
}

/**
 * Reads an If-None-Match header (RFC 9110, 13.1.2; weak comparison). The result tells whether the client does not yet
 * have the representation with a given entity tag.
 *
 * @throws InvalidRequestError when it is not a list of entity tags
 */
export function matchesNone(header: string | undefined): (tag: string) => boolean {
  if (header === undefined) return () => true;
  if (header.trim() === '*') return () => false;
  const tags = tagsOf('If-None-Match', header).map((tag) => tag.replace(/^W\//, ''));
  return (tag) => !tags.includes(tag);
}

function tagsOf(field: string, header: string): string[] {
  if (!TAG_LIST.test(header)) {
    throw InvalidRequestError.of(field, 'must be * or a list of quoted entity tags, like "7"');
  }
  return header.match(TAGS) ?? [];
}
