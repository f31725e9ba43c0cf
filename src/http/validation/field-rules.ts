import { ValidateBy, ValidateIf, type ValidationOptions } from 'class-validator';
import { isOwner } from '../../domain/account.js';
import { parseMoney, type Money } from '../../domain/money.js';
import { KEY_FORM, readIdempotencyKey } from './idempotency-key.js';
import { isInstant } from './instant.js';
import { NumberText } from './json-body.js';
import { parsePositiveInteger } from './positive-integer.js';

/** A field of a body that may be written as a JSON number or as a JSON string: its text either way. */
export type Numeric = NumberText | string;

export function textOf(value: unknown): string | undefined {
  if (value instanceof NumberText) return value.text;
  return typeof value === 'string' ? value : undefined;
}

/** An amount greater than zero, or undefined. */
export function readAmount(value: unknown): Money | undefined {
  const money = parseMoney(textOf(value) ?? '');
  return money !== undefined && money > 0n ? money : undefined;
}

export function readVersion(value: unknown): number | undefined {
  return parsePositiveInteger(textOf(value) ?? '');
}

/** An absent field is fine; null is not absent. */
export const IsOptionalField = () => ValidateIf((_, value) => value !== undefined);

export const IsAmount = (options?: ValidationOptions) =>
  rule('isAmount', (value) => readAmount(value) !== undefined, {
    message:
      'must be an amount greater than zero, with at most 16 digits before the point and 2 after, like 49.50',
    ...options,
  });

export const IsVersion = () =>
  rule('isVersion', (value) => readVersion(value) !== undefined, { message: 'must be a positive integer' });

/** An account's id in a body. It is read as a version is. */
export const IsAccountId = IsVersion;

/** A key in a body: the same as in the header. */
export const IsIdempotencyKey = () =>
  rule('isIdempotencyKey', (value) => typeof value === 'string' && readIdempotencyKey(value) !== undefined, {
    message: KEY_FORM,
  });

/** The name of an account's owner. */
export const IsOwner = () =>
  rule('isOwner', (value) => typeof value === 'string' && isOwner(value), {
    message: 'must be 1 to 255 characters, without control characters',
  });

/** A query parameter that counts. */
export const IsWholeNumber = (min: number, max: number) =>
  rule(
    'isWholeNumber',
    (value) =>
      typeof value === 'string' && /^\d{1,9}$/.test(value) && Number(value) >= min && Number(value) <= max,
    { message: `must be a whole number from ${min} to ${max}` },
  );

/** A point in time: an ISO 8601 date, or a date and time with its offset from UTC. */
export const IsInstant = () =>
  rule('isInstant', (value) => typeof value === 'string' && isInstant(value), {
    message: 'must be an ISO 8601 date or time with an offset, like 2025-05-02T10:24:02Z',
  });

/** One of some words, in any case. */
export const IsWord = (words: readonly string[]) =>
  rule('isWord', (value) => typeof value === 'string' && words.includes(value.toLowerCase()), {
    message: `must be one of: ${words.join(', ')} (in any case)`,
  });

function rule(
  name: string,
  holds: (value: unknown) => boolean,
  options: ValidationOptions,
): PropertyDecorator {
  return ValidateBy({ name, validator: { validate: holds } }, options);
}
