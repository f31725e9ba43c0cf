import fc, { type Arbitrary } from 'fast-check';
import type { OpenApiContract, Operation, Parameter, Schema } from './contract.js';
import {
  BAD_BODIES,
  BAD_CONTENT_TYPES,
  BAD_FIELDS,
  BAD_HEADERS,
  BAD_HTTP_HEADERS,
  BAD_PARAMETERS,
  METHODS,
  ODD_CONTENT_TYPES,
  ODD_HEADERS,
  ODD_PARAMETERS,
  PATHS,
  SUFFIXES,
  UNKNOWN_MEMBERS,
  type ByName,
} from './bad-values.js';
import type { Draft, Pair, Verdict } from './draft.js';
import { schemaName } from './values.js';

/** A change of a request, and the verdict on a valid request after it. */
export interface Mutation {
  readonly verdict: Verdict;
  readonly change: (draft: Draft) => Draft;
}

type Mutations = Arbitrary<Mutation>;

const MALFORMED: Verdict = 'malformed';
const OPEN: Verdict = 'open';

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
export function mutationsOf(contract: OpenApiContract, operation: Operation): Mutations[] {
  const parameters = operation.parameters ?? [];
  const schema = operation.requestBody?.content['application/json']?.schema;
  return [
    ...parameters.flatMap((parameter) => ofParameter(parameter)),
    ...(parameters.some((parameter) => parameter.in === 'query') ? ofQuery(parameters) : []),
    ...(schema ? [...ofBody(contract, schema), ...ofContentType(), ...ofFraming()] : []),
    ...ofHttp(operation.operationId),
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

function ofParameter({ in: place, name }: Parameter): Mutations[] {
  const kind = name === 'to' ? 'from' : name;
  const change = {
    header: (draft: Draft, value: string) => withHeader(draft, [name, value]),
    query: (draft: Draft, value: string) => ({
      ...draft,
      query: [...without(draft.query, name), [name, value] as const],
    }),
    // Every path has its only parameter in second place.
    path: (draft: Draft, value: string) => ({ ...draft, segments: draft.segments.toSpliced(1, 1, value) }),
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
      ['note', '__proto__', 'constructor', 'toString', '', '%00', 'offset', 'LIMIT'],
      (draft, name) => add(draft, [name, '1']),
    ),
    oneOf(MALFORMED, names, (draft, name) => add(draft, [name, '1'], [name, '1'])),
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
    return [oneOf(MALFORMED, (BAD_FIELDS as ByName)[schemaName(property)] ?? ['[]'], set), any];
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
    oneOf('well-formed', [0, 1], (draft, place) => ({
      ...draft,
      body: members(draft).map((member, at) => (at === place ? [escaped(member[0]), member[1]] : member)),
    })),
    ...(takesList ? [] : ofLength(members)),
    anyText.map((body) => ({
      verdict: OPEN,
      change: (draft) => ({ ...draft, body: Buffer.from(body).toString('latin1') }),
    })),
  ];
}

const isList = (body: string) => body.startsWith('[');

const escaped = (quoted: string) =>
  quoted.replace(/^"(.)/, (_, letter: string) => `"\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);

const BODY_LIMIT_BYTES = 16 * 1024;
/** `{{…}}` may become longer or shorter. */
const MARGIN = 64;

function ofLength(members: (draft: Draft) => readonly Pair[]): Mutations[] {
  const padded = (draft: Draft, length: number): Draft => ({
    ...draft,
    body:
      `{${members(draft)
        .map((member) => member.join(':'))
        .join()}`.padEnd(length - 1) + '}',
  });
  return [
    oneOf(MALFORMED, [BODY_LIMIT_BYTES + MARGIN, 17_000, 60_000], padded),
    oneOf(MALFORMED, [BODY_LIMIT_BYTES + MARGIN, 40_000], (draft, length) => ({
      ...padded(draft, length),
      chunked: true,
    })),
    oneOf('well-formed', [BODY_LIMIT_BYTES - MARGIN], padded),
  ];
}

function ofContentType(): Mutations[] {
  return [
    oneOf(MALFORMED, BAD_CONTENT_TYPES, (draft, type) => withHeader(draft, ['Content-Type', type])),
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

/** Mutations of the framing. Only ones that fail at once: other tests cover bodies that never arrive. */
function ofFraming(): Mutations[] {
  const framed = (draft: Draft, headers: readonly Pair[]) =>
    closing({ ...draft, headers: [...draft.headers, ...headers] });
  return [
    oneOf('well-formed', [true], (draft, chunked) => ({ ...draft, chunked })),
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

function ofHttp(operationId: string): Mutations[] {
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
    ...(operationId === 'postBatch'
      ? [oneOf(MALFORMED, ['a', '"a"'], (draft, key) => withHeader(draft, ['Idempotency-Key', key]))]
      : []),
    oneOf(OPEN, METHODS, (draft, method) => ({ ...draft, method })),
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
