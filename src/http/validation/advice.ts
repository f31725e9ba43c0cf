import leven from 'leven';

/** A name that there is, and what to say to somebody who may have meant it. */
export interface Advice {
  readonly name: string;
  readonly plainName: string;
  readonly text: string;
}

export const advice = (name: string, text: string): Advice => ({ name, plainName: plain(name), text });

/** No longer name is a misspelling of ours. */
const MAX_NAME_LENGTH = 40;
/** A name within a shorter one is a coincidence, like `to` within `total`. */
const MIN_PART_LENGTH = 4;
/** The name is part of a known one or the other way round, like `account` and `accountId`. */
const PART = 1.5;

/** The advice for the known name that an unknown one resembles most; undefined: it resembles none. */
export function adviceFor(unknown: string, known: Iterable<Advice>): string | undefined {
  if (unknown.length > MAX_NAME_LENGTH) return undefined;
  const plainUnknown = plain(unknown);
  let nearest = Infinity;
  let found: string | undefined;
  for (const { name, plainName, text } of known) {
    const distance = name === unknown ? -1 : distanceOf(plainUnknown, plainName);
    if (distance >= nearest) continue;
    nearest = distance;
    found = text;
  }
  return found;
}

/** Infinity: they do not resemble each other. */
function distanceOf(unknown: string, known: string): number {
  const maxDistance = Math.floor(known.length / 3);
  const isPart =
    Math.min(unknown.length, known.length) >= MIN_PART_LENGTH &&
    (known.includes(unknown) || unknown.includes(known));
  const farthest = isPart ? PART : Infinity;
  // Names of so different lengths need no comparison.
  if (Math.abs(unknown.length - known.length) > maxDistance) return farthest;
  // One more than the maximum means: at least that.
  const distance = leven(unknown, known, { maxDistance: maxDistance + 1 });
  return Math.min(distance <= maxDistance ? distance : Infinity, farthest);
}

/** Without what differs between styles of names: expected_version, expected-version and ExpectedVersion are one. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[_-]/g, '');
}
