import PDFDocument from 'pdfkit';
import { fontOf, PARTS, type Weight } from './fonts.js';

export interface Style {
  readonly weight: Weight;
  readonly size: number;
  /** Red, green and blue, from 0 to 1. */
  readonly color: string;
}

/** What pdfkit does not publish of its fonts: what it needs to embed a glyph. Each list is by the glyph's place. */
interface Font {
  readonly id: string;
  /** Thousandths of the size, by the font's own units. */
  readonly scale: number;
  readonly font: {
    hasGlyphForCodePoint(codePoint: number): boolean;
    glyphForCodePoint(codePoint: number): FontGlyph;
  };
  readonly subset: { includeGlyph(id: number): number };
  readonly widths: (number | undefined)[];
  readonly unicode: (readonly number[] | undefined)[];
  ref(): unknown;
}

interface FontGlyph {
  readonly id: number;
  readonly advanceWidth: number;
  readonly codePoints: readonly number[];
}

interface Page {
  readonly fonts: Record<string, unknown>;
}

interface Glyph {
  readonly font: Font;
  readonly code: string;
  readonly width: number;
}

/** Characters that are not seen, or change how others are: they are shown as characters that the font lacks. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]/u;
/** No part of the font has it, so it gets the box that stands for what is missing. */
const NONE = '\u25A1';

/**
 * Sets text and draws boxes on the pages of a PDF. It writes the operators itself: pdfkit measures and shapes a text each
 * time it writes one, and a statement has a hundred thousand of them.
 */
export class Canvas {
  /** Whether a text had a character that the font lacks. */
  lacked = false;
  private readonly fonts: Readonly<Record<Weight, Font[]>> = { regular: [], bold: [] };
  private readonly glyphs: Readonly<Record<Weight, Map<string, Glyph>>> = {
    regular: new Map(),
    bold: new Map(),
  };

  constructor(private readonly document: InstanceType<typeof PDFDocument>) {}

  width(text: string, { weight, size }: Style): number {
    let width = 0;
    for (const character of text) width += this.glyph(character, weight).width;
    return (width * size) / 1_000;
  }

  /** Breaks a text into lines: between words, or within one that is longer than a line. */
  wrap(text: string, style: Style, maxWidth: number): string[] {
    const lines: string[] = [];
    const space = this.width(' ', style);
    let [line, width] = ['', 0];
    for (const word of text
      .normalize('NFC')
      .trim()
      .split(/[ \t\r\n]+/)) {
      for (const part of this.cut(word, style, maxWidth)) {
        const partWidth = this.width(part, style);
        if (line !== '' && width + space + partWidth <= maxWidth) {
          line += ` ${part}`;
          width += space + partWidth;
          continue;
        }
        if (line !== '') lines.push(line);
        [line, width] = [part, partWidth];
      }
    }
    return [...lines, line];
  }

  /** @param y of the baseline, from the top of the page */
  text(text: string, x: number, y: number, style: Style): void {
    const { weight, size, color } = style;
    const parts: string[] = [];
    let font: Font | undefined;
    for (const character of text) {
      const glyph = this.glyph(character, weight);
      if (glyph.font !== font) {
        if (font) parts.push('> Tj ');
        font = glyph.font;
        (this.document.page as unknown as Page).fonts[font.id] ??= font.ref();
        parts.push(`/${font.id} ${size} Tf <`);
      }
      parts.push(glyph.code);
    }
    // pdfkit counts from the top of the page, so letters would stand on their heads.
    if (font) this.write(`BT ${color} rg 1 0 0 -1 ${round(x)} ${round(y)} Tm ${parts.join('')}> Tj ET`);
  }

  /** Text that ends at `x`, set smaller where it would be wider than it may. */
  textTo(text: string, x: number, y: number, style: Style, maxWidth: number): void {
    const width = this.width(text, style);
    const size = width > maxWidth ? Math.floor((style.size * maxWidth * 10) / width) / 10 : style.size;
    const fitting = { ...style, size };
    this.text(text, x - this.width(text, fitting), y, fitting);
  }

  box(x: number, y: number, width: number, height: number, color: string): void {
    this.write(`${color} rg ${round(x)} ${round(y)} ${round(width)} ${round(height)} re f`);
  }

  private write(operators: string): void {
    (this.document as unknown as { addContent(operators: string): void }).addContent(operators);
  }

  private cut(word: string, style: Style, maxWidth: number): string[] {
    if (this.width(word, style) <= maxWidth) return [word];
    const parts: string[] = [];
    let part = '';
    let width = 0;
    for (const character of word) {
      const more = this.width(character, style);
      if (part !== '' && width + more > maxWidth) {
        parts.push(part);
        part = '';
        width = 0;
      }
      part += character;
      width += more;
    }
    return [...parts, part];
  }

  private glyph(character: string, weight: Weight): Glyph {
    const glyph = this.glyphs[weight].get(character) ?? this.find(character, weight);
    if (glyph.code === MISSING) this.lacked = true;
    return glyph;
  }

  private find(character: string, weight: Weight): Glyph {
    const wanted = UNSEEN.test(character) ? undefined : this.fontWith(character, weight);
    const font = wanted ?? this.font(0, weight);
    const { id, advanceWidth, codePoints } = font.font.glyphForCodePoint(
      (wanted ? character : NONE).codePointAt(0) ?? 0,
    );
    const place = font.subset.includeGlyph(id);
    const width = advanceWidth * font.scale;
    font.widths[place] ??= width;
    font.unicode[place] ??= codePoints;
    const glyph = { font, code: place.toString(16).padStart(4, '0'), width };
    this.glyphs[weight].set(character, glyph);
    return glyph;
  }

  private fontWith(character: string, weight: Weight): Font | undefined {
    const codePoint = character.codePointAt(0) ?? 0;
    for (let part = 0; part < PARTS.length; part++) {
      const font = this.font(part, weight);
      if (font.font.hasGlyphForCodePoint(codePoint)) return font;
    }
    return undefined;
  }

  /** A part of the font is opened when the first text needs it. */
  private font(part: number, weight: Weight): Font {
    const known = this.fonts[weight][part];
    if (known) return known;
    const name = PARTS[part] as string;
    this.document.registerFont(`${name}-${weight}`, fontOf(name, weight)).font(`${name}-${weight}`);
    const font = (this.document as unknown as { _font: Font })._font;
    this.fonts[weight][part] = font;
    return font;
  }
}

/** Glyph 0, which every font draws for a character that it lacks. */
const MISSING = '0000';

const round = (length: number) => Math.round(length * 100) / 100;
