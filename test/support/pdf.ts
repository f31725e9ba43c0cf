import { inflateSync } from 'node:zlib';

const OBJECT = /(\d+) 0 obj\n([^]*?)\nendobj/g;
const STREAM = /stream\r?\n/;

/**
 * The texts of a PDF as pdfkit writes it, page by page, in the order in which they are drawn. A text in several fonts is
 * one; what the font lacks is shown as `□`.
 */
export function textsOf(pdf: Buffer): string[][] {
  const objects = new Map(
    [...pdf.toString('latin1').matchAll(OBJECT)].map(([, id = '', body = '']) => [id, body]),
  );
  const streamOf = (body: string): string => {
    const start = STREAM.exec(body);
    if (!start) return '';
    const bytes = Buffer.from(body.slice(start.index + start[0].length), 'latin1');
    const packed = bytes.subarray(0, Number(/\/Length (\d+)/.exec(body)?.[1]));
    return (body.includes('/FlateDecode') ? inflateSync(packed) : packed).toString('latin1');
  };
  const referred = (body: string, key: string) =>
    objects.get(new RegExp(`/${key} (\\d+) 0 R`).exec(body)?.[1] ?? '') ?? '';
  const pages = [...objects.values()].filter((body) => /\/Type \/Page\b(?!s)/.test(body));
  return pages.map((page) => {
    const resources = /\/Resources \d+ 0 R/.test(page) ? referred(page, 'Resources') : page;
    const fonts = new Map(
      [...resources.matchAll(/\/(F\d+) (\d+) 0 R/g)].map(([, name = '', id = '']) => [
        name,
        charactersOf(streamOf(referred(objects.get(id) ?? '', 'ToUnicode'))),
      ]),
    );
    return [...streamOf(referred(page, 'Contents')).matchAll(/BT ([^]*?) ET/g)].map(([, drawn = '']) =>
      [...drawn.matchAll(/\/(F\d+) [\d.]+ Tf[^<]*<([0-9a-f]*)> Tj/g)]
        .flatMap(([, font = '', codes = '']) =>
          (codes.match(/.{4}/g) ?? []).map((code) => fonts.get(font)?.get(parseInt(code, 16)) ?? ''),
        )
        .join(''),
    );
  });
}

/** What each glyph of a font stands for, from its ToUnicode map: a list of consecutive glyphs. */
function charactersOf(map: string): Map<number, string> {
  const characters = new Map<number, string>();
  for (const [, first = '', list = ''] of map.matchAll(/<([0-9a-f]+)> <[0-9a-f]+> \[([^\]]*)\]/gi)) {
    [...list.matchAll(/<([0-9a-f ]*)>/gi)].forEach(([, hex = ''], index) => {
      const text = Buffer.from(hex.replaceAll(' ', ''), 'hex').swap16().toString('utf16le');
      characters.set(parseInt(first, 16) + index, text);
    });
  }
  return characters.set(0, '□');
}
