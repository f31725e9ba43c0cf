import type { IncomingHttpHeaders } from 'node:http';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { advice } from './advice.js';
import { Contract, type Elsewhere } from './contract.js';
import { checkHeaderNames } from './header-names.js';
import { InvalidRequestError } from './invalid-request.js';
import { checkPreferences } from './preferences.js';
import { checkAccept } from './representation.js';

declare const made: unique symbol;

/** Reads what a handler needs from a request. Only {@link reads} makes one, so no route can forget its checks. */
export interface Read<T> {
  /** @throws InvalidRequestError */
  (request: FastifyRequest): T;
  readonly [made]: true;
}

/**
 * Headers on which it depends whether, or how often, a request is carried out, or as what. Ignoring one would promise
 * what the service does not keep. (RFC 7240 lets a server ignore `Prefer`; but a client that prefers a rehearsal must
 * not get a posting. A route that takes it knows `respond-async`.) Idempotency-Key is refused with POST alone: repeating any other request changes nothing.
 */
const CONDITIONAL_HEADERS = [
  'Atomic',
  'Dry-Run',
  'Idempotency-Key',
  'If-Match',
  'If-Modified-Since',
  'If-None-Match',
  'If-Range',
  'If-Unmodified-Since',
  'Prefer',
  'X-Dry-Run',
  'X-HTTP-Method',
  'X-HTTP-Method-Override',
  'X-Method-Override',
] as const;

type ConditionalHeader = (typeof CONDITIONAL_HEADERS)[number];

/** What a route takes. What is not named here, it refuses. */
interface Taken<Query, Body> {
  readonly query?: Part<Query>;
  /** Left out: the route reads its body itself, or takes none. */
  readonly body?: Part<Body>;
  readonly headers?: readonly ConditionalHeader[];
  /** What to say of a header that is refused. */
  readonly instead?: Partial<Record<ConditionalHeader, string>>;
}

/** A {@link Contract}. */
interface Part<T> {
  readonly names: readonly string[];
  read(input: unknown, elsewhere: Elsewhere): T;
}

/** For routes without query parameters. */
class NoQueryDto {}
const noQuery = new Contract(NoQueryDto, 'query parameter');

/**
 * How a route reads its requests. Refuses query parameters that the route does not know, conditions that it does not
 * evaluate, and forms of answers that there are not.
 *
 * @param read makes what the handler needs of the request and its well-formed parts
 */
export function reads<T, Query = NoQueryDto, Body = undefined>(
  { query, body, headers = [], instead = {} }: Taken<Query, Body>,
  read: (request: FastifyRequest, query: Query, body: Body) => T,
): Read<T> {
  const inQuery = (query ?? noQuery) as Part<Query>;
  const refuse = refusalOf(headers, instead);
  const asHeaders = headers.map((name) => advice(name, `send the header ${name}`));
  const besidesQuery = [...belonging(body?.names ?? [], 'the body'), ...asHeaders];
  const besidesBody = [...belonging(inQuery.names, 'the query'), ...asHeaders];
  const checked = (request: FastifyRequest): T => {
    const inPath = () => belonging(Object.keys(request.params as object), 'the path');
    checkHeaderNames(request.raw.rawHeaders);
    checkAccept(request.headers);
    refuse(request.headers, request.method);
    // Refused above, unless the route takes it.
    if (request.headers.prefer !== undefined) checkPreferences(request.headers);
    const ofQuery = inQuery.read(request.query, () => [...besidesQuery, ...inPath()]);
    const ofBody = body?.read(request.body, () => [...besidesBody, ...inPath()]);
    return read(request, ofQuery, ofBody as Body);
  };
  return checked as Read<T>;
}

const belonging = (names: readonly string[], part: string) =>
  names.map((name) => advice(name, `${name} belongs in ${part}`));

function refusalOf(taken: readonly ConditionalHeader[], instead: Taken<never, never>['instead'] = {}) {
  const others = taken.filter((name) => name !== 'Prefer');
  const usual =
    others.length > 0 ? `this request takes ${others.join(' and ')}` : 'send the request without it';
  const refused = CONDITIONAL_HEADERS.filter((name) => !taken.includes(name)).map((name) => ({
    name,
    key: name.toLowerCase(),
    message: `is not supported here; ${instead[name] ?? usual}`,
  }));
  /** @throws InvalidRequestError */
  return (headers: IncomingHttpHeaders, method: string): void => {
    for (const { name, key, message } of refused) {
      if (headers[key] === undefined || (name === 'Idempotency-Key' && method !== 'POST')) continue;
      throw InvalidRequestError.of(name, message);
    }
  };
}

/**
 * Passes a handler what `read` makes of its request. One parameter without a pipe, because Nest creates promises for
 * each parameter that has one.
 */
export const Incoming = createParamDecorator(<T>(read: Read<T>, context: ExecutionContext): T =>
  read(context.getArgByIndex<FastifyRequest>(0)),
);
