import { InvalidRequestError } from './invalid-request.js';
import { parsePositiveInteger } from './positive-integer.js';

const ENTITY_TAG = /^(?:W\/)?"[\x21\x23-\x7e]*"$/;

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
 * True when an If-None-Match header names the version (RFC 9110, 13.1.2; weak comparison).
 *
 * @throws InvalidRequestError when it is no list of entity tags
 */
export function matchesNone(header: string | undefined, version: number): boolean {
  if (header === undefined) return true;
  if (header.trim() === '*') return false;
  return !versionsOf('If-None-Match', header, () => true).includes(version);
}

function versionsOf(field: string, header: string, counts: (tag: string) => boolean): number[] {
  const tags = header.split(',').map((tag) => tag.trim());
  if (!tags.every((tag) => ENTITY_TAG.test(tag))) {
    throw InvalidRequestError.of(field, 'must be * or a list of quoted entity tags, like "7"');
  }
  return tags
    .filter(counts)
    .map((tag) => parsePositiveInteger(tag.replace(/^(?:W\/)?"|"$/g, '')))
    .filter((version) => version !== undefined);
}
