import leven from 'leven';

/** A name that there is, and what to say to somebody who may have meant it. */
export type Advice = readonly [name: string, text: string];

/** No longer name is a misspelling of ours. */
const MAX_NAME_LENGTH = 40;
/** A name within a shorter one is a coincidence, like `to` within `total`. */
const MIN_PART_LENGTH = 4;
/** The name is part of a known one or the other way round, like `account` and `accountId`. */
const PART = 1.5;

/** The advice for the known name that an unknown one resembles most; undefined: it resembles none. */
export function adviceFor(unknown: string, known: Iterable<Advice>): string | undefined {
  if (unknown.length > MAX_NAME_LENGTH) return undefined;
  let nearest = Infinity;
  let advice: string | undefined;
  for (const [name, text] of known) {
    const distance = name === unknown ? -1 : distanceOf(plain(unknown), plain(name));
    if (distance >= nearest) continue;
    nearest = distance;
    advice = text;
  }
  return advice;
}

/** Infinity: they do not resemble each other. */
function distanceOf(unknown: string, known: string): number {
  const maxDistance = Math.floor(known.length / 3);
  // One more than the maximum means: at least that.
  const distance = leven(unknown, known, { maxDistance: maxDistance + 1 });
  const isPart =
    Math.min(unknown.length, known.length) >= MIN_PART_LENGTH &&
    (known.includes(unknown) || unknown.includes(known));
  return Math.min(distance <= maxDistance ? distance : Infinity, isPart ? PART : Infinity);
}

/** Without what differs between styles of names: expected_version, expected-version and ExpectedVersion are one. */
const plain = (name: string) => name.toLowerCase().replaceAll(/[_-]/g, '');
