import type { Type } from '@nestjs/common';
import { ApiHeader, ApiParam, ApiQuery, type ApiOperationOptions, type OpenAPIObject } from '@nestjs/swagger';
import { parseMoney } from '../../domain/money.js';
import { AccountPathDto } from '../validation/account-path.dto.js';
import { fieldsOf, type DtoClass } from '../validation/contract.js';
import { ErrorDto, InvalidRequestDto, NotReceivedDto, ServerCrashesDto } from './error-bodies.js';
import { JSON_MEDIA_TYPE, withTextMoney } from '../validation/representation.js';
import { JsonMoney } from './json-money.js';
import { component, schema, type JsonSchema, type Reference } from '../schema/registry.js';
import { inForm, written, type Written } from './resource.js';

export type Responses = NonNullable<ApiOperationOptions['responses']>;

type Components = NonNullable<OpenAPIObject['components']>;
type Response = Exclude<NonNullable<Components['responses']>[string], Reference>;
type Examples = Readonly<Record<string, unknown>>;

/** An amount in an example, written as the service writes it: `350.00`, not `350`. */
export const money = (text: string) => new JsonMoney(parseMoney(text));

/**
 * The schema of a request body. If fields have aliases, it is either of two: with the fields' names, or with the
 * aliases.
 */
export function bodySchema(name: string, dtoClass: DtoClass<object>): Reference {
  const { aliases } = dtoClass;
  if (!aliases) return schema(name, objectSchema(dtoClass));
  const byField = new Map([...aliases].map(([alias, field]) => [field, alias]));
  const variants = [
    ['BySpecification', 'Names of the specification', byField],
    ['ByShortNames', 'Short names', new Map<string, string>()],
  ] as const;
  return schema(name, {
    oneOf: variants.map(([suffix, title, names]) =>
      schema(`${name}${suffix}`, { title, ...objectSchema(dtoClass, names) }),
    ),
  });
}

function objectSchema(
  dtoClass: DtoClass<object>,
  names: ReadonlyMap<string, string> = new Map(),
): JsonSchema {
  const fields = fieldsOf(dtoClass).map((field) => ({ ...field, name: names.get(field.name) ?? field.name }));
  const required = fields.filter(({ isOptional }) => !isOptional).map(({ name }) => name);
  return {
    type: 'object',
    properties: Object.fromEntries(fields.map((field) => [field.name, field.schema])),
    ...(required.length > 0 && { required }),
    additionalProperties: false,
  };
}

type ParameterDecorator = typeof ApiParam | typeof ApiQuery;

function parameters(dtoClass: DtoClass<object>, Parameter: ParameterDecorator): MethodDecorator[] {
  return fieldsOf(dtoClass).map(({ name, isOptional, schema: { description, ...ofField } }) =>
    Parameter({
      name,
      required: !isOptional,
      ...(description !== undefined && { description: description as string }),
      schema: ofField,
    }),
  );
}

/** The parameters of a path, from its DTO. */
export const pathOf = (dtoClass: DtoClass<object>) => parameters(dtoClass, ApiParam);

/** The parameters of a query, from its DTO. */
export const queryOf = (dtoClass: DtoClass<object>) => parameters(dtoClass, ApiQuery);

/** An answer's body: a resource, or a list of them. */
export type Body = Type<object> | Written<never>;

const writtenBody = (body: Body): Written<never> => (typeof body === 'function' ? written(body) : body);

/** The schema of an answer's body, which may be any of several. */
function schemaOf([only, ...others]: readonly Written<never>[]): Reference | { anyOf: Reference[] } {
  const reference = (body: Written<never>) => body.schema as Reference;
  if (!only) throw new Error('an answer has a body');
  return others.length === 0 ? reference(only) : { anyOf: [only, ...others].map(reference) };
}

const responseHeader = (name: string, description: string, example: string | number) =>
  component('headers', name, {
    description,
    schema: { type: typeof example === 'number' ? 'integer' : 'string' },
    example,
  });

const TEXT_MONEY_TAG = 'Where money is text, it ends with `-string`.';
export const ETag = responseHeader(
  'ETag',
  `The version of the account, as an entity tag. ${TEXT_MONEY_TAG}`,
  '"8"',
);
export const AccountETag = responseHeader(
  'AccountETag',
  'The version of the account and its revision, which counts the changes that are no transactions, as an entity tag. ' +
    TEXT_MONEY_TAG,
  '"8.0"',
);
export const Location = responseHeader('Location', 'Where the new resource is.', '/transactions/txn131');
export const RetryAfter = responseHeader(
  'Retry-After',
  'Seconds to wait before the request is sent again.',
  1,
);
/** A header that only some answers have. */
const optionalHeader = (name: string, description: string, example: string) =>
  component('headers', name, { description, required: false, schema: { type: 'string' }, example });

/** On a 409 with `Duplicate …`. */
export const OriginalLocation = optionalHeader(
  'OriginalLocation',
  'On a duplicate: where the resource is that the first request made.',
  '/transactions/txn131',
);

const AcceptEncoding = optionalHeader(
  'AcceptEncoding',
  'Where the content encoding is what is wrong: the only one that a body may have.',
  'identity',
);

/**
 * The fields of the IETF draft "RateLimit header fields for HTTP". On answers to requests that the rate limit counted
 * or rejected; absent without a limit.
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

/**
 * A response with a JSON body; `examples` are named bodies. If any of them shows money, the response has a second form,
 * with money as text. Every response carries a request id.
 */
export function jsonResponse(
  description: string,
  body: Body | readonly Body[],
  examples: Examples,
  headers: Readonly<Record<string, Reference>> = {},
): Response {
  const bodies = [body].flat().map(writtenBody);
  const withMoney = bodies.filter((each) => each.withTextMoney);
  const inText = examplesWithTextMoney(examples);
  return {
    description,
    headers: { ...headers, 'X-Request-Id': RequestId },
    content: {
      [JSON_MEDIA_TYPE]: jsonContent(bodies, examples),
      ...(Object.keys(inText).length > 0 && {
        [withTextMoney(JSON_MEDIA_TYPE)]: jsonContent(
          withMoney.map((each) => inForm(each, true)),
          inText,
        ),
      }),
    },
  };
}

function jsonContent(bodies: readonly Written<never>[], examples: Examples) {
  const [only, ...others] = Object.values(examples);
  const named = Object.fromEntries(Object.entries(examples).map(([name, value]) => [name, { value }]));
  return { schema: schemaOf(bodies), ...(others.length === 0 ? { example: only } : { examples: named }) };
}

/** The other form of those examples that show money. */
function examplesWithTextMoney(examples: Examples): Examples {
  const inText = Object.entries(examples).map(([name, value]) => [name, value, moneyAsText(value)] as const);
  const holdMoney = inText.filter(([, value, text]) => JSON.stringify(value) !== JSON.stringify(text));
  return Object.fromEntries(holdMoney.map(([name, , text]) => [name, text]));
}

function moneyAsText(example: unknown): unknown {
  if (example instanceof JsonMoney) return example.text;
  if (Array.isArray(example)) return example.map(moneyAsText);
  if (typeof example !== 'object' || example === null) return example;
  return Object.fromEntries(Object.entries(example).map(([name, value]) => [name, moneyAsText(value)]));
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

/** 400, with one wrong field as its example. */
export const invalidRequest = (field: string, message: string) =>
  jsonResponse('A field of the path, the query, the headers or the body is wrong.', InvalidRequestDto, {
    [field]: { error: 'Invalid request', details: [{ field, message }] },
  });

export const INVALID_ACCOUNT_ID = invalidRequest('accountId', 'must be a positive integer');

export const ACCOUNT_NOT_FOUND = sharedResponse(
  'AccountNotFound',
  jsonResponse('There is no such account, or it is not one that the sender may see.', ErrorDto, {
    notFound: { error: 'Account not found' },
  }),
);

const SERVER_CRASHES = sharedResponse(
  'ServerCrashes',
  jsonResponse(
    'The database failed, or the request did not come in whole in time. It is certain that nothing was changed: try again.',
    [ServerCrashesDto, NotReceivedDto],
    {
      'The version is known': { error: 'Server Crashes', CurrentVersion: 5 },
      'The version is not known': { error: 'Server Crashes', CurrentVersion: null },
      'The client was too slow': { error: 'Request not received in time' },
    },
  ),
);

const INTERNAL_ERROR = sharedResponse(
  'InternalError',
  jsonResponse('A defect of the service. It is logged with the request id.', ErrorDto, {
    internal: { error: 'Internal error' },
  }),
);

const OVERLOADED_BODY = { error: 'Overloaded' };

const OVERLOADED = sharedResponse(
  'Overloaded',
  jsonResponse(
    'Too many requests wait already, or the service is stopping.',
    ErrorDto,
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
    ErrorDto,
    { Overloaded: OVERLOADED_BODY, 'Outcome unknown': { error: 'Outcome unknown' } },
    { 'Retry-After': RetryAfter },
  ),
);

export const TOO_MANY_REQUESTS = sharedResponse(
  'TooManyRequests',
  jsonResponse(
    'The user is over the limit of transactions per second. Nothing was changed.',
    ErrorDto,
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
    ErrorDto,
    { unauthorized: { error: 'Unauthorized' } },
    { 'WWW-Authenticate': WwwAuthenticate },
  ),
);

export const FORBIDDEN = sharedResponse(
  'Forbidden',
  jsonResponse(
    'The credential does not have the scope that this needs: `WWW-Authenticate` names one that would do.',
    ErrorDto,
    { forbidden: { error: 'Forbidden' } },
    { 'WWW-Authenticate': WwwAuthenticate },
  ),
);

const BODY_TOO_LARGE = sharedResponse(
  'BodyTooLarge',
  jsonResponse('The body is over 16 KiB.', ErrorDto, { tooLarge: { error: 'Body too large' } }),
);

const NOT_JSON = sharedResponse(
  'NotJson',
  jsonResponse(
    'The body is not JSON, or not sent as plain UTF-8: it is compressed, or said to be, or said to have another charset.',
    ErrorDto,
    {
      'Not JSON': { error: 'Content type must be application/json' },
      Compressed: { error: 'Content encoding is not supported' },
      'Another charset': { error: 'Charset must be utf-8' },
    },
    { 'Accept-Encoding': AcceptEncoding },
  ),
);

/** Answers that no operation lists, because any request can get them, by status. */
export const GENERAL_RESPONSES: Responses = {
  400: jsonResponse(
    'The request is not valid HTTP (`request`), its path is not a valid URL (`path`), or it has no `Host`, several, or one that is none. ' +
      'Where no credentials are needed because only this machine may send: the request was sent from elsewhere.',
    InvalidRequestDto,
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
  404: jsonResponse('There is no such path, or it does not have this method.', ErrorDto, {
    notFound: { error: 'Not found' },
  }),
  408: jsonResponse('The request did not arrive as a whole in time.', ErrorDto, {
    notReceived: { error: 'Request not received in time' },
  }),
  417: jsonResponse('The service does not know what `Expect` asks for.', ErrorDto, {
    unknown: { error: 'Expectation failed' },
  }),
  429: jsonResponse(
    'Too many malformed credentials came from the address of the client.',
    ErrorDto,
    { tooMany: { error: 'Too many requests' } },
    { 'Retry-After': RetryAfter },
  ),
  431: jsonResponse(
    'The path, the query and the headers are over 16 KiB together, or the headers are 1,000 or more.',
    ErrorDto,
    {
      tooLarge: { error: 'Headers too large' },
    },
  ),
  503: jsonResponse(
    "The identity provider's keys, or the bank's API keys, can't be read, so the credential can't be checked.",
    ErrorDto,
    {
      provider: { error: 'Identity provider unavailable' },
      apiKeys: { error: 'Credential store unavailable' },
    },
    { 'Retry-After': RetryAfter },
  ),
};

/** Failures of every request that reads. */
export const READ_FAILURES: Responses = { 408: SERVER_CRASHES, 500: INTERNAL_ERROR, 503: OVERLOADED };

/** Failures of every request that writes. */
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

export const AccountIdParameter = () => pathOf(AccountPathDto);

export const RequestIdHeader = () =>
  ApiHeader({
    name: 'X-Request-Id',
    description:
      'An id for the request, which the response and the log repeat: up to 128 letters, digits and `._~:/+=@-`. ' +
      'Anything else is replaced by a new id.',
  });

/** @param what the request creates; its key belongs to `scope` */
export const IdempotencyKeyHeader = (what: string, scope: string) =>
  ApiHeader({
    name: 'Idempotency-Key',
    description:
      `A key of your own for this ${what}, for example a UUID: 1 to 255 visible ASCII characters, bare or as a ` +
      `quoted string. It belongs to ${scope} and lasts as long as the ${what}.`,
    schema: { type: 'string', pattern: '^[!-~]{1,255}$' },
  });
