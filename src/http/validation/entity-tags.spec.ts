import type { OwnedAccount } from '../../domain/account.js';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { MAX_ID } from '../../domain/account.js';
import { accountTag, CONDITION, matchesNone, parseIfMatch, textMoneyTag, versionTag } from './entity-tags.js';
import { InvalidRequestError } from './invalid-request.js';

function refusedField(work: () => unknown): string | undefined {
  try {
    work();
  } catch (error) {
    if (error instanceof InvalidRequestError) return error.problems[0]?.field;
    throw error;
  }
  return undefined;
}

/** Neither a list of entity tags nor `*`. */
const MALFORMED = [
  '',
  ' ',
  '7',
  '"7',
  '7"',
  "'7'",
  'W/7',
  'w/"7"',
  '"7" "8"',
  '*, "7"',
  '**',
  '"a"b"',
  '"a b"',
  '"7";',
];

describe('versionTag', () => {
  it('is the version in quotes', () => {
    expect(versionTag(12)).toBe('"12"');
  });
});

describe('accountTag', () => {
  it('is the version and the revision in quotes', () => {
    const account = { accountId: 1 } as OwnedAccount;
    expect(accountTag({ ...account, version: 12, revision: 0 })).toBe('"12.0"');
    expect(accountTag({ ...account, version: 1, revision: 10 })).toBe('"1.10"');
  });
});

describe('textMoneyTag', () => {
  it('is another tag of the same version', () => {
    expect(textMoneyTag('"12"')).toBe('"12-string"');
    expect(textMoneyTag('"12.0"')).toBe('"12.0-string"');
    expect(matchesNone('"12"')(textMoneyTag('"12"'))).toBe(true);
    expect(matchesNone('"12-string"')('"12"')).toBe(true);
    expect(matchesNone('"12", W/"12-string"')(textMoneyTag('"12"'))).toBe(false);
  });
});

describe('parseIfMatch', () => {
  it.each([
    ['no header', undefined, undefined],
    ['*', '*', undefined],
    ['* with white space', ' * ', undefined],
    ['one tag', '"7"', [7]],
    ['a list', '"7", "8","9" ,"10"', [7, 8, 9, 10]],
    ['a weak tag, which never matches strongly', 'W/"7"', []],
    ['a weak and a strong tag', 'W/"7", "8"', [8]],
    ['the tag of an account', '"7.0"', [7]],
    ['the tag of an account that was revised', '"7.12"', [7]],
    ['the tag of an answer with money as text', '"7-string", "8.2-string"', [7, 8]],
    ['the weak tag of an answer with money as text', 'W/"7-string"', []],
    ['another form than text', '"7-number", "7-", "7-string.2", "7-strings", "-string"', []],
    ['tags of both kinds', '"7.2", "8", "9.10"', [7, 8, 9]],
    ['the weak tag of an account', 'W/"7.2"', []],
    ['a revision in another spelling', '"7.02", "7.-1", "7.", ".2", "7.2.1", "7.x", "0.1", "07.1"', []],
    ['a tag that is no version', '"abc"', []],
    ['the empty tag', '""', []],
    ['a version in another spelling', '"07"', []],
    ['zero and a negative number', '"0", "-1"', []],
    ['a number beyond 2^53', '"9223372036854775807"', [MAX_ID]],
    ['a number beyond bigint', '"9223372036854775808"', []],
    ['some of each', '"abc", "7", W/"8"', [7]],
  ])('reads %s', (_, header, versions) => {
    expect(parseIfMatch(header)).toEqual(versions);
  });

  it.each(MALFORMED)('refuses %j and names the header', (header) => {
    expect(refusedField(() => parseIfMatch(header))).toBe('If-Match');
  });

  // RFC 9110, 8.8.3: etagc is any visible character but the quote, and obs-text.
  it.each(['"a,b"', '"7,8"', '","', '"é"'])('reads %s as one tag, which no account has', (header) => {
    expect(parseIfMatch(header)).toEqual([]);
  });

  // RFC 9110, 5.6.1: a recipient must ignore a reasonable number of empty list elements.
  it.each(['"7",', ',"7"', '"7", ,'])('ignores the empty element of the list %s', (header) => {
    expect(parseIfMatch(header)).toEqual([7]);
  });

  it('finds exactly the versions that a list contains', () => {
    const tag = fc.record({ version: fc.integer({ min: 1, max: 1_000 }), weak: fc.boolean() });
    fc.assert(
      fc.property(
        fc.array(tag, { minLength: 1, maxLength: 8 }),
        fc.constantFrom(',', ', ', ' ,\t'),
        (tags, comma) => {
          const header = tags
            .map(({ version, weak }) => (weak ? 'W/' : '') + versionTag(version))
            .join(comma);
          expect(parseIfMatch(header)).toEqual(
            tags.filter(({ weak }) => !weak).map(({ version }) => version),
          );
        },
      ),
    );
  });
});

describe('the pattern of a condition', () => {
  const pattern = new RegExp(CONDITION.pattern, 'u');

  it.each(MALFORMED)('has no place for %j', (header) => {
    expect(pattern.test(header)).toBe(false);
  });

  it('admits exactly what is read', () => {
    const part = fc.constantFrom('"7"', '"', 'W/', ',', ' ', '\t', '*', 'a', 'é', '');
    // HTTP takes off the blanks at both ends.
    const value = fc.array(part, { maxLength: 8 }).map((parts) => parts.join('').trim());
    const verdicts = new Set<boolean>();
    fc.assert(
      fc.property(fc.oneof(value, fc.constant('*')), (header) => {
        const isRead = refusedField(() => parseIfMatch(header)) === undefined;
        expect(pattern.test(header)).toBe(isRead);
        verdicts.add(isRead);
      }),
      { numRuns: 1_000 },
    );
    expect(verdicts.size).toBe(2);
  });
});

describe('matchesNone', () => {
  it.each([
    ['no header', undefined, true],
    ['another version', '"11"', true],
    ['this version', '"12"', false],
    ['this version, weakly', 'W/"12"', false],
    ['this version in a list', '"1", "12"', false],
    ['this version with a revision', '"12.0"', true],
    ['this version in another spelling', '"012"', true],
    ['*', '*', false],
    ['a tag that is no version', '"abc"', true],
  ])('answers %s', (_, header, none) => {
    expect(matchesNone(header)('"12"')).toBe(none);
  });

  it('tells revisions apart', () => {
    expect(matchesNone('"12.1", W/"12.2"')('"12.2"')).toBe(false);
    expect(matchesNone('"12", "12.1", "12.20"')('"12.2"')).toBe(true);
  });

  it.each(MALFORMED)('refuses %j and names the header', (header) => {
    expect(refusedField(() => matchesNone(header)('"12"'))).toBe('If-None-Match');
  });

  // An expression with two ways to read a blank doubles its time with each one: 28 of them take ten seconds.
  it.each([28, 5_000])('refuses a list with %i blanks that ends badly at once', (blanks) => {
    for (const list of [
      `"1"${' ,'.repeat(blanks)}x`,
      `"1"${' '.repeat(blanks)}x`,
      `${' ,'.repeat(blanks)}x`,
    ]) {
      const startedAt = performance.now();
      expect(refusedField(() => matchesNone(list))).toBe('If-None-Match');
      expect(performance.now() - startedAt).toBeLessThan(1_000);
    }
  });
});
