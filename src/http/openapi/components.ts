import { applyDecorators, type Type } from '@nestjs/common';
import { ApiHeader, ApiParam, ApiQuery, type ApiOperationOptions, type OpenAPIObject } from '@nestjs/swagger';
import { formatMoney, parseMoney } from '../../domain/money.js';
import { AccountPathDto } from '../validation/account-path.dto.js';
import { DryRunQueryDto } from '../validation/details.dto.js';
import { fieldsOf, objectSchema, type DtoClass } from '../validation/contract.js';
import { ERRORS, type ErrorCode } from '../errors/catalogue.js';
import { JSON_MEDIA_TYPE, PROBLEM_MEDIA_TYPE, withTextMoney } from '../validation/representation.js';
import {
  AboutAccountDto,
  DuplicateAccountDto,
  DuplicateHoldDto,
  DuplicateTransactionDto,
  DuplicateTransferDto,
  ErrorDto,
  HoldKeyReusedDto,
  HoldNotActiveDto,
  InvalidRequestDto,
  NotReceivedDto,
  PartOfTransferDto,
  ProblemDto,
  RevisionMismatchDto,
  ServerCrashesDto,
  TransactionKeyReusedDto,
  TransferKeyReusedDto,
  VersionMismatchDto,
} from './error-bodies.js';
import { JsonMoney } from './json-money.js';
import { QueuedSubmissionDto } from './queued-submission.js';
import { component, schema, type JsonSchema, type Reference } from '../schema/registry.js';
import { inForm, written, type Written } from './resource.js';

export type Responses = NonNullable<ApiOperationOptions['responses']>;

type Components = NonNullable<OpenAPIObject['components']>;
type Response = Exclude<NonNullable<Components['responses']>[string], Reference>;
export type ResponseHeaders = NonNullable<Response['headers']>;
type Examples = Readonly<Record<string, unknown>>;

/**
 * An amount in an example, written as the service writes it: `350.00`, not `350`. Swagger UI drops zeros at the end, so
 * the examples of answers have none.
 */
export const money = (text: string) => new JsonMoney(formatMoney(parseMoney(text, 2) ?? 0n, 2));

/**
 * The schema of a request body. If fields have aliases, it is either of two: with the fields' names, or with the
 * aliases.
 */
export function bodySchema(
  name: string,
  dtoClass: DtoClass<object>,
  more: { readonly minProperties?: number } = {},
): Reference {
  const { aliases } = dtoClass;
  if (!aliases) return schema(name, { ...objectSchema(dtoClass), ...more });
  const byField = new Map([...aliases].map(([alias, field]) => [field, alias]));
  const variants = [
    ['LongNames', byField],
    ['ShortNames', new Map<string, string>()],
  ] as const;
  return schema(name, {
    description: 'Its fields have long names or short ones, which mean the same; it must not mix the two.',
    oneOf: variants.map(([suffix, names]) => schema(`${name}${suffix}`, objectSchema(dtoClass, names))),
  });
}

type ParameterDecorator = typeof ApiParam | typeof ApiQuery;

function parameters(
  dtoClass: DtoClass<object>,
  Parameter: ParameterDecorator,
  as: JsonSchema = {},
): MethodDecorator[] {
  return fieldsOf(dtoClass).map(({ name, isOptional, schema: { description, ...ofField } }) =>
    Parameter({
      name,
      required: !isOptional,
      ...(description !== undefined && { description: description as string }),
      schema: { ...ofField, ...as },
    }),
  );
}

/**
 * The parameters of a path, from its DTO.
 *
 * @param as what else to say of each, like another example
 */
export const pathOf = (dtoClass: DtoClass<object>, as: JsonSchema = {}) => parameters(dtoClass, ApiParam, as);

/** The parameters of a query, from its DTO. */
export const queryOf = (dtoClass: DtoClass<object>) => parameters(dtoClass, ApiQuery);

/** An answer's body: a resource, or a list of them. */
export type Body = Type<object> | Written<never>;

const writtenBody = (body: Body): Written<never> => (typeof body === 'function' ? written(body) : body);

/** Of every error: the other error bodies hold more. */
const ANY_ERROR = written(ErrorDto).schema;

/** The schema of an answer's body, which may be any of several. A generated client takes the first that fits. */
function schemaOf(bodies: readonly Written<never>[]): Reference | { anyOf: Reference[] } {
  const references = bodies.map(({ schema }) => schema as Reference);
  const [only, ...others] = references.toSorted(
    (one, other) => Number(one === ANY_ERROR) - Number(other === ANY_ERROR),
  );
  if (!only) throw new Error('an answer has a body');
  return others.length === 0 ? only : { anyOf: [only, ...others] };
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
  'On a duplicate: where the resource is that the first request made. On another error: the transfer that has failed with it; ' +
    'the key is used up.',
  '/transactions/txn131',
);

const AcceptEncoding = optionalHeader(
  'AcceptEncoding',
  'Only when the content encoding is refused: the encodings that are accepted.',
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
  headers: ResponseHeaders = {},
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

/** The same example in an answer with money as text. */
export function moneyAsText(example: unknown): unknown {
  if (example instanceof JsonMoney) return example.text;
  if (Array.isArray(example)) return example.map(moneyAsText);
  if (typeof example !== 'object' || example === null) return example;
  return Object.fromEntries(Object.entries(example).map(([name, value]) => [name, moneyAsText(value)]));
}

/** A response without a body, or with one that is not JSON. */
export function plainResponse(
  description: string,
  headers: ResponseHeaders = {},
  content?: Response['content'],
): Response {
  return { description, headers: { ...headers, 'X-Request-Id': RequestId }, ...(content && { content }) };
}

const sharedResponse = (name: string, response: Response) => component('responses', name, response);

/** Examples of bodies, by name. The class of each has its schema. */
export type ErrorBodies = Readonly<Record<string, object>>;

/** The errors whose bodies hold more than `error`. */
const BODIES: Partial<Record<ErrorCode, ErrorBodies>> = {
  DATABASE_FAILED: {
    'The version is known': new ServerCrashesDto(5),
    'The version is not known': new ServerCrashesDto(null),
  },
  NOT_RECEIVED: { 'The client was too slow': new NotReceivedDto() },
  VERSION_MISMATCH: { 'Version mismatch': new VersionMismatchDto(6) },
  PRECONDITION_FAILED: { 'Version mismatch': new VersionMismatchDto(6) },
  DUPLICATE_TRANSACTION: { 'Duplicate transaction': new DuplicateTransactionDto(131) },
  DUPLICATE_TRANSFER: { 'Duplicate transfer': new DuplicateTransferDto(131) },
  PART_OF_TRANSFER: { 'Part of a transfer': new PartOfTransferDto(131) },
  COUNTERPARTY_REFUSED: { 'Counterparty refused': new AboutAccountDto('COUNTERPARTY_REFUSED', 2) },
  DUPLICATE_HOLD: { 'Duplicate hold': new DuplicateHoldDto(131) },
  HOLD_NOT_ACTIVE: { 'Hold not active': new HoldNotActiveDto('captured') },
  REVISION_MISMATCH: { 'Revision mismatch': new RevisionMismatchDto(3) },
  DUPLICATE_ACCOUNT: { 'Duplicate account': new DuplicateAccountDto(1) },
  IDEMPOTENCY_KEY_REUSED: {
    'Key of a transaction': new TransactionKeyReusedDto(131),
    'Key of a transfer': new TransferKeyReusedDto(131),
    'Key of a hold': new HoldKeyReusedDto(131),
  },
};

/** Examples of the bodies of these errors. */
export function bodiesOf(codes: readonly ErrorCode[]): ErrorBodies {
  const each = codes.map((code) => {
    const { error } = ERRORS[code];
    return BODIES[code] ?? { [error]: new ErrorDto(error) };
  });
  return Object.assign({}, ...each) as ErrorBodies;
}

/** The header of an answer with one of these errors. */
export const errorCode = (codes: readonly ErrorCode[]) => ({
  description: 'The stable code of the error. [Errors](/docs/errors) explains each.',
  schema: { type: 'string', enum: [...codes] },
});

const described = (codes: readonly ErrorCode[]): string =>
  codes.length === 1
    ? codes.map((code) => ERRORS[code].detail).join()
    : codes.map((code) => `- \`${code}\`: ${ERRORS[code].detail}`).join('\n');

interface ErrorOptions {
  readonly description?: string;
  readonly bodies?: ErrorBodies;
  /** Another body, which tells the error in its own way. */
  readonly other?: { readonly body: Body; readonly examples: Examples };
}

/** A response to failures that share a status, in the catalogue's words unless others are given. */
export function errorResponse(
  codes: readonly ErrorCode[],
  headers: ResponseHeaders = {},
  { description = described(codes), bodies = bodiesOf(codes), other }: ErrorOptions = {},
): Response {
  const classes = new Set<Body>(Object.values(bodies).map((body) => body.constructor as Type<object>));
  const { content, ...response } = jsonResponse(
    description,
    [...classes, ...(other ? [other.body] : [])],
    { ...bodies, ...other?.examples },
    { 'X-Error-Code': errorCode(codes), ...headers },
  );
  const problem = { [PROBLEM_MEDIA_TYPE]: { schema: written(ProblemDto).schema as Reference } };
  return { ...response, content: { ...content, ...(classes.size > 0 && problem) } };
}

/** An example of a 400. */
export const invalid = (field: string, message: string) => new InvalidRequestDto([{ field, message }]);

/** 400, with one wrong field as its example. */
export const invalidRequest = (field: string, message: string) =>
  errorResponse(['INVALID_REQUEST'], {}, { bodies: { [field]: invalid(field, message) } });

export const INVALID_ACCOUNT_ID = invalidRequest('accountId', 'must be a positive integer');

const RETRY = { 'Retry-After': RetryAfter };

export const ACCOUNT_NOT_FOUND = sharedResponse('AccountNotFound', errorResponse(['ACCOUNT_NOT_FOUND']));

const REQUEST_TIMEOUT = sharedResponse('RequestTimeout', errorResponse(['DATABASE_FAILED', 'NOT_RECEIVED']));

const INTERNAL_ERROR = sharedResponse('InternalError', errorResponse(['INTERNAL_ERROR']));

const OVERLOADED = sharedResponse('Overloaded', errorResponse(['OVERLOADED'], RETRY));

const UNAVAILABLE = sharedResponse('Unavailable', errorResponse(['OVERLOADED', 'OUTCOME_UNKNOWN'], RETRY));

export const TOO_MANY_REQUESTS = sharedResponse(
  'TooManyRequests',
  errorResponse(['TOO_MANY_REQUESTS'], { ...RETRY, ...RATE_LIMIT_HEADERS }),
);

export const WwwAuthenticate = responseHeader(
  'WWW-Authenticate',
  'What is wrong with the credential (RFC 6750).',
  'Bearer error="insufficient_scope", scope="accounts:read"',
);

const CHALLENGE = { 'WWW-Authenticate': WwwAuthenticate };

export const UNAUTHORIZED = sharedResponse('Unauthorized', errorResponse(['UNAUTHORIZED'], CHALLENGE));

export const FORBIDDEN = sharedResponse('Forbidden', errorResponse(['FORBIDDEN'], CHALLENGE));

const BODY_TOO_LARGE = sharedResponse('BodyTooLarge', errorResponse(['BODY_TOO_LARGE']));

const UNSUPPORTED_MEDIA_TYPE = sharedResponse(
  'UnsupportedMediaType',
  errorResponse(['UNSUPPORTED_CONTENT_TYPE', 'UNSUPPORTED_ENCODING', 'UNSUPPORTED_CHARSET'], {
    'Accept-Encoding': AcceptEncoding,
  }),
);

/** Not a component: only the general responses use it. */
const Allow: ResponseHeaders[string] = {
  description: 'The methods of the path.',
  schema: { type: 'string' },
  example: 'GET, HEAD, OPTIONS',
};

/** Answers that no operation lists, because any request can get them, by status. */
export const GENERAL_RESPONSES: Responses = {
  204: plainResponse('To OPTIONS on any path that exists. No credential is needed.', { Allow }),
  400: errorResponse(
    ['INVALID_REQUEST'],
    {},
    {
      description:
        'The request is not valid HTTP (`request`), its path is not a valid URL (`path`), or it has no `Host`, more than one, or an invalid one. ' +
        'Where no credentials are needed because only this machine may send: the request was sent from elsewhere.',
      bodies: {
        request: invalid('request', 'is not valid HTTP'),
        path: invalid('path', 'is not a valid URL'),
        host: invalid('Host', 'is missing'),
        proxy: invalid(
          'x-forwarded-for',
          'is what a proxy adds. Where others than this machine send, set AUTH=on, and TRUSTED_PROXIES to the address of a proxy',
        ),
      },
    },
  ),
  404: errorResponse(['NOT_FOUND']),
  405: errorResponse(['METHOD_NOT_ALLOWED'], { Allow }),
  408: errorResponse(['NOT_RECEIVED']),
  416: errorResponse(['REQUEST_REFUSED']),
  417: errorResponse(['EXPECTATION_FAILED']),
  429: errorResponse(['TOO_MANY_REQUESTS'], RETRY),
  431: errorResponse(['HEADERS_TOO_LARGE']),
  503: errorResponse(['OVERLOADED', 'IDENTITY_PROVIDER_UNAVAILABLE', 'CREDENTIAL_STORE_UNAVAILABLE'], RETRY),
};

/** Failures of every request that reads. */
export const READ_FAILURES: Responses = { 408: REQUEST_TIMEOUT, 500: INTERNAL_ERROR, 503: OVERLOADED };

/** Failures of every request that writes. */
export const WRITE_FAILURES: Responses = {
  408: REQUEST_TIMEOUT,
  413: BODY_TOO_LARGE,
  415: UNSUPPORTED_MEDIA_TYPE,
  500: INTERNAL_ERROR,
  503: UNAVAILABLE,
};

const PreferenceApplied = responseHeader(
  'Preference-Applied',
  'That the preference was followed (RFC 7240).',
  'respond-async',
);

const QUEUED_EXAMPLE = new QueuedSubmissionDto(
  'WzAsMSwwLCI3MTYzNTIxNzM0NTE2NzgxIiwiIiwib3JkZXItNDcxMSJd.8fX3mPzDgQz1kq0m8m6pIY3rV2nVtq7lNw0b5J5o1xk',
  { kind: 'transaction', accountId: 1, idempotencyKey: 'order-4711' },
);

/** Of a request that may be queued. */
const QUEUED_RESPONSES: Responses = {
  202: sharedResponse(
    'Queued',
    jsonResponse(
      'With `Prefer: respond-async`, where the service has a broker: the request is kept and will be decided. `Location` ' +
        'says what became of it.',
      QueuedSubmissionDto,
      { queued: QUEUED_EXAMPLE },
      { Location, 'Preference-Applied': PreferenceApplied, ...RATE_LIMIT_HEADERS },
    ),
  ),
  503: sharedResponse(
    'NotQueued',
    errorResponse(['OVERLOADED', 'OUTCOME_UNKNOWN', 'BROKER_UNAVAILABLE'], RETRY),
  ),
};

/** What a repeat of a request that was queued may be answered. */
const REFUSALS_OF_QUEUED = ['SENDER_REFUSED', 'SUBMISSION_DISCARDED'] as const;

/** Of a request whose money may go to another shard. */
function transferResponses(body: Body, examples: Examples, mayBeQueued: boolean): Responses {
  const pending =
    'The accounts are in different shards, and the transfer is not decided yet: its money is on hold. `Location` says ' +
    'what becomes of it.';
  const queued = ` Or, with \`Prefer: respond-async\`, the request is queued.`;
  const codes = ['OVERLOADED', 'OUTCOME_UNKNOWN', 'TOO_MANY_PENDING_TRANSFERS'] as const;
  return {
    202: jsonResponse(
      mayBeQueued ? pending + queued : pending,
      mayBeQueued ? [body, QueuedSubmissionDto] : body,
      mayBeQueued ? { ...examples, queued: QUEUED_EXAMPLE } : examples,
      { Location, ...(mayBeQueued && { 'Preference-Applied': PreferenceApplied }), ...RATE_LIMIT_HEADERS },
    ),
    503: errorResponse(mayBeQueued ? [...codes, 'BROKER_UNAVAILABLE'] : codes, RETRY),
  };
}

interface PostingResponses {
  /** How a transfer to another shard is answered that is not decided in time. */
  readonly pending?: readonly [body: Body, examples: Examples];
  /** True: it may be queued. */
  readonly mayBeQueued?: boolean;
  /** How a dry run is answered. Left out: like the request itself. */
  readonly dryRun?: readonly [body: Body | readonly Body[], examples: Examples];
  /** The errors with status 409. */
  readonly conflicts: readonly ErrorCode[];
  /** The errors with status 422. */
  readonly refusals: readonly ErrorCode[];
  /** Its other responses, by status. */
  readonly [status: number]: Response | Reference;
}

/** The responses of a request that posts: it has a key, may be a dry run, and counts against the rate limit. */
export const postingResponses = ({
  mayBeQueued = false,
  pending,
  dryRun,
  conflicts,
  refusals,
  ...others
}: PostingResponses): Responses => ({
  ...(dryRun && {
    200: jsonResponse(
      'With `?dryRun=true`: what would have been answered. Nothing is applied.',
      ...dryRun,
      RATE_LIMIT_HEADERS,
    ),
  }),
  409: errorResponse(conflicts, { Location: OriginalLocation, ...RATE_LIMIT_HEADERS }),
  422: errorResponse([...refusals, ...(mayBeQueued ? REFUSALS_OF_QUEUED : [])], {
    ...(pending && { Location: OriginalLocation }),
    ...RATE_LIMIT_HEADERS,
  }),
  429: TOO_MANY_REQUESTS,
  ...WRITE_FAILURES,
  ...(mayBeQueued && QUEUED_RESPONSES),
  ...(pending && transferResponses(...pending, mayBeQueued)),
  ...others,
});

/** 201, to a request that posts. */
export const madeResponse = (
  description: string,
  body: Body | readonly Body[],
  examples: Examples,
  headers: ResponseHeaders = {},
) => jsonResponse(description, body, examples, { Location, ...headers, ...RATE_LIMIT_HEADERS });

/** Why an account may refuse what is posted to it. */
export const ACCOUNT_REFUSALS = [
  'INSUFFICIENT_BALANCE',
  'BALANCE_LIMIT_EXCEEDED',
  'ACCOUNT_FROZEN',
  'DEBITS_BLOCKED',
  'ACCOUNT_CLOSED',
] as const;

/*
 * Parameters. Swagger UI sends every example of a parameter as it comes, so only what must be given has one: with
 * another's version or key, "Try it out" would fail.
 */

export const AccountIdParameter = () => pathOf(AccountPathDto);

export const DryRunParameter = () => applyDecorators(...queryOf(DryRunQueryDto));

export const RequestIdHeader = () =>
  ApiHeader({
    name: 'X-Request-Id',
    description:
      'An id for the request, which the response and the log repeat: up to 128 letters, digits and `._~:/+=@-`. ' +
      'Anything else is replaced by a new id.',
  });

export const PreferHeader = () =>
  ApiHeader({
    name: 'Prefer',
    description:
      '`respond-async`: answer 202 once the request is queued, before it is decided. It needs an `Idempotency-Key`, and a ' +
      'service with a broker: others ignore it. See [asynchronous requests](/docs/api#asynchronous-requests).',
    schema: { type: 'string', enum: ['respond-async'] },
  });

/** @param what the request creates; its key belongs to `scope` */
export const IdempotencyKeyHeader = (what: string, scope: string) =>
  ApiHeader({
    name: 'Idempotency-Key',
    description:
      `A key of your own for this ${what}, for example a UUID: 1 to 255 visible ASCII characters, bare or as a ` +
      `quoted string. It belongs to ${scope} and lasts as long as the ${what}. See [retries](/docs/api#retries).`,
    schema: { type: 'string', pattern: '^[!-~]{1,255}$' },
  });
