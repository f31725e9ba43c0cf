import { Readable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { gatherText } from './gather-text.js';

const gather = (pieces: Iterable<Buffer>, limitBytes = 1_000_000) =>
  new Promise<string | undefined>((resolve, reject) =>
    gatherText(Readable.from(pieces, { objectMode: false }), limitBytes, (error, text) =>
      error ? reject(error) : resolve(text),
    ),
  );

describe('gatherText', () => {
  it('reads a text wherever it is cut, even within a character', async () => {
    const text = '{"note":"ü€😀"}';
    const bytes = Buffer.from(text);
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(await gather([bytes.subarray(0, cut), bytes.subarray(cut)])).toBe(text);
    }
    expect(await gather(Array.from(bytes, (byte) => Buffer.from([byte])))).toBe(text);
    expect(await gather([])).toBe('');
  });

  it('skips one byte order mark, wherever it is cut', async () => {
    const bytes = Buffer.from('\ufeff{"a":1}');
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(await gather([bytes.subarray(0, cut), bytes.subarray(cut)])).toBe('{"a":1}');
    }
    expect(await gather([Buffer.from('\ufeff\ufeff{}')])).toBe('\ufeff{}');
    expect(await gather([Buffer.from('\ufeff')])).toBe('');
  });

  it.each([
    ['an unfinished character', [0x22, 0xc3, 0x22]],
    ['an encoded surrogate', [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ['an overlong form', [0x22, 0xc0, 0xaf, 0x22]],
    ['Latin-1', [0x22, 0xe9, 0x22]],
    ['UTF-16', [0xff, 0xfe, 0x7b, 0x00]],
    ['half of a byte order mark', [0xef, 0xbb]],
  ])('rejects what is not UTF-8: %s', async (_, bytes) => {
    await expect(gather([Buffer.from(bytes)])).rejects.toMatchObject({
      problems: [{ field: 'body', message: 'is not valid UTF-8' }],
    });
  });

  it('accepts as much as its limit, and no more', async () => {
    const pieces = (count: number) => Array.from({ length: count }, () => Buffer.from('x'));
    expect(await gather(pieces(5), 5)).toBe('xxxxx');
    await expect(gather(pieces(6), 5)).rejects.toMatchObject({ status: 413 });
    await expect(gather([Buffer.from('xxxxxx')], 5)).rejects.toMatchObject({ status: 413 });
  });

  it('answers 400 to a body that is cut short', async () => {
    function* cut(): Generator<Buffer> {
      yield Buffer.from('half');
      throw new Error('cut');
    }
    await expect(gather(cut())).rejects.toMatchObject({ status: 400 });
  });
});
