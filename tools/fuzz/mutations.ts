import fc, { type Arbitrary } from 'fast-check';
import type { OpenApiContract, Parameter, Route, Schema } from './contract.js';
import {
  BAD_ACCEPTS,
  BAD_BODIES,
  BAD_CHARSETS,
  BAD_CONTENT_TYPES,
  BAD_ENCODINGS,
  BAD_FIELDS,
  BAD_FIELDS_BY_NAME,
  BAD_HEADERS,
  BAD_HTTP_HEADERS,
  BAD_PARAMETERS,
  CONDITIONS,
  GOOD_CONTENT_TYPES,
  METHODS,
  MISSPELT_HEADERS,
  ODD_CONTENT_TYPES,
  ODD_HEADERS,
  ODD_PARAMETERS,
  PATHS,
  SUFFIXES,
  UNKNOWN_MEMBERS,
  UNKNOWN_PARAMETERS,
  WRONG_METHODS,
  type ByName,
} from './bad-values.js';
import { objectText, utf8, type Chunking, type Draft, type Pair, type Verdict } from './draft.js';
import { isOfApi } from './rules.js';
import { BETWEEN_ITEMS, schemaName } from './values.js';

/** A change of a request, and the verdict on a valid request after it. */
export interface Mutation {
  readonly verdict: Verdict;
  readonly change: (draft: Draft) => Draft;
}

type Mutations = Arbitrary<Mutation>;

const WELL_FORMED: Verdict = 'well-formed';
const MALFORMED: Verdict = 'malformed';
const OPEN: Verdict = 'open';

const BOM = '\xef\xbb\xbf';

/** fast-check's own unit for this takes five seconds to build. */
const anyCharacter = fc
  .oneof(fc.nat(0x7f), fc.nat(0x10ffff))
  .map((codePoint) => String.fromCodePoint(codePoint).toWellFormed());
const anyText = fc.string({ unit: anyCharacter, maxLength: 300 });

/** The same change with one of several values. */
function oneOf<T>(
  verdict: Verdict,
  values: readonly T[],
  change: (draft: Draft, value: T) => Draft,
): Mutations {
  return fc.constantFrom(...values).map((value) => ({ verdict, change: (draft) => change(draft, value) }));
}

/** Mutations of everything that the operation documents, and of the rest of HTTP. */
export function mutationsOf(contract: OpenApiContract, { method, path, operation }: Route): Mutations[] {
  const parameters = operation.parameters ?? [];
  const schema = operation.requestBody?.content['application/json']?.schema;
  const methods = contract.routes.filter((route) => route.path === path).map((route) => route.method);
  return [
    ...parameters.flatMap((parameter) => ofParameter(parameter, path)),
    ...(isOfApi(operation) ? [...ofQuery(parameters), ...ofConditions(method, parameters)] : []),
    ...(schema ? [...ofBody(contract, schema), ...ofContentType(), ...ofFraming()] : ofNoBody()),
    ...ofMethod(methods),
    ...ofHttp(),
  ];
}

const withHeader = (draft: Draft, [name, value]: Pair): Draft => ({
  ...draft,
  headers: [...without(draft.headers, name), [name, value]],
});

const without = (pairs: readonly Pair[], name: string) =>
  pairs.filter((pair) => pair[0].toLowerCase() !== name.toLowerCase());

/** Closes the connection afterwards, because no client could interpret what follows. */
const closing = (draft: Draft): Draft => withHeader(draft, ['Connection', 'close']);

function ofParameter({ in: place, name }: Parameter, path: string): Mutations[] {
  const segment = path.split('/').indexOf(`{${name}}`) - 1;
  const kind = name === 'to' ? 'from' : name;
  const change = {
    header: (draft: Draft, value: string) => withHeader(draft, [name, value]),
    query: (draft: Draft, value: string) => ({
      ...draft,
      query: [...without(draft.query, name), [name, value] as const],
    }),
    path: (draft: Draft, value: string) => ({
      ...draft,
      segments: draft.segments.toSpliced(segment, 1, value),
    }),
  }[place];
  const lists: ByName = place === 'header' ? BAD_HEADERS : BAD_PARAMETERS;
  const bad = lists[kind] ?? [];
  const odd = ODD_PARAMETERS[kind] ?? [];
  const twice = (draft: Draft, value: string): Draft => ({
    ...draft,
    headers: [...draft.headers, [name, value], [name, value]],
  });
  return [
    ...(bad.length > 0 ? [oneOf(MALFORMED, bad, change)] : []),
    ...(odd.length > 0 && place !== 'header' ? [oneOf(OPEN, odd, change)] : []),
    anyText.map((text) => ({
      verdict: OPEN,
      change: (draft) => change(draft, place === 'header' ? visible(text) : encodeURIComponent(text)),
    })),
    ...(name === 'Idempotency-Key' ? [oneOf(MALFORMED, ['a', '"a"'], twice)] : []),
    ...(place === 'header' ? [oneOf(OPEN, ['"1"', '*', 'a'], twice)] : []),
  ];
}

/** The characters allowed in a header: RFC 9110, 5.5. */
const visible = (text: string) =>
  Buffer.from(text)
    .toString('latin1')
    .replaceAll(/\p{Cc}/gu, controlToTab);

/** U+0080 to U+009F are bytes like any other here. */
const controlToTab = (control: string) => (control >= '\x80' ? control : '\t');

function ofQuery(parameters: readonly Parameter[]): Mutations[] {
  const names = parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => name);
  const add = (draft: Draft, ...pairs: Pair[]): Draft => ({ ...draft, query: [...draft.query, ...pairs] });
  return [
    oneOf(
      MALFORMED,
      UNKNOWN_PARAMETERS.filter((name) => !names.includes(name)),
      (draft, name) => add(draft, [name, '1']),
    ),
    ...(names.length > 0
      ? [oneOf(MALFORMED, names, (draft, name) => add(draft, [name, '1'], [name, '1']))]
      : []),
    ...(names.includes('cursor') && names.includes('type') ? ofCursors() : []),
  ];
}

/** A cursor continues its listing: alone or with the same filters, but not with others. */
function ofCursors(): Mutations[] {
  const from = (cursor: string, ...filters: readonly Pair[]): readonly Pair[] => [
    ['cursor', cursor],
    ...filters,
  ];
  const since = ['from', '2020-01-01'] as const;
  const same = [
    from('{{cursor}}'),
    from('{{depositCursor}}'),
    from('{{depositCursor}}', ['type', 'Deposit']),
    from('{{depositCursor}}', ['type', 'CREDIT']),
  ];
  const others = [
    from('{{cursor}}', ['type', 'Deposit']),
    from('{{cursor}}', since),
    from('{{cursor}}', ['to', '2099-12-31T00:00:00Z']),
    from('{{depositCursor}}', ['type', 'Withdraw']),
    from('{{depositCursor}}', since),
    from('{{depositCursor}}', ['type', 'Deposit'], since),
  ];
  const change = (draft: Draft, query: readonly Pair[]): Draft => ({ ...draft, query });
  return [oneOf(WELL_FORMED, same, change), oneOf(MALFORMED, others, change)];
}

/** What an operation does not document, it must not silently drop. */
function ofConditions(method: string, parameters: readonly Parameter[]): Mutations[] {
  const isDocumented = (name: string) => parameters.some((parameter) => parameter.name === name);
  const unsupported = CONDITIONS.filter(([name]) => !isDocumented(name));
  const keys = method === 'POST' && !isDocumented('Idempotency-Key') ? ['a', '"a"'] : [];
  return [
    oneOf(MALFORMED, unsupported, withHeader),
    oneOf(MALFORMED, MISSPELT_HEADERS, (draft, name) => withHeader(draft, [name, '"1"'])),
    oneOf(MALFORMED, BAD_ACCEPTS, (draft, accept) => withHeader(draft, ['Accept', accept])),
    ...(keys.length > 0
      ? [oneOf(MALFORMED, keys, (draft, key) => withHeader(draft, ['Idempotency-Key', key]))]
      : []),
  ];
}

function ofBody(contract: OpenApiContract, reference: Schema): Mutations[] {
  const schema = contract.follow(reference);
  const schemas = (schema.oneOf ?? [schema]).map((form) => contract.follow(form));
  const forms = schemas.map((form) => Object.entries(form.properties ?? {}));
  // A batch reports an invalid element at its place in the list, and has another size limit than a single body.
  const takesList = schemas.some(({ type }) => type === 'array');
  const [lists, others] = [BAD_BODIES.filter(isList), BAD_BODIES.filter((body) => !isList(body))];
  const members = (draft: Draft) => (typeof draft.body === 'object' ? draft.body : []);
  const fields = forms.flat().flatMap(([name, property]) => {
    const quoted = JSON.stringify(name);
    const set = (draft: Draft, value: string): Draft =>
      members(draft).some((member) => member[0] === quoted)
        ? {
            ...draft,
            body: members(draft).map((member) => (member[0] === quoted ? [quoted, value] : member)),
          }
        : { ...draft, body: [...members(draft), [quoted, value]] };
    const any = fc
      .json({ maxDepth: 4 })
      .map((text) => ({ verdict: OPEN, change: (draft: Draft) => set(draft, text) }));
    return [oneOf(MALFORMED, badOf(name, property), set), any];
  });
  const both = forms.flatMap((form) => form.map(([name]) => [JSON.stringify(name), '1'] as const));
  return [
    ...fields,
    oneOf(MALFORMED, UNKNOWN_MEMBERS, (draft, member) => ({ ...draft, body: [...members(draft), member] })),
    // Then the body has the same member twice, or two names of one field.
    oneOf(OPEN, both, (draft, member) => ({ ...draft, body: [...members(draft), member] })),
    oneOf(MALFORMED, others, (draft, body) => ({ ...draft, body })),
    oneOf(takesList ? OPEN : MALFORMED, lists, (draft, body) => ({ ...draft, body })),
    oneOf(OPEN, [0, 1, 2], (draft, place) => ({ ...draft, body: members(draft).toSpliced(place, 1) })),
    oneOf(OPEN, [0, 1, 2], (draft, place) => ({
      ...draft,
      body: [...members(draft), ...members(draft).slice(place, place + 1)],
    })),
    // \u0061mount: another spelling of the same key.
    oneOf(WELL_FORMED, [0, 1], (draft, place) => ({
      ...draft,
      body: members(draft).map((member, at) => (at === place ? [escaped(member[0]), member[1]] : member)),
    })),
    ...(takesList ? ofLists(members) : ofLength(members)),
    ...ofCharacters((draft) =>
      typeof draft.body === 'object' ? objectText(draft.body) : (draft.body ?? ''),
    ),
    anyText.map((body) => ({
      verdict: OPEN,
      change: (draft) => ({ ...draft, body: Buffer.from(body).toString('latin1') }),
    })),
  ];
}

const badOf = (name: string, schema: Schema): readonly string[] =>
  (BAD_FIELDS as ByName)[schemaName(schema)] ?? BAD_FIELDS_BY_NAME[name] ?? ['[]'];

const isList = (body: string) => body.startsWith('[');

const escaped = (quoted: string) =>
  quoted.replace(/^"(.)/, (_, letter: string) => `"\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** A batch as an array, and as lines. Its body then does not say whether it is atomic. */
function ofLists(members: (draft: Draft) => readonly Pair[]): Mutations[] {
  const list = (draft: Draft) =>
    utf8(members(draft).find(([name]) => name === '"transactions"')?.[1] ?? '[]');
  const lines = (draft: Draft) => list(draft).slice(1, -1).split(BETWEEN_ITEMS);
  return [
    oneOf(WELL_FORMED, ['', ' ', BOM], (draft, before) => ({ ...draft, body: before + list(draft) })),
    oneOf(WELL_FORMED, ['\n', '\r\n', '\n \n'], (draft, end) => ({
      ...withHeader(draft, ['Content-Type', 'application/x-ndjson']),
      body: lines(draft)
        .map((line) => line + end)
        .join(''),
    })),
    oneOf(WELL_FORMED, ['application/jsonl', 'application/x-ndjson; charset=utf-8'], (draft, type) => ({
      ...withHeader(draft, ['Content-Type', type]),
      body: BOM + lines(draft).join('\n'),
    })),
  ];
}

/** Byte order marks, and bytes that are not UTF-8. */
function ofCharacters(textOf: (draft: Draft) => string): Mutations[] {
  const change = (edit: (text: string) => string) => (draft: Draft) => ({
    ...draft,
    body: edit(textOf(draft)),
  });
  const broken = ['\xff', '\xc3', '\xe2\x82', '\xed\xa0\x80', '\xc0\xaf', '\xf5\x80\x80\x80'];
  return [
    oneOf(WELL_FORMED, [BOM], (draft, mark) => change((text) => mark + text)(draft)),
    oneOf(MALFORMED, [BOM + BOM, '\xff\xfe', '\xfe\xff'], (draft, marks) =>
      change((text) => marks + text)(draft),
    ),
    oneOf(MALFORMED, [BOM], (draft, mark) => change((text) => text + mark)(draft)),
    // In the last string, if there is one; and after everything.
    oneOf(MALFORMED, broken, (draft, bytes) =>
      change((text) => text.replace(/"?(?=[^"]*$)/, (end) => bytes + end))(draft),
    ),
    oneOf(MALFORMED, broken, (draft, bytes) => change((text) => text + bytes)(draft)),
  ];
}

const BODY_LIMIT_BYTES = 16 * 1024;
/** `{{…}}` may become longer or shorter. */
const MARGIN = 64;

function ofLength(members: (draft: Draft) => readonly Pair[]): Mutations[] {
  const padded = (draft: Draft, length: number): Draft => ({
    ...draft,
    body:
      objectText(members(draft))
        .slice(0, -1)
        .padEnd(length - 1) + '}',
  });
  return [
    oneOf(MALFORMED, [BODY_LIMIT_BYTES + MARGIN, 17_000, 60_000], padded),
    oneOf(MALFORMED, [BODY_LIMIT_BYTES + MARGIN, 40_000], (draft, length) => ({
      ...padded(draft, length),
      chunking: { lengths: [4_096], head: hex, trailers: [] },
    })),
    oneOf(WELL_FORMED, [BODY_LIMIT_BYTES - MARGIN], padded),
  ];
}

function ofContentType(): Mutations[] {
  return [
    oneOf(MALFORMED, [...BAD_CONTENT_TYPES, ...BAD_CHARSETS], (draft, type) =>
      withHeader(draft, ['Content-Type', type]),
    ),
    oneOf(WELL_FORMED, GOOD_CONTENT_TYPES, (draft, type) => withHeader(draft, ['Content-Type', type])),
    oneOf(MALFORMED, BAD_ENCODINGS, (draft, coding) => withHeader(draft, ['Content-Encoding', coding])),
    oneOf(MALFORMED, ['gzip', 'br'], (draft, coding) => ({
      ...withHeader(draft, ['Content-Encoding', coding]),
      body: '\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0',
    })),
    oneOf(WELL_FORMED, ['identity', 'Identity'], (draft, coding) =>
      withHeader(draft, ['Content-Encoding', coding]),
    ),
    oneOf(OPEN, ODD_CONTENT_TYPES, (draft, type) => withHeader(draft, ['Content-Type', type])),
    oneOf(OPEN, ['text/plain', 'application/json'], (draft, type) => ({
      ...draft,
      headers: [...draft.headers, ['Content-Type', type]],
    })),
    oneOf(MALFORMED, ['Content-Type'], (draft, name) => ({
      ...draft,
      headers: without(draft.headers, name),
    })),
  ];
}

const hex = (length: number) => length.toString(16);

const CHUNKINGS: readonly Chunking[] = [
  { lengths: [4_096], head: hex, trailers: [] },
  { lengths: [1], head: hex, trailers: [] },
  { lengths: [1, 17, 2, 300, 3], head: (length) => hex(length).toUpperCase(), trailers: [] },
  { lengths: [10, 11], head: (length) => `00${hex(length)}`, trailers: [] },
  { lengths: [30], head: (length) => `${hex(length)};a=b;c`, trailers: [['X-Sum', '1']] },
  { lengths: [5], head: (length) => `${hex(length)};a="x;y\\"z"`, trailers: [] },
  {
    lengths: [64],
    head: hex,
    trailers: [
      ['X-Sum', '1'],
      ['X-Note', ''],
    ],
  },
];

/** No length, a wrong one, or extensions without end. */
const BAD_CHUNKINGS: readonly Chunking[] = [
  ...['', 'x', '-1', '0x1', ' ', 'fffffffffffffffff', '1 1'].map((text): Chunking => ({
    lengths: [64],
    head: () => text,
    trailers: [],
  })),
  { lengths: [100_000], head: (length) => `${hex(length)};${'a'.repeat(20_000)}`, trailers: [] },
  { lengths: [64], head: (length) => `${hex(length + 1)}`, trailers: [] },
];

/** Mutations of the framing. Only ones that fail at once: other tests cover bodies that never arrive. */
function ofFraming(): Mutations[] {
  const framed = (draft: Draft, headers: readonly Pair[]) =>
    closing({ ...draft, headers: [...draft.headers, ...headers] });
  return [
    oneOf(WELL_FORMED, CHUNKINGS, (draft, chunking) => ({ ...draft, chunking })),
    oneOf(MALFORMED, BAD_CHUNKINGS, (draft, chunking) => closing({ ...draft, chunking })),
    oneOf(MALFORMED, ['0', '1'], (draft, length) => framed(draft, [['Content-Length', length]])),
    oneOf(
      MALFORMED,
      [
        [
          ['Content-Length', '3'],
          ['Transfer-Encoding', 'chunked'],
        ],
        [
          ['Transfer-Encoding', 'chunked'],
          ['Content-Length', '3'],
        ],
        [
          ['Content-Length', '3'],
          ['Content-Length', '4'],
        ],
        [['Transfer-Encoding', 'gzip']],
        [['Transfer-Encoding', 'chunked, gzip']],
        [['Transfer-Encoding', 'nonsense']],
        [['Transfer-Encoding', 'chunked']],
      ] as const,
      framed,
    ),
    oneOf(MALFORMED, [undefined], (draft) => ({ ...draft, body: undefined })),
  ];
}

/** RFC 9110, 9.3.1: a body has no meaning here. */
function ofNoBody(): Mutations[] {
  return [oneOf(MALFORMED, ['{}', 'x'], (draft, body) => ({ ...draft, body }))];
}

function ofMethod(methods: readonly string[]): Mutations[] {
  const wrong = [...WRONG_METHODS, 'GET', 'POST'].filter((method) => !methods.includes(method));
  return [
    // With a body, GET and DELETE would be wrong for another reason.
    oneOf('wrong method', wrong, (draft, method) => ({
      ...draft,
      method,
      body: ['GET', 'DELETE'].includes(method) ? undefined : draft.body,
    })),
    oneOf(OPEN, METHODS, (draft, method) => ({ ...draft, method })),
  ];
}

function ofHttp(): Mutations[] {
  return [
    oneOf(OPEN, ODD_HEADERS, withHeader),
    oneOf(OPEN, ODD_HEADERS, (draft, header) => ({ ...draft, headers: [...draft.headers, header, header] })),
    oneOf(MALFORMED, BAD_HTTP_HEADERS, (draft, header) =>
      closing({ ...draft, headers: [...draft.headers, header] }),
    ),
    oneOf(OPEN, [50, 500], (draft, count) => ({
      ...draft,
      headers: [...draft.headers, ...Array.from({ length: count }, (_, n): Pair => [`X-${n}`, ''])],
    })),
    oneOf(MALFORMED, ['Host'], (draft, name) => ({ ...draft, headers: without(draft.headers, name) })),
    oneOf(MALFORMED, ['bank', 'other'], (draft, host) => ({
      ...draft,
      headers: [...draft.headers, ['Host', host]],
    })),
    oneOf(OPEN, PATHS, (draft, path) => ({ ...draft, segments: path.split('/') })),
    oneOf(OPEN, SUFFIXES, (draft, suffix) => ({ ...draft, suffix })),
    oneOf(OPEN, ['', 'x', 'balance', 'transactions', '..', '%2e', '1'], (draft, more) => ({
      ...draft,
      segments: [...draft.segments, more],
    })),
    oneOf(OPEN, [0, 1, 2], (draft, place) => ({ ...draft, segments: draft.segments.toSpliced(place, 1) })),
    oneOf(OPEN, ['HTTP/1.0', 'HTTP/2.0', 'HTTP/1.9'], (draft, protocol) => closing({ ...draft, protocol })),
    oneOf(MALFORMED, ['HTTP/9.9', 'HTTP/1', 'http/1.1', 'HTTP/1.1 x', 'HTTQ/1.1', ''], (draft, protocol) =>
      closing({ ...draft, protocol }),
    ),
    oneOf(OPEN, ['{}', '{', 'x'.repeat(20_000)], (draft, body) => ({ ...draft, body })),
  ];
}
