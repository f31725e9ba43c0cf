import { NotJsonError } from './json-body.js';

const SPACE = /[ \t\n\r]*/y;

/**
 * Splits a JSON array or object into the source texts of its elements or members, so that each can be parsed, and
 * rejected, by itself. Does not check the elements: if the input is not valid JSON, at least one of the texts is not
 * either.
 *
 * @param limit maximum number of elements; reading stops after one more than that
 * @throws NotJsonError when the text is not a single pair of these brackets
 */
export function elementsOf(text: string, brackets: '[]' | '{}', limit: number): string[] {
  const [open, close] = brackets;
  let at = afterSpace(text, 0);
  if (text[at] !== open) throw new NotJsonError();
  const elements: string[] = [];
  let start = at + 1;
  for (let depth = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at);
        break;
      case 0x5b: // [
      case 0x7b: // {
        depth += 1;
        break;
      case 0x2c: // ,
        if (depth > 1) break;
        elements.push(text.slice(start, at));
        if (elements.length > limit) return elements;
        start = at + 1;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth -= 1;
        if (depth > 0) break;
        if (text[at] !== close || afterSpace(text, at + 1) < text.length) throw new NotJsonError();
        if (elements.length > 0 || afterSpace(text, start) < at) elements.push(text.slice(start, at));
        return elements;
    }
  }
  throw new NotJsonError();
}

/** The name and the value of a member of an object, as written. @throws NotJsonError */
export function memberOf(text: string): { readonly name: string; readonly value: string } {
  const start = afterSpace(text, 0);
  if (text[start] !== '"') throw new NotJsonError();
  const end = endOfString(text, start) + 1;
  const colon = afterSpace(text, end);
  if (text[colon] !== ':') throw new NotJsonError();
  return { name: text.slice(start, end), value: text.slice(afterSpace(text, colon + 1), beforeSpace(text)) };
}

function afterSpace(text: string, from: number): number {
  SPACE.lastIndex = from;
  SPACE.test(text);
  return SPACE.lastIndex;
}

function beforeSpace(text: string): number {
  let end = text.length;
  while (' \t\n\r'.includes(text[end - 1] ?? 'none')) end -= 1;
  return end;
}

/** The index of the quote that ends the string. @throws NotJsonError when there is none */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text[at - 1 - backslashes] === '\\') backslashes += 1;
    if (backslashes % 2 === 0) return at;
  }
  throw new NotJsonError();
}
