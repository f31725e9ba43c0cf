import fc, { type Arbitrary } from 'fast-check';
import type { OpenApiContract, Parameter, Route, Schema } from './contract.js';
import { utf8, type Draft, type Pair } from './draft.js';
import { ACCEPTS } from './forms.js';
import { mutationsOf, type Mutation } from './mutations.js';
import { Values } from './values.js';

/** How often an operation is called, relative to one that is not listed. */
const WEIGHTS: Readonly<Record<string, number>> = {
  postTransaction: 24,
  postTransfer: 8,
  placeHold: 6,
  captureHold: 4,
  reverseTransaction: 3,
  reverseTransfer: 2,
  postBatch: 4,
  getBalance: 3,
  listTransactions: 3,
  getTransaction: 2,
};

/** One of so many requests is also sent in all forms of answers. */
const COMPARED = 12;

/** Requests to every operation of the document: valid ones, and ones with one or several mutations. */
export function requests(contract: OpenApiContract): Arbitrary<Draft> {
  const values = new Values(contract);
  const operations = contract.routes.map((route) => ({
    weight: WEIGHTS[route.operation.operationId] ?? 1,
    arbitrary: fc
      .tuple(valid(values, route), mutations(contract, route), fc.nat(COMPARED - 1))
      .map(([draft, changes, place]) => ({ ...mutated(draft, changes), inAllForms: place === COMPARED - 1 })),
  }));
  return fc.oneof(...operations);
}

function mutations(contract: OpenApiContract, route: Route): Arbitrary<readonly Mutation[]> {
  const mutation = fc.oneof(...mutationsOf(contract, route));
  return fc.oneof(
    { weight: 5, arbitrary: fc.constant([]) },
    { weight: 4, arbitrary: fc.tuple(mutation) },
    { weight: 1, arbitrary: fc.array(mutation, { minLength: 2, maxLength: 4 }) },
  );
}

/** One mutation may undo another, so the verdict on several is open. */
function mutated(draft: Draft, changes: readonly Mutation[]): Draft {
  const [first, ...others] = changes;
  if (!first) return draft;
  const result = changes.reduce((changed, { change }) => change(changed), draft);
  const verdict = first.verdict === 'well-formed' ? draft.verdict : first.verdict;
  return { ...result, verdict: others.length === 0 ? verdict : 'open' };
}

/** Most clients say nothing of the form of answers, or what every client says. */
const accept = fc.oneof(
  { withCrossShrink: true },
  { weight: 2, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.constantFrom(...ACCEPTS.keys()) },
);

function valid(values: Values, { method, path, operation, isStream }: Route): Arbitrary<Draft> {
  const parameters = operation.parameters ?? [];
  const given = (place: Parameter['in']) => {
    const ofPlace = parameters.filter((parameter) => parameter.in === place);
    const pairs = ofPlace.map(({ name, required, schema }) => {
      const pair = values.parameter(name, schema).map((value): Pair => [name, value]);
      return required === true ? pair : fc.option(pair, { nil: undefined, freq: 1 });
    });
    return fc.tuple(...pairs).map((list) => list.filter((pair) => pair !== undefined));
  };
  const schema: Schema | undefined = operation.requestBody?.content['application/json']?.schema;
  const body = schema ? values.members(schema) : fc.constant(undefined);
  return fc
    .record({ path: given('path'), query: given('query'), headers: given('header'), body, accept })
    .map((parts) => {
      const names = new Map(parts.path);
      const segments = path
        .split('/')
        .slice(1)
        .map((segment) => names.get(segment.slice(1, -1)) ?? segment);
      return {
        // A stream has no end.
        method: isStream ? 'HEAD' : method,
        segments: segments.map(encoded),
        query: withoutFilters(parts.query).map(([name, value]): Pair => [name, encoded(value)]),
        protocol: 'HTTP/1.1',
        headers: [
          ['Host', 'bank'],
          ...(parts.body ? [['Content-Type', 'application/json'] as const] : []),
          ...(parts.accept === undefined ? [] : [['Accept', parts.accept] as const]),
          ...parts.headers.map(([name, value]): Pair => [name, utf8(value)]),
        ],
        body: parts.body,
        verdict:
          ['getStatement', 'redeliver', 'streamEvents'].includes(operation.operationId) ||
          isAtomic(parts.query, parts.body ?? []) ||
          mayContradict(parts.body ?? [])
            ? 'open'
            : 'well-formed',
      };
    });
}

/** A cursor has the filters of its listing. */
const withoutFilters = (query: readonly Pair[]) =>
  query.some(([name]) => name === 'cursor')
    ? query.filter(([name]) => ['cursor', 'limit'].includes(name))
    : query;

/**
          ['getStatement', 'redeliver', 'streamEvents'].includes(operation.operationId) ||
 * The verdict on an atomic batch is open: two of its keys may be the same, and it may say twice that it is atomic. */
const isAtomic = (query: readonly Pair[], body: readonly Pair[]) =>
  query.some(([name]) => name === 'atomic') || body.some((member) => member.join() === '"atomic",true');

/** Larger ids than this name nothing, and are read as one. */
const accountIn = (source: string) => Math.min(Number(source.replaceAll('"', '')), Number.MAX_SAFE_INTEGER);

/** A hold ends at one time, and money goes to another account than the one from which it comes, which may be unknown. */
function mayContradict(body: readonly Pair[]): boolean {
  const valueOf = (wanted: string) =>
    body.find(([name, value]) => name === `"${wanted}"` && value !== 'null')?.[1];
  const [from, to] = [valueOf('from'), valueOf('to')];
  const endsTwice = valueOf('expiresAt') !== undefined && valueOf('expiresInSeconds') !== undefined;
  return endsTwice || (to !== undefined && (from === undefined || accountIn(from) === accountIn(to)));
}

/** Encoded for a URL, except for `{{…}}`. */
const encoded = (text: string) => (text.includes('{{') ? text : encodeURIComponent(text));
