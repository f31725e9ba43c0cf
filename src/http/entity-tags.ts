import { InvalidRequestError } from './invalid-request.js';
import { parsePositiveInteger } from './positive-integer.js';

/** RFC 9110, 8.8.3: any visible character but the quote, and obs-text. A comma in a tag does not end it. */
const TAG = String.raw`(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"`;
const TAGS = new RegExp(TAG, 'g');
/**
 * RFC 9110, 5.6.1: empty elements of a list are ignored, but one element there must be. White space belongs to the comma
 * or the tag before it, never to both sides: with two ways to read each blank, a few dozen of them would take for ever.
 */
const TAG_LIST = new RegExp(String.raw`^[ \t,]*${TAG}[ \t]*(?:,[ \t]*(?:${TAG}[ \t]*)?)*$`);

/** An account's entity tag is its version. */
export function entityTag(version: number): string {
  return `"${version}"`;
}

/**
 * The versions that an If-Match header allows (RFC 9110, 13.1.1). Undefined: no condition, as with `*`, which any
 * account fulfils. Tags that no account can have, weak ones included, allow nothing.
 *
 * @throws InvalidRequestError when it is no list of entity tags
 */
export function parseIfMatch(header: string | undefined): number[] | undefined {
  if (header === undefined || header.trim() === '*') return undefined;
  return versionsOf('If-Match', header, (tag) => !tag.startsWith('W/'));
}

/**
 * Reads an If-None-Match header (RFC 9110, 13.1.2; weak comparison). The answer tells of a version whether the client
 * wants it, because it is none of those that the client has.
 *
 * @throws InvalidRequestError when it is no list of entity tags
 */
export function matchesNone(header: string | undefined): (version: number) => boolean {
  if (header === undefined) return () => true;
  if (header.trim() === '*') return () => false;
  const versions = versionsOf('If-None-Match', header, () => true);
  return (version) => !versions.includes(version);
}

function versionsOf(field: string, header: string, counts: (tag: string) => boolean): number[] {
  if (!TAG_LIST.test(header)) {
    throw InvalidRequestError.of(field, 'must be * or a list of quoted entity tags, like "7"');
  }
  return (header.match(TAGS) ?? [])
    .filter(counts)
    .map((tag) => parsePositiveInteger(tag.replace(/^(?:W\/)?"|"$/g, '')))
    .filter((version) => version !== undefined);
}
