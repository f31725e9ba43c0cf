import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { types } from 'pg';
import { plainArray, textArray } from './array-literal.js';

/** pg's parser for a text[] from the server; its types do not list arrays. */
const read = types.getTypeParser(1009 as never) as (literal: string) => unknown[];

describe('array literals', () => {
  it('are made of numbers and amounts', () => {
    expect(plainArray([])).toBe('{}');
    expect(plainArray([1, 9007199254740990])).toBe('{1,9007199254740990}');
    expect(plainArray(['1.00', '9999999999999999.99'])).toBe('{1.00,9999999999999999.99}');
  });

  it('give back every text as it was, whatever it contains', () => {
    const text = fc.oneof(fc.string(), fc.constantFrom('NULL', '', '"', '\\', '{', '},{', "'", ' a '));
    fc.assert(
      fc.property(fc.array(fc.option(text, { nil: undefined })), (texts) => {
        expect(read(textArray(texts))).toEqual(texts.map((each) => each ?? null));
      }),
    );
  });
});
