import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { types } from 'pg';
import { plainArray, textArray } from './array-literal.js';

/** pg's reader of what the server sends for a text[]; its types name no arrays. */
const read = types.getTypeParser(1009 as never) as (literal: string) => unknown[];

describe('an array in its text form', () => {
  it('of numbers and amounts', () => {
    expect(plainArray([])).toBe('{}');
    expect(plainArray([1, 9007199254740990])).toBe('{1,9007199254740990}');
    expect(plainArray(['1.00', '9999999999999999.99'])).toBe('{1.00,9999999999999999.99}');
  });

  it('of texts: every text comes back as it was, whatever is in it', () => {
    const text = fc.oneof(fc.string(), fc.constantFrom('NULL', '', '"', '\\', '{', '},{', "'", ' a '));
    fc.assert(
      fc.property(fc.array(fc.option(text, { nil: undefined })), (texts) => {
        expect(read(textArray(texts))).toEqual(texts.map((each) => each ?? null));
      }),
    );
  });
});
