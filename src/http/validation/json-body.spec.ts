import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { InvalidRequestError } from './invalid-request.js';
import { NumberText, parseJsonBody } from './json-body.js';

/** Why a body is rejected; fails when it is accepted, or anything but a rejection is thrown. */
function refusalOf(text: string): string {
  try {
    parseJsonBody(text);
  } catch (error) {
    if (error instanceof InvalidRequestError && error.problems[0]?.field === 'body') {
      return error.problems[0].message;
    }
    throw error;
  }
  throw new Error(`accepted ${text.slice(0, 100)}`);
}

const NOT_JSON = 'is not valid JSON';
const TWICE = 'has the same key twice';

/** A JSON value as it was meant, with numbers as text. Order and repetition of members are kept. */
type Tree =
  null | boolean | string | { readonly number: string } | readonly Tree[] | { readonly members: Members };
type Members = readonly (readonly [string, Tree])[];

const isArray = (tree: unknown): tree is readonly Tree[] => Array.isArray(tree);

/** One text per value, whatever the order of its members, to compare two parsers. */
function canonical(value: unknown): string {
  if (value instanceof NumberText) return `#${value.text}`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  const members = Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`);
  return `{${members.sort().join()}}`;
}

function canonicalTree(tree: Tree): string {
  if (tree === null || typeof tree !== 'object') return JSON.stringify(tree);
  if (isArray(tree)) return `[${tree.map(canonicalTree).join()}]`;
  if ('number' in tree) return `#${tree.number}`;
  const members = tree.members.map(([key, member]) => `${JSON.stringify(key)}:${canonicalTree(member)}`);
  return `{${members.sort().join()}}`;
}

const SHORT_ESCAPES = new Map([...'"\\/'].map((character) => [character, `\\${character}`]));
for (const [escape, character] of ['b\b', 'f\f', 'n\n', 'r\r', 't\t'].map((pair) => [...pair])) {
  SHORT_ESCAPES.set(character ?? '', `\\${escape}`);
}

/** Writes a tree as JSON. The choices, used in turn, decide how a character is spelt and where white space stands. */
class Writer {
  private turn = 0;
  private keys = 0;

  /** @param repeatKey the number of a key that is written twice, with its value */
  constructor(
    private readonly choices: readonly number[],
    private readonly repeatKey = -1,
  ) {}

  write(tree: Tree): string {
    return `${this.space()}${this.value(tree)}${this.space()}`;
  }

  private value(tree: Tree): string {
    if (tree === null || typeof tree === 'boolean') return String(tree);
    if (typeof tree === 'string') return this.string(tree);
    if (isArray(tree)) return `[${tree.map((item) => this.write(item)).join() || this.space()}]`;
    if ('number' in tree) return tree.number;
    return `{${tree.members.map((member) => this.member(member)).join() || this.space()}}`;
  }

  private member([key, member]: readonly [string, Tree]): string {
    const number = this.keys++;
    const write = () => `${this.space()}${this.string(key)}${this.space()}:${this.write(member)}`;
    return number === this.repeatKey ? `${write()},${write()}` : write();
  }

  private string(text: string): string {
    let written = '';
    for (let i = 0; i < text.length; i++) written += this.character(text.charAt(i));
    return `"${written}"`;
  }

  private character(character: string): string {
    const hex = character.charCodeAt(0).toString(16).padStart(4, '0');
    const choice = this.next();
    if (choice === 0) return `\\u${hex}`;
    if (choice === 1) return `\\u${hex.toUpperCase()}`;
    const short = SHORT_ESCAPES.get(character);
    const mustEscape = character === '"' || character === '\\' || character < ' ';
    if (short !== undefined && (mustEscape || choice === 2)) return short;
    return mustEscape ? `\\u${hex}` : character;
  }

  private space(): string {
    return ['', '', '', ' ', '\n', '\t', '\r\n'][this.next()] ?? '';
  }

  private next(): number {
    return (this.choices[this.turn++ % this.choices.length] ?? 0) % 7;
  }
}

/** Any UTF-16 code unit, lone surrogates included. (fast-check's own `binary` takes seconds to build.) */
const anyUnit = fc
  .oneof(fc.nat({ max: 0x7f }), fc.nat({ max: 0xffff }))
  .map((code) => String.fromCharCode(code));

const awkwardString = fc.constantFrom(
  '',
  ':',
  '":',
  'a":1,"b',
  '\\',
  '\\":',
  '{"a":1}',
  '\u0000',
  '\ud800',
  '\udc00x',
  '\u2028',
  '\ufeff',
  '😀',
);
const text = fc.oneof(awkwardString, fc.string({ unit: anyUnit, maxLength: 8 }), fc.string({ maxLength: 8 }));
const key = fc.oneof(
  fc.constantFrom('a', 'amount', '__proto__', 'constructor', 'toString', 'toJSON', '0', 'length'),
  text,
);
const number = fc.oneof(
  fc.constantFrom('0', '-0', '0.0', '1e2', '1E+2', '1e400', '9007199254740993.07', '1.005', '350.00'),
  fc.stringMatching(/^-?(0|[1-9]\d{0,25})(\.\d{1,8})?([eE][+-]?\d{1,4})?$/),
);

function trees(keys: fc.Arbitrary<string>): fc.Arbitrary<Tree> {
  const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
    tree: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom(null, true, false),
      number.map((digits) => ({ number: digits })),
      text,
      fc.array(tie('tree'), { maxLength: 4 }),
      fc
        .uniqueArray(fc.tuple(keys, tie('tree')), { maxLength: 4, selector: ([name]) => name })
        .map((members) => ({ members })),
    ),
  }));
  return tree;
}

const choices = fc.array(fc.nat({ max: 6 }), { minLength: 1, maxLength: 20 });

describe('parseJsonBody: numbers', () => {
  it.each(['9007199254740993.07', '9999999999999999.99', '1e2', '1E400', '-0', '0.10', '350.00', '1.005'])(
    'keeps %s as it was written',
    (digits) => {
      expect(parseJsonBody(`{"amount":${digits}}`)).toEqual({ amount: new NumberText(digits) });
      expect(parseJsonBody(digits)).toEqual(new NumberText(digits));
    },
  );

  it.each(['01', '1.', '.5', '+1', '0x10', 'NaN', 'Infinity', '-', '1e', '1_000', '１２', '--1', '1n'])(
    'refuses %s, which is not a JSON number',
    (digits) => {
      expect(refusalOf(`{"amount":${digits}}`)).toBe(NOT_JSON);
    },
  );

  it('keeps a string of digits a string', () => {
    expect(parseJsonBody('{"amount":"1e2"}')).toEqual({ amount: '1e2' });
  });
});

describe('parseJsonBody: the same key twice', () => {
  it.each([
    ['with another value', '{"amount":1,"amount":2}'],
    ['with an equal number', '{"amount":1,"amount":1}'],
    ['with an equal string', '{"a":"x","a":"x"}'],
    ['with equal objects', '{"a":{"b":[1,{}]},"a":{"b":[1,{}]}}'],
    ['with null', '{"a":null,"a":null}'],
    ['in another spelling', '{"a":1,"\\u0061":1}'],
    ['in another spelling of hex digits', '{"\\u00e9":1,"\\u00E9":1}'],
    ['with a space before the colon', '{"a":1,"a" :1}'],
    ['with a line break before the colon', '{"a"\n:1,"a"\r\n\t:1}'],
    ['three times', '{"a":1,"a":1,"a":1}'],
    ['not side by side', '{"a":1,"b":2,"a":1}'],
    ['inside an object', '{"x":{"a":1,"a":1}}'],
    ['inside an array', '[{"a":1,"a":1}]'],
    ['as __proto__', '{"__proto__":1,"__proto__":1}'],
    ['as __proto__ with objects', '{"__proto__":{},"__proto__":{}}'],
    ['as the empty key', '{"":1,"":1}'],
    ['with quotes in it', '{"\\"":1,"\\"":1}'],
  ])('is refused %s', (_, body) => {
    // lossless-json itself rejects repeated keys with different values.
    expect([TWICE, NOT_JSON]).toContain(refusalOf(body));
  });

  it.each([
    ['{"a":{"a":1}}'],
    ['[{"a":1},{"a":1}]'],
    ['{"a":"a\\":1","b":"\\"a\\":1"}'],
    ['{"a":":","b":" : "}'],
    ['{"a":["x",":"],"b":"{\\"a\\":1}"}'],
    ['{"a":"\\\\","b":"\\\\"}'],
    ['{"a\\":":1,"a":2}'],
    ['{"a":1,"A":1}'],
  ])('is not seen in %s', (body) => {
    expect(canonical(parseJsonBody(body))).toBe(canonical(parseReference(body)));
  });

  it('is found wherever it stands and however it is spelt', () => {
    const withKeys = trees(key).filter((tree) => keysOf(tree) > 0);
    fc.assert(
      fc.property(withKeys, choices, fc.nat(), (tree, spelling, which) => {
        const body = new Writer(spelling, which % keysOf(tree)).write(tree);
        expect([TWICE, NOT_JSON]).toContain(refusalOf(body));
      }),
      { numRuns: 500 },
    );
  });
});

describe('parseJsonBody: dangerous keys', () => {
  it.each(['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'])(
    'makes %s a member like any other',
    (name) => {
      const body = parseJsonBody(`{"${name}":{"polluted":true}}`) as object;
      expect(Object.keys(body)).toEqual([name]);
      expect(Object.getPrototypeOf(body)).toBe(Object.prototype);
      expect('polluted' in {}).toBe(false);
      expect((body as { polluted?: boolean }).polluted).toBeUndefined();
    },
  );
});

describe('parseJsonBody: strings', () => {
  it.each([
    ['an escaped NUL', '"a\\u0000b"', 'a\u0000b'],
    ['a lone high surrogate', '"\\ud800"', '\ud800'],
    ['a lone low surrogate', '"\\udc00"', '\udc00'],
    ['a pair', '"\\ud83d\\ude00"', '😀'],
    ['all short escapes', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'],
  ])('reads %s', (_, body, value) => {
    expect(parseJsonBody(body)).toBe(value);
  });

  it.each([
    ['a raw NUL', '"a\u0000b"'],
    ['a raw line break', '"a\nb"'],
    ['an unknown escape', '"\\x41"'],
    ['a short unicode escape', '"\\u41"'],
    ['no end', '"abc'],
    ['an escaped end', '"abc\\"'],
    ['single quotes', "'abc'"],
  ])('refuses %s', (_, body) => {
    expect(refusalOf(body)).toBe(NOT_JSON);
  });
});

describe('parseJsonBody: text that is not JSON', () => {
  it.each([
    [''],
    [' '],
    ['{'],
    ['}'],
    ['{"a":1'],
    ['{"a":1,}'],
    ['{"a"}'],
    ['{a:1}'],
    ['[1,]'],
    ['[1 2]'],
    ['{"a":1}{"a":1}'],
    ['{"a":1} x'],
    ['\ufeff{}'],
    ['undefined'],
    ['True'],
    ['nul'],
    ['// {}'],
    ['{"a":1 /* one */}'],
    ['\u00a0{}'],
    ['amount=1&type=Deposit'],
  ])('refuses %j', (body) => {
    expect(refusalOf(body)).toBe(NOT_JSON);
  });

  it.each(['null', 'true', '[]', '"x"', ' {} '])('leaves it to the DTO to judge %s', (body) => {
    expect(parseJsonBody(body)).toEqual(JSON.parse(body));
  });
});

describe('parseJsonBody: nesting', () => {
  it('accepts a moderate depth', () => {
    expect(parseJsonBody('[[[[{"a":[[]]}]]]]')).toEqual([[[[{ a: [[]] }]]]]);
  });

  it.each([
    ['8,000 brackets', '['.repeat(8_000)],
    ['8,000 pairs of brackets', '['.repeat(8_000) + ']'.repeat(8_000)],
    ['2,700 objects in each other', '{"a":'.repeat(2_700) + '1' + '}'.repeat(2_700)],
    ['200,000 brackets', '['.repeat(200_000)],
    ['200,000 pairs of brackets', '['.repeat(200_000) + ']'.repeat(200_000)],
    [
      'two equal members nested 1,300 deep',
      `{"a":${'['.repeat(1_300)}${']'.repeat(1_300)},"a":${'['.repeat(1_300)}${']'.repeat(1_300)}}`,
    ],
  ])('answers %s with a value or a refusal, and overflows nothing', (_, body) => {
    let value: unknown;
    try {
      value = parseJsonBody(body);
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidRequestError);
      return;
    }
    expect(typeof value).toBe('object');
  });
});

describe('parseJsonBody: properties', () => {
  it('reads any value, however it is written', () => {
    fc.assert(
      fc.property(trees(key), choices, (tree, spelling) => {
        expect(canonical(parseJsonBody(new Writer(spelling).write(tree)))).toBe(canonicalTree(tree));
      }),
      { numRuns: 1_000 },
    );
  });

  it('agrees with JSON.parse when numbers are compared as text', () => {
    // Plain keys only: Node 24's JSON.parse confuses escaped ones (nodejs/node#63785), and `__proto__` in a reviver.
    const plainKey = fc.string({ unit: fc.constantFrom(...'abcXYZ019 ._-:é'), maxLength: 4 });
    fc.assert(
      fc.property(trees(plainKey), (tree) => {
        const body = new Writer([4]).write(tree);
        expect(canonical(parseJsonBody(body))).toBe(canonical(parseReference(body)));
      }),
      { numRuns: 500 },
    );
  });

  it('refuses what JSON.parse refuses and, beyond that, only repeated keys', () => {
    const edit = fc.record({
      at: fc.nat(),
      remove: fc.nat({ max: 2 }),
      insert: fc.constantFrom('', ...'"\\:,{}[]0e.-'),
    });
    fc.assert(
      fc.property(
        trees(fc.constantFrom('a', 'b', ':')),
        choices,
        edit,
        (tree, spelling, { at, remove, insert }) => {
          const body = new Writer(spelling).write(tree);
          const place = at % (body.length + 1);
          const edited = body.slice(0, place) + insert + body.slice(place + remove);
          if (isJson(edited) && !hasKeyTwice(edited)) {
            expect(canonical(parseJsonBody(edited))).toBe(canonical(parseReference(edited)));
          } else {
            expect([TWICE, NOT_JSON]).toContain(refusalOf(edited));
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

function keysOf(tree: Tree): number {
  if (tree === null || typeof tree !== 'object') return 0;
  if (isArray(tree)) return tree.reduce((sum, item) => sum + keysOf(item), 0);
  if ('number' in tree) return 0;
  return tree.members.reduce((sum, [, member]) => sum + 1 + keysOf(member), 0);
}

/** JSON.parse with numbers by their text. */
function parseReference(body: string): unknown {
  const reviver = (_: string, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' ? new NumberText(context?.source) : value;
  return JSON.parse(body, reviver);
}

function isJson(body: string): boolean {
  try {
    JSON.parse(body);
    return true;
  } catch {
    return false;
  }
}

/** Reads valid JSON token by token and keeps the keys seen in each open object. */
function hasKeyTwice(body: string): boolean {
  const open: Set<string>[] = [];
  const tokens = body.match(/"(?:[^"\\]|\\[^])*"|[{}[\]:,]|[^\s"{}[\]:,]+/g) ?? [];
  for (const [index, token] of tokens.entries()) {
    if (token === '{' || token === '[') open.push(new Set());
    else if (token === '}' || token === ']') open.pop();
    else if (token.startsWith('"') && tokens[index + 1] === ':') {
      // As an array: JSON.parse reads strings correctly unless they are keys.
      const [name] = JSON.parse(`[${token}]`) as [string];
      if (open.at(-1)?.has(name)) return true;
      open.at(-1)?.add(name);
    }
  }
  return false;
}

describe('a plain object, which most bodies are', () => {
  const numbers = (text: string) => canonical(parseJsonBody(text));

  it.each([
    ['{"amount":1.00,"type":"Deposit"}', '{"amount":#1.00,"type":"Deposit"}'],
    [' {"a":1}', '{"a":#1}'],
    ['{ "a" : -0 ,\t"b"\r\n:\n"" }', '{"a":#-0,"b":""}'],
    ['{"a":1}\n', '{"a":#1}'],
    ['{"a":1e2,"b":1E+2}', '{"a":#1e2,"b":#1E+2}'],
    ['{"":"\u007f\u00e9\u2028"}', '{"":"\u007f\u00e9\u2028"}'],
    ['{"a":{"b":1}}', '{"a":{"b":#1}}'],
    ['{}', '{}'],
  ])('%j', (text, expected) => {
    expect(numbers(text)).toBe(expected);
  });

  it.each([
    ['{"a":1,}', NOT_JSON],
    ['{"a":1}}', NOT_JSON],
    ['{"a":1}x', NOT_JSON],
    ['{"a":01}', NOT_JSON],
    ['{"a":1.}', NOT_JSON],
    ['{"a":.5}', NOT_JSON],
    ['{"a":+1}', NOT_JSON],
    ['{"a":"\n"}', NOT_JSON],
    ['{"a\u0000":1}', NOT_JSON],
    ['{"a":1 "b":2}', NOT_JSON],
    ['{"a":1,"a":2}', TWICE],
    ['{"a":1,"\\u0061":2}', TWICE],
  ])('is not %j', (text, message) => {
    expect(refusalOf(text)).toBe(message);
  });
});
