import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { elementsOf, memberOf } from './json-elements.js';
import { NotJsonError } from './json-body.js';

const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
/** A JSON value as somebody may write it. */
const source = fc
  .tuple(fc.json({ maxDepth: 4 }), fc.constantFrom(undefined, 1, '\t'))
  .map(([text, indent]) => JSON.stringify(JSON.parse(text), null, indent));

/** The elements according to JSON.parse; undefined: the text is not an array. */
function parsedArray(text: string): unknown[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The elements according to elementsOf, each parsed by itself; undefined: the text is not an array. */
function parsedElements(text: string): unknown[] | undefined {
  try {
    return elementsOf(text, '[]', Infinity).map((element) => JSON.parse(element) as unknown);
  } catch (error) {
    if (error instanceof NotJsonError || (error as Error).name === 'SyntaxError') return undefined;
    throw error;
  }
}

describe('elementsOf', () => {
  it('returns the elements of an array as written', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(space, source, space)), space, (parts, around) => {
        const texts = parts.map((part) => part.join(''));
        expect(elementsOf(`${around}[${texts.join()}]${around}`, '[]', Infinity)).toEqual(texts);
      }),
    );
  });

  it('returns the members of an object as written', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), space, source)), (members) => {
        const texts = members.map(
          ([name, blank, value]) => `${JSON.stringify(name)}${blank}:${blank}${value}`,
        );
        const found = elementsOf(`{${texts.join()}}`, '{}', Infinity).map(memberOf);
        expect(found).toEqual(members.map(([name, , value]) => ({ name: JSON.stringify(name), value })));
      }),
    );
  });

  it('agrees with JSON.parse, together with the parser of the elements, whatever was done to the text', () => {
    const piece = fc.constantFrom(
      '[',
      ']',
      '{',
      '}',
      ',',
      '"',
      '\\',
      ':',
      '1',
      ' ',
      'a',
      '\u00a0',
      '"a":',
      '[]',
    );
    const damage = fc.array(fc.tuple(fc.nat(200), fc.nat(2), piece), { maxLength: 3 });
    fc.assert(
      fc.property(fc.array(source, { maxLength: 4 }), damage, (texts, changes) => {
        const text = changes.reduce(
          (changed, [place, length, put]) =>
            changed.slice(0, place % changed.length) + put + changed.slice((place % changed.length) + length),
          `[${texts.join()}]`,
        );
        expect(parsedElements(text)).toEqual(parsedArray(text));
      }),
      { numRuns: 3_000 },
    );
  });

  it('stops one beyond the limit', () => {
    expect(elementsOf('[1,2,3,4,5]', '[]', 2)).toEqual(['1', '2', '3']);
    expect(elementsOf('[1,2]', '[]', 2)).toEqual(['1', '2']);
  });

  it('reads a text of nothing but brackets or backslashes in linear time', () => {
    const size = 4_000_000;
    const startedMs = performance.now();
    expect(() => elementsOf('['.repeat(size), '[]', 10)).toThrow(NotJsonError);
    expect(() => elementsOf(`["${'\\'.repeat(size)}`, '[]', 10)).toThrow(NotJsonError);
    expect(() => elementsOf(`["${'\\"'.repeat(size / 2)}`, '[]', 10)).toThrow(NotJsonError);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });
});
