import { ApiHeader, ApiParam, ApiQuery, type ApiOperationOptions, type OpenAPIObject } from '@nestjs/swagger';
import { parseMoney } from '../../domain/money.js';
import { DEFAULT_LIMIT, MAX_LIMIT } from '../validation/cursor.js';
import { JsonMoney } from '../validation/json-money.js';

/** JSON Schema 2020-12, which OpenAPI 3.1 uses. Nest's own type describes the older dialect of 3.0. */
export type JsonSchema = Readonly<Record<string, unknown>>;

export interface Reference {
  $ref: string;
}

export type Responses = NonNullable<ApiOperationOptions['responses']>;

type Components = NonNullable<OpenAPIObject['components']>;
type Response = Exclude<NonNullable<Components['responses']>[string], Reference>;

const components = { schemas: {}, responses: {}, headers: {} } satisfies Components;

/**
 * Adds a component to the document and returns a reference to it. A feature names its own schemas beside its routes,
 * and no reference can point to what does not exist.
 */
export function component(kind: keyof typeof components, name: string, definition: object): Reference {
  const existing: Record<string, object> = components[kind];
  if (name in existing) throw new Error(`components.${kind}.${name} is defined twice`);
  existing[name] = definition;
  return { $ref: `#/components/${kind}/${name}` };
}

export const schema = (name: string, definition: JsonSchema) => component('schemas', name, definition);

/** The components that were added so far, in an order that does not depend on which module was loaded first. */
export function sortedComponents(): Components {
  return Object.fromEntries(
    Object.entries(components).map(([kind, members]) => [
      kind,
      Object.fromEntries(Object.entries<object>(members).sort(([a], [b]) => (a < b ? -1 : 1))),
    ]),
  );
}

/** An amount of an example, written like the service writes it: `350.00`, not `350`. */
export const money = (text: string) => new JsonMoney(parseMoney(text));

/** 9999999999999999.99, as a validator that knows only floating-point numbers reads it. */
const LARGEST_AMOUNT = 1e16;

export const Money = schema('Money', {
  description:
    'An amount with exactly two decimals, at most 9999999999999999.99 (DECIMAL(18,2)). Amounts of more than 15 digits ' +
    'need a JSON parser that keeps all digits of a number.',
  type: 'number',
  minimum: 0,
  maximum: LARGEST_AMOUNT,
});

export const Amount = schema('Amount', {
  description:
    'An amount greater than zero with at most 16 digits before the point and 2 after it, as a JSON number or as a ' +
    'string. Both are read exactly. Exponents and signs are refused.',
  oneOf: [
    { type: 'number', exclusiveMinimum: 0, maximum: LARGEST_AMOUNT },
    { type: 'string', pattern: '^\\d{1,16}(\\.\\d{1,2})?$' },
  ],
});

export const AccountId = schema('AccountId', { type: 'integer', format: 'int64', minimum: 1 });

export const Version = schema('Version', {
  description:
    'The version of an account. It grows by exactly 1 with each accepted transaction, without gaps.',
  type: 'integer',
  format: 'int64',
  minimum: 1,
});

export const NextCursor = schema('NextCursor', {
  description: 'Give it as `cursor` to get the next page; null on the last page.',
  type: ['string', 'null'],
});

/** `{"error":"…"}`, and what else the object holds. */
const errorSchema = (name: string, error: JsonSchema, more: Record<string, JsonSchema | Reference> = {}) =>
  schema(name, {
    type: 'object',
    properties: { error: { type: 'string', ...error }, ...more },
    required: ['error', ...Object.keys(more)],
  });

export const ErrorBody = errorSchema('Error', { description: 'What happened. The text is stable.' });

export const InvalidRequest = errorSchema(
  'InvalidRequest',
  { const: 'Invalid request' },
  {
    details: {
      description: 'Every field that is wrong, named as the client wrote it.',
      type: 'array',
      items: {
        type: 'object',
        properties: { field: { type: 'string' }, message: { type: 'string' } },
        required: ['field', 'message'],
      },
    },
  },
);

export const VersionMismatch = errorSchema(
  'VersionMismatch',
  { const: 'Version mismatch' },
  { CurrentVersion: Version },
);

export const ServerCrashes = errorSchema(
  'ServerCrashes',
  { const: 'Server Crashes' },
  {
    CurrentVersion: {
      description: 'The last known version of the account; null if it is not known.',
      type: ['integer', 'null'],
      format: 'int64',
    },
  },
);

/** A request of which a part did not come in time. It is answered below the routes, in `http/connections.ts`. */
export const NotReceived = errorSchema('NotReceived', { const: 'Request not received in time' });

const responseHeader = (name: string, description: string, example: string | number) =>
  component('headers', name, {
    description,
    schema: { type: typeof example === 'number' ? 'integer' : 'string' },
    example,
  });

export const ETag = responseHeader('ETag', 'The version of the account, as an entity tag.', '"8"');
export const AccountETag = responseHeader(
  'AccountETag',
  'The version of the account and its revision, which counts the changes that are no transactions, as an entity tag.',
  '"8.0"',
);
export const Location = responseHeader('Location', 'Where the new resource is.', '/transactions/txn131');
export const RetryAfter = responseHeader(
  'Retry-After',
  'Seconds to wait before the request is sent again.',
  1,
);
/** A header that only some of the answers have. */
const optionalHeader = (name: string, description: string, example: string) =>
  component('headers', name, { description, required: false, schema: { type: 'string' }, example });

/** On a 409 that says `Duplicate …`. */
export const OriginalLocation = optionalHeader(
  'OriginalLocation',
  'On a duplicate: where the resource is that the first request made.',
  '/transactions/txn131',
);

/**
 * The fields of the IETF draft "RateLimit header fields for HTTP". On answers to a request that the rate limit has counted
 * or refused; not there where there is no limit.
 */
export const RATE_LIMIT_HEADERS: Readonly<Record<string, Reference>> = {
  'RateLimit-Policy': optionalHeader(
    'RateLimit-Policy',
    'The limit of the user, where there is one: `q` transactions in `w` seconds.',
    '"transactions";q=100;w=10',
  ),
  RateLimit: optionalHeader(
    'RateLimit',
    'What is left of it: `r` transactions may be sent at once; after `t` seconds without any it is whole again.',
    '"transactions";r=99;t=1',
  ),
};

const RequestId = responseHeader(
  'X-Request-Id',
  'The id of the request: the one that the client sent, or a new one. The log of the service uses it.',
  'b2f0c9de-6a0f-4c40-9a43-0b3f5e0b7c11',
);

/** A response with a JSON body; `examples` are named bodies. Every response carries a request id. */
export function jsonResponse(
  description: string,
  body: Reference | { anyOf: Reference[] },
  examples: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, Reference>> = {},
): Response {
  const [only, ...others] = Object.values(examples);
  const named = Object.fromEntries(Object.entries(examples).map(([name, value]) => [name, { value }]));
  return {
    description,
    headers: { ...headers, 'X-Request-Id': RequestId },
    content: {
      'application/json': {
        schema: body,
        ...(others.length === 0 ? { example: only } : { examples: named }),
      },
    },
  };
}

/** A response without a body, or with one that is not JSON. */
export function plainResponse(
  description: string,
  headers: Readonly<Record<string, Reference>> = {},
  content?: Response['content'],
): Response {
  return { description, headers: { ...headers, 'X-Request-Id': RequestId }, ...(content && { content }) };
}

const sharedResponse = (name: string, response: Response) => component('responses', name, response);

/** 400, with the answer to one wrong field as its example. */
export const invalidRequest = (field: string, message: string) =>
  jsonResponse('A field of the path, the query, the headers or the body is wrong.', InvalidRequest, {
    [field]: { error: 'Invalid request', details: [{ field, message }] },
  });

export const INVALID_ACCOUNT_ID = invalidRequest('accountId', 'must be a positive integer');

export const ACCOUNT_NOT_FOUND = sharedResponse(
  'AccountNotFound',
  jsonResponse('There is no such account, or it is not one that the sender may see.', ErrorBody, {
    notFound: { error: 'Account not found' },
  }),
);

const SERVER_CRASHES = sharedResponse(
  'ServerCrashes',
  jsonResponse(
    'The database failed, or the request did not come in whole in time. It is certain that nothing was changed: try again.',
    { anyOf: [ServerCrashes, NotReceived] },
    {
      'The version is known': { error: 'Server Crashes', CurrentVersion: 5 },
      'The version is not known': { error: 'Server Crashes', CurrentVersion: null },
      'The client was too slow': { error: 'Request not received in time' },
    },
  ),
);

const INTERNAL_ERROR = sharedResponse(
  'InternalError',
  jsonResponse('A defect of the service. It is logged with the request id.', ErrorBody, {
    internal: { error: 'Internal error' },
  }),
);

const OVERLOADED_BODY = { error: 'Overloaded' };

const OVERLOADED = sharedResponse(
  'Overloaded',
  jsonResponse(
    'Too many requests wait already, or the service is stopping.',
    ErrorBody,
    { overloaded: OVERLOADED_BODY },
    { 'Retry-After': RetryAfter },
  ),
);

const UNAVAILABLE = sharedResponse(
  'Unavailable',
  jsonResponse(
    '`Overloaded`: too many requests wait already, or the service is stopping; nothing was changed. ' +
      '`Outcome unknown`: the database was lost during COMMIT and did not come back in time. Send a request ' +
      'that had an Idempotency-Key again with the same key to learn the outcome; without a key, check whether it was ' +
      'carried out before you send it again.',
    ErrorBody,
    { Overloaded: OVERLOADED_BODY, 'Outcome unknown': { error: 'Outcome unknown' } },
    { 'Retry-After': RetryAfter },
  ),
);

export const TOO_MANY_REQUESTS = sharedResponse(
  'TooManyRequests',
  jsonResponse(
    'The user is over the limit of transactions per second. Nothing was changed.',
    ErrorBody,
    { tooMany: { error: 'Too many requests' } },
    { 'Retry-After': RetryAfter, ...RATE_LIMIT_HEADERS },
  ),
);

export const WwwAuthenticate = responseHeader(
  'WWW-Authenticate',
  'What is wrong with the credential (RFC 6750).',
  'Bearer error="insufficient_scope", scope="accounts:read"',
);

export const UNAUTHORIZED = sharedResponse(
  'Unauthorized',
  jsonResponse(
    'There is no credential, or it is none that is good (any more).',
    ErrorBody,
    { unauthorized: { error: 'Unauthorized' } },
    { 'WWW-Authenticate': WwwAuthenticate },
  ),
);

export const FORBIDDEN = sharedResponse(
  'Forbidden',
  jsonResponse(
    'The credential does not have the scope that this needs: `WWW-Authenticate` names one that would do.',
    ErrorBody,
    { forbidden: { error: 'Forbidden' } },
    { 'WWW-Authenticate': WwwAuthenticate },
  ),
);

const BODY_TOO_LARGE = sharedResponse(
  'BodyTooLarge',
  jsonResponse('The body is over 16 KiB.', ErrorBody, { tooLarge: { error: 'Body too large' } }),
);

const NOT_JSON = sharedResponse(
  'NotJson',
  jsonResponse('The body is not JSON.', ErrorBody, {
    notJson: { error: 'Content type must be application/json' },
  }),
);

/** Answers that no operation lists, because any request can get them: by status. */
export const GENERAL_RESPONSES: Responses = {
  400: jsonResponse(
    'The request is not valid HTTP (`request`), its path is not a valid URL (`path`), or it has no `Host`, several, or one that is none. ' +
      'Where no credentials are needed because only this machine may send: the request was sent from elsewhere.',
    InvalidRequest,
    {
      request: { error: 'Invalid request', details: [{ field: 'request', message: 'is not valid HTTP' }] },
      path: { error: 'Invalid request', details: [{ field: 'path', message: 'is not a valid URL' }] },
      host: { error: 'Invalid request', details: [{ field: 'Host', message: 'is missing' }] },
      proxy: {
        error: 'Invalid request',
        details: [
          {
            field: 'x-forwarded-for',
            message:
              'is what a proxy adds. Where others than this machine send, set AUTH=on, and TRUSTED_PROXIES to the address of a proxy',
          },
        ],
      },
    },
  ),
  404: jsonResponse('There is no such path, or it does not have this method.', ErrorBody, {
    notFound: { error: 'Not found' },
  }),
  408: jsonResponse('The request did not arrive as a whole in time.', ErrorBody, {
    notReceived: { error: 'Request not received in time' },
  }),
  417: jsonResponse('The service does not know what `Expect` asks for.', ErrorBody, {
    unknown: { error: 'Expectation failed' },
  }),
  429: jsonResponse(
    'Too many malformed credentials came from the address of the client.',
    ErrorBody,
    { tooMany: { error: 'Too many requests' } },
    { 'Retry-After': RetryAfter },
  ),
  431: jsonResponse(
    'The path, the query and the headers are over 16 KiB together, or the headers are 1,000 or more.',
    ErrorBody,
    {
      tooLarge: { error: 'Headers too large' },
    },
  ),
  503: jsonResponse(
    "The identity provider's keys, or the bank's API keys, can't be read, so the credential can't be checked.",
    ErrorBody,
    {
      provider: { error: 'Identity provider unavailable' },
      apiKeys: { error: 'Credential store unavailable' },
    },
    { 'Retry-After': RetryAfter },
  ),
};

/** What can happen to every request that reads. */
export const READ_FAILURES: Responses = { 408: SERVER_CRASHES, 500: INTERNAL_ERROR, 503: OVERLOADED };

/** What can happen to every request that writes. */
export const WRITE_FAILURES: Responses = {
  408: SERVER_CRASHES,
  413: BODY_TOO_LARGE,
  415: NOT_JSON,
  500: INTERNAL_ERROR,
  503: UNAVAILABLE,
};

/*
 * Parameters. Swagger UI sends every example of a parameter as it comes, so only what must be given has one: with
 * another's version or key, "Try it out" would fail.
 */

export const AccountIdParameter = () =>
  ApiParam({ name: 'accountId', schema: { type: 'integer', format: 'int64', minimum: 1, example: 1 } });

export const RequestIdHeader = () =>
  ApiHeader({
    name: 'X-Request-Id',
    description:
      'An id for the request, which the response and the log repeat: up to 128 letters, digits and `._~:/+=@-`. ' +
      'Anything else is replaced by a new id.',
  });

/** @param what the request makes; its key belongs to `scope` */
export const IdempotencyKeyHeader = (what: string, scope: string) =>
  ApiHeader({
    name: 'Idempotency-Key',
    description:
      `A key of your own for this ${what}, for example a UUID: 1 to 255 visible ASCII characters, bare or as a ` +
      `quoted string. It belongs to ${scope} and lasts as long as the ${what}.`,
    schema: { type: 'string', pattern: '^[!-~]{1,255}$' },
  });

export const LimitQuery = () =>
  ApiQuery({
    name: 'limit',
    required: false,
    description: 'The size of a page.',
    schema: { type: 'integer', minimum: 1, maximum: MAX_LIMIT, default: DEFAULT_LIMIT },
  });

export const CursorQuery = () =>
  ApiQuery({
    name: 'cursor',
    required: false,
    description: 'The `nextCursor` of the page before.',
    schema: { type: 'string', maxLength: 200 },
  });
