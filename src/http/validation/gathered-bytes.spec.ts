import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { GatheredBytes } from './gathered-bytes.js';

describe('GatheredBytes', () => {
  it('contains what was appended since it was last cleared', () => {
    const pieces = fc.array(fc.option(fc.uint8Array({ maxLength: 3_000 })), { maxLength: 20 });
    fc.assert(
      fc.property(pieces, (some) => {
        const gathered = new GatheredBytes();
        let expected: Uint8Array[] = [];
        for (const piece of some) {
          if (piece) gathered.append(piece);
          else gathered.clear();
          expected = piece ? [...expected, piece] : [];
          expect(gathered.bytes.equals(Buffer.concat(expected))).toBe(true);
          expect(gathered.length).toBe(gathered.bytes.length);
        }
      }),
    );
  });
});
