import { ValidateBy, ValidateIf } from 'class-validator';
import { CURRENCIES } from '../../config/currencies.js';
import { isOwner, ownerNameProblem } from '../../domain/account.js';
import { parseDecimal, type Decimal } from '../../domain/money.js';
import { lineProblemOf } from '../../domain/text.js';
import { KEY_FORM, readIdempotencyKey } from './idempotency-key.js';
import { INSTANT_PATTERN, isInstant } from '../../domain/instant.js';
import { NumberText } from './json-body.js';
import { metadataProblem, metadataText } from './metadata.js';
import { schema, type JsonSchema } from '../schema/registry.js';
import { parsePositiveInteger } from './positive-integer.js';

/** The text of a body's field that may be written as a JSON number or as a JSON string. */
export type Numeric = NumberText | string;

export function textOf(value: unknown): string | undefined {
  if (value instanceof NumberText) return value.text;
  return typeof value === 'string' ? value : undefined;
}

/** An amount greater than zero, or undefined. */
export function readAmount(value: unknown): Decimal | undefined {
  const decimal = parseDecimal(textOf(value) ?? '');
  return decimal && decimal.units > 0n ? decimal : undefined;
}

/** An amount of at least zero, or undefined. */
export const readLimit = (value: unknown): Decimal | undefined => parseDecimal(textOf(value) ?? '');

export function readVersion(value: unknown): number | undefined {
  return parsePositiveInteger(textOf(value) ?? '');
}

/** The same for a number that may be zero. */
export const readCount = (value: unknown): number | undefined =>
  textOf(value) === '0' ? 0 : readVersion(value);

/** The number in a transaction's name: `txn131` names transaction 131. */
export const readTransactionId = (value: unknown) => numberAfter('txn', value);

/** The same for a hold: `hold131`. */
export const readHoldId = (value: unknown) => numberAfter('hold', value);

/** The same for a transfer: `tr131`. */
export const readTransferId = (value: unknown) => numberAfter('tr', value);

/** The same for a webhook: `wh7`. */
export const readWebhookId = (value: unknown) => numberAfter('wh', value);

function numberAfter(prefix: string, value: unknown): number | undefined {
  return typeof value === 'string' && value.startsWith(prefix)
    ? parsePositiveInteger(value.slice(prefix.length))
    : undefined;
}

/** The field may be absent; null is not absent. */
export const IsOptionalField = () => ValidateIf((_, value) => value !== undefined);

/**
 * The field may be absent or null, which many serializers write for what is not set. Not for money: an amount that got
 * lost must not become none.
 */
export const IsNullableField = () => ValidateIf((_, value) => value !== undefined && value !== null);

/** 9999999999999999.99, and all larger amounts, as a validator with only floating-point numbers reads them. */
export const LARGEST_AMOUNT = 1e16;
export const POSITIVE_INTEGER = { type: 'integer', format: 'int64', minimum: 1 };
export const TRANSACTION_ID_PATTERN = '^txn[1-9]\\d{0,18}$';
const COUNT_TEXT = { type: 'string', pattern: '^(0|[1-9]\\d{0,18})$' };
const INTEGER_TEXT = { type: 'string', pattern: '^[1-9]\\d{0,18}$' };

const Amount = schema('Amount', {
  description:
    'An amount greater than zero with at most 16 digits before the point, and after it at most as many as the currency ' +
    'of the account has (4 at most), as a JSON number or as a string. Both are read exactly. Exponents and signs are ' +
    'refused.',
  oneOf: [
    { type: 'number', exclusiveMinimum: 0, maximum: LARGEST_AMOUNT },
    // Zero is excluded apart: many regular expressions, like Go's, know no lookahead.
    { type: 'string', pattern: '^\\d{1,16}(\\.\\d{1,4})?$', not: { pattern: '^[0.]*$' } },
  ],
});

export const IsAmount = () =>
  rule(
    'isAmount',
    (value) => readAmount(value) !== undefined,
    'must be an amount greater than zero, with at most 16 digits before the point and 4 after, like 49.50',
    Amount,
  );

/** An amount that may be zero. */
export const IsLimit = (description: string, component: string) =>
  rule(
    'isLimit',
    (value) => readLimit(value) !== undefined,
    'must be an amount of at least zero, with at most 16 digits before the point and 4 after, like 49.50',
    {
      description,
      oneOf: [
        { type: 'number', minimum: 0, maximum: LARGEST_AMOUNT },
        { type: 'string', pattern: '^\\d{1,16}(\\.\\d{1,4})?$' },
      ],
    },
    component,
  );

/** The same for a query parameter. */
export const IsLimitParameter = (description: string) =>
  rule(
    'isLimit',
    (value) => readLimit(value) !== undefined,
    'must be an amount of at least zero, with at most 16 digits before the point and 4 after, like 49.50',
    { type: 'string', pattern: '^\\d{1,16}(\\.\\d{1,4})?$', description },
  );

/** @param as its documentation; in a body it may also be a string */
export const IsVersion = (as: JsonSchema = {}) =>
  rule('isVersion', (value) => readVersion(value) !== undefined, 'must be a positive integer', {
    ...POSITIVE_INTEGER,
    ...as,
  });

/** A version or an id in a body, as a number or as a string. */
export const IsNumericId = (description: string, component?: string) =>
  rule(
    'isVersion',
    (value) => readVersion(value) !== undefined,
    'must be a positive integer',
    { description, oneOf: [POSITIVE_INTEGER, INTEGER_TEXT] },
    component,
  );

export const IsTransactionId = (as: JsonSchema) =>
  rule(
    'isTransactionId',
    (value) => readTransactionId(value) !== undefined,
    'must be "txn" and a positive integer, like txn131',
    { type: 'string', pattern: TRANSACTION_ID_PATTERN, ...as },
  );

export const IsHoldId = (as: JsonSchema) =>
  rule(
    'isHoldId',
    (value) => readHoldId(value) !== undefined,
    'must be "hold" and a positive integer, like hold131',
    { type: 'string', pattern: '^hold[1-9]\\d{0,18}$', ...as },
  );

export const IsTransferId = (as: JsonSchema) =>
  rule(
    'isTransferId',
    (value) => readTransferId(value) !== undefined,
    'must be "tr" and a positive integer, like tr131',
    { type: 'string', pattern: '^tr[1-9]\\d{0,18}$', ...as },
  );

export const IsWebhookId = (as: JsonSchema) =>
  rule(
    'isWebhookId',
    (value) => readWebhookId(value) !== undefined,
    'must be "wh" and a positive integer, like wh7',
    { type: 'string', pattern: '^wh[1-9]\\d{0,18}$', ...as },
  );

const EVENT_ID_PATTERN = '^[a-z]{1,16}[1-9]\\d{0,15}(/[1-9]\\d{0,15})?$';

/** The id of an event. */
export const IsEventId = (as: JsonSchema) =>
  rule(
    'isEventId',
    (value) => typeof value === 'string' && new RegExp(EVENT_ID_PATTERN).test(value),
    'must be the id of an event, like txn131 or hold132/6',
    { type: 'string', pattern: EVENT_ID_PATTERN, ...as },
  );

/** A list of some of these words, each once. */
export const IsListOfWords = (words: readonly string[], as: JsonSchema) =>
  rule(
    'isListOfWords',
    (value) =>
      Array.isArray(value) &&
      value.length > 0 &&
      new Set(value).size === value.length &&
      value.every((word) => words.includes(word as string)),
    `must be a list of one or more of: ${words.join(', ')}; each once`,
    { type: 'array', items: { type: 'string', enum: words }, minItems: 1, uniqueItems: true, ...as },
  );

const MAX_URL = 2_048;

/** The URL of an endpoint elsewhere. */
export const IsEndpointUrl = (as: JsonSchema) =>
  rule(
    'isEndpointUrl',
    (value) => endpointUrlProblem(value) === undefined,
    (value) => endpointUrlProblem(value) ?? '',
    { type: 'string', minLength: 1, maxLength: MAX_URL, pattern: '^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$', ...as },
  );

function endpointUrlProblem(value: unknown): string | undefined {
  const form = `must be a URL like https://example.com/events, of at most ${MAX_URL} characters`;
  // The parser would mend what is no URL, like a line break in it.
  if (typeof value !== 'string' || value.length > MAX_URL || !/^https?:\/\/[!-~]+$/i.test(value)) return form;
  if (!URL.canParse(value)) return form;
  const { username, password, hash } = new URL(value);
  if (username !== '' || password !== '') return 'must not contain a user or a password';
  return hash === '' ? undefined : 'must not contain a fragment';
}

/** A JSON literal, in a body. */
export const IsTrueOrFalse = (description: string) =>
  rule('isTrueOrFalse', (value) => typeof value === 'boolean', 'must be true or false', {
    type: 'boolean',
    description,
  });

/** A key in a body: the same as in the header. */
export const IsIdempotencyKey = (as: JsonSchema, component?: string) =>
  rule(
    'isIdempotencyKey',
    (value) => typeof value === 'string' && readIdempotencyKey(value) !== undefined,
    KEY_FORM,
    { type: 'string', pattern: '^[!-~]{1,255}$', ...as },
    component,
  );

const CONTROL = '\\u0000-\\u001f\\u007f-\\u009f';
const OF_DIRECTION = '\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069';

export const Owner = schema('Owner', {
  description: 'Whose account it is: the name of an owner. Compared character by character.',
  type: 'string',
  pattern: `^[^${CONTROL}]{1,255}$`,
  example: 'ada',
});

const NewOwner = schema('NewOwner', {
  description:
    'The name of an owner, compared character by character. It must be in the Unicode normalization form NFC, contain a ' +
    'visible character, and none that changes the direction of text.',
  type: 'string',
  pattern: `^[^${CONTROL}${OF_DIRECTION}]{1,255}$`,
  example: 'ada',
});

/** The name of an owner who gets an account. */
export const IsOwner = () =>
  rule(
    'isOwner',
    (value) => typeof value === 'string' && ownerNameProblem(value) === undefined,
    (value) => ownerNameProblem(typeof value === 'string' ? value : '') ?? '',
    NewOwner,
  );

/** The name of an owner who may have accounts: older banks have names that nobody gets any more. */
export const IsOwnerName = () =>
  rule(
    'isOwnerName',
    (value) => typeof value === 'string' && isOwner(value),
    'must be 1 to 255 characters, without control characters',
    Owner,
  );

/** Whether it is a text for people, on one line. */
export const isLine = (value: unknown, maxLength: number): boolean =>
  typeof value === 'string' && lineProblemOf(maxLength)(value) === undefined;

/** A text for people, on one line. */
export const IsLine = (maxLength: number, as: JsonSchema, component?: string) => {
  const problemOf = lineProblemOf(maxLength);
  return rule(
    'isLine',
    (value) => typeof value === 'string' && problemOf(value) === undefined,
    (value) => problemOf(typeof value === 'string' ? value : '') ?? '',
    { type: 'string', minLength: 1, maxLength, pattern: `^[^${CONTROL}${OF_DIRECTION}]*$`, ...as },
    component,
  );
};

/** A day of the calendar that the database can store. */
export const IsDay = (as: JsonSchema, component?: string) =>
  rule(
    'isDay',
    (value) => typeof value === 'string' && /^[1-9]\d{3}-\d{2}-\d{2}$/.test(value) && isInstant(value),
    'must be a day, like 2025-05-02',
    { type: 'string', format: 'date', pattern: '^[1-9]\\d{3}-\\d{2}-\\d{2}$', ...as },
    component,
  );

/** A JSON object of bounded size; see {@link metadataText}. */
export const IsMetadata = (as: JsonSchema, component?: string) =>
  rule(
    'isMetadata',
    (value) => typeof metadataText(value) === 'string',
    (value) => metadataProblem(value) ?? '',
    { type: 'object', additionalProperties: true, ...as },
    component,
  );

/** A query parameter that is a count. */
export const IsWholeNumber = (minimum: number, maximum: number, as: JsonSchema = {}) =>
  rule(
    'isWholeNumber',
    (value) =>
      typeof value === 'string' &&
      /^\d{1,9}$/.test(value) &&
      Number(value) >= minimum &&
      Number(value) <= maximum,
    `must be a whole number from ${minimum} to ${maximum}`,
    { type: 'integer', minimum, maximum, ...as },
  );

/** A count in a body, as a number or as a string. */
export const IsCount = (minimum: number, maximum: number, description: string) =>
  rule(
    'isCount',
    (value) => {
      const count = readCount(value);
      return count !== undefined && count >= minimum && count <= maximum;
    },
    `must be a whole number from ${minimum} to ${maximum}`,
    {
      description,
      oneOf: [{ type: 'integer', minimum, maximum }, minimum > 0 ? INTEGER_TEXT : COUNT_TEXT],
    },
  );

/** The form of a point in time, for the description of a parameter. */
export const INSTANT_FORM =
  'An ISO 8601 date, or a date and time with its offset, like 2025-05-02T10:24:02Z; up to nanoseconds, all of which count.';

/** A plus sign in a query means a space. */
const LOST_PLUS = /T[\d:.]+ \d{2}:?\d{2}$/;

/** A point in time: an ISO 8601 date, or a date and time with its offset from UTC. */
export const IsInstant = (as: JsonSchema = {}) =>
  rule(
    'isInstant',
    (value) => typeof value === 'string' && isInstant(value),
    (value) =>
      typeof value === 'string' && LOST_PLUS.test(value)
        ? 'has a space where its offset begins: in a URL, + must be written %2B'
        : 'must be an ISO 8601 date or time with an offset, like 2025-05-02T10:24:02Z',
    { type: 'string', pattern: INSTANT_PATTERN, ...as },
  );

/** One of several words, in any case. */
export const IsWord = (words: readonly string[], as: JsonSchema = {}, component?: string) => {
  const inLowerCase = words.map((word) => word.toLowerCase());
  return rule(
    'isWord',
    (value) => typeof value === 'string' && inLowerCase.includes(value.toLowerCase()),
    `must be one of: ${inLowerCase.join(', ')} (in any case)`,
    { type: 'string', enum: words, ...as },
    component,
  );
};

export const CurrencyCode = schema('CurrencyCode', {
  description: 'A currency of ISO 4217, which tells how many decimals the amounts of an account have.',
  type: 'string',
  enum: [...CURRENCIES.keys()],
  example: 'EUR',
});

/** The code of a currency. */
export const IsCurrency = (description: string) =>
  rule(
    'isCurrency',
    (value) => typeof value === 'string' && CURRENCIES.has(value),
    'must be the code of a currency of ISO 4217, like EUR',
    { type: 'string', enum: [...CURRENCIES.keys()], description, example: 'EUR' },
  );

/** Gives a rule of class-validator its JSON Schema. */
export const documentedAs = (as: JsonSchema) => ({ context: { schema: as } });

/**
 * @param message what to say of a value for which it does not hold
 * @param component a name for the schema in the OpenAPI document, from which generated clients take their types
 */
function rule(
  name: string,
  holds: (value: unknown) => boolean,
  message: string | ((value: unknown) => string),
  as: JsonSchema,
  component?: string,
): PropertyDecorator {
  const documented = component === undefined ? as : schema(component, as);
  const explain = typeof message === 'string' ? message : ({ value }: { value: unknown }) => message(value);
  return ValidateBy(
    { name, validator: { validate: holds } },
    { message: explain, ...documentedAs(documented) },
  );
}
