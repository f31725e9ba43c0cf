import { InvalidArgumentError, Option } from 'commander';
import { isScope, SCOPES, type Scope } from '../access/principal.js';
import { MAX_ID, ownerNameProblem } from '../domain/account.js';
import { isInstant, millisecondFrom } from '../domain/instant.js';
import { parseDecimal, type Decimal } from '../domain/money.js';
import { lineProblemOf } from '../domain/text.js';

/** The amount to which the specification's reset_balance resets. */
export const DEFAULT_BALANCE = '1000.00';

export const DEFAULT_ACCOUNT = 1;

/** Time to give the new key to everybody who has the old one. */
export const DEFAULT_OVERLAP = '24h';

/** Shorter than a command waits for its batch, so that the pause fails no command. */
export const DEFAULT_MAX_PAUSE_MS = 3_000;
const MAX_PAUSE_MS = 600_000;
const MAX_SHARD = 1_023;

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const MAX_HOLD_MS = 366 * DAY_MS;

/** More than a busy bank posts between two backups, and a tiny part of all possible ids. */
export const DEFAULT_SKIP_IDS = 1_000_000_000;

/** Names that begin with amq. are reserved for the broker. */
const QUEUE_NAME = /^(?!amq\.)[\w.:-]{1,127}$/;

/** More would not fit on any disk that this runs on, so it is a typo. */
const MAX_SEED_ACCOUNTS = 1_000_000_000;

/** How many of them an account may have depends on its currency. */
const AT_MOST = 'with at most 16 digits before the point and 4 after';

/** @throws InvalidArgumentError, to which commander adds the option's name */
export function balanceOption(text: string): Decimal {
  const balance = parseDecimal(text);
  if (!balance) throw new InvalidArgumentError(`It must be an amount, ${AT_MOST}, such as 1000.00.`);
  return balance;
}

/** @throws InvalidArgumentError */
export function amountOption(text: string): Decimal {
  const amount = parseDecimal(text);
  if (amount && amount.units > 0n) return amount;
  throw new InvalidArgumentError(`It must be an amount above zero, ${AT_MOST}, such as 49.50.`);
}

/** @returns a parser of a whole number that throws InvalidArgumentError */
export const wholeNumber =
  (max: number, min = 1) =>
  (text: string): number => {
    const value = Number(text);
    if (/^\d{1,16}$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };

export const accountOption = wholeNumber(MAX_ID);
export const accountsOption = wholeNumber(MAX_SEED_ACCOUNTS);
export const countOption = wholeNumber(MAX_ID);
export const keyArgument = wholeNumber(MAX_ID);
export const millisecondsOption = wholeNumber(MAX_PAUSE_MS);
export const portOption = wholeNumber(65_535, 0);
export const shardArgument = wholeNumber(MAX_SHARD, 0);
export const skipIdsOption = wholeNumber(MAX_ID, 0);

export function balanceOptionOf(description: string): Option {
  return new Option('--balance <amount>', description)
    .argParser(balanceOption)
    .default(balanceOption(DEFAULT_BALANCE), DEFAULT_BALANCE);
}

/** Adds one account to those given before. @throws InvalidArgumentError */
export function accountListOption(text: string, others: readonly number[] = []): number[] {
  return [...others, accountOption(text)];
}

/** @throws InvalidArgumentError */
export function ownerOption(text: string): string {
  const problem = ownerNameProblem(text);
  if (problem === undefined) return text;
  throw new InvalidArgumentError(`It ${problem}.`);
}

/** The number of a name like hold17. @throws InvalidArgumentError */
export function holdArgument(text: string): number {
  return numberIn(text, ['hold']).id;
}

/** The number of a name like tr17. @throws InvalidArgumentError */
export function transferArgument(text: string): number {
  return numberIn(text, ['tr']).id;
}

/** What can be reversed: a transaction like txn9, or a transfer like tr3. @throws InvalidArgumentError */
export function reversibleArgument(text: string): Reversible {
  const { prefix, id } = numberIn(text, ['txn', 'tr']);
  return prefix === 'tr' ? { transferId: id } : { transactionId: id };
}

export type Reversible = { readonly transactionId: number } | { readonly transferId: number };

function numberIn(text: string, prefixes: readonly string[]): { prefix: string; id: number } {
  const [, prefix = '', digits = ''] = /^([a-z]+)([1-9]\d*)$/.exec(text) ?? [];
  if (prefixes.includes(prefix) && Number(digits) <= MAX_ID) return { prefix, id: Number(digits) };
  throw new InvalidArgumentError(`It must be like ${prefixes.map((known) => `${known}17`).join(' or ')}.`);
}

/** @throws InvalidArgumentError */
export function idempotencyKeyOption(text: string): string {
  if (/^[\x21-\x7e]{1,255}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be 1 to 255 visible ASCII characters.');
}

/** @returns a parser of a text of one line that throws InvalidArgumentError */
export const lineOption = (maxLength: number) => {
  const problemOf = lineProblemOf(maxLength);
  return (text: string): string => {
    const problem = problemOf(text);
    if (problem === undefined) return text;
    throw new InvalidArgumentError(`It ${problem}.`);
  };
};

/** When a hold ends: a time, or how long it lasts. */
export type HoldExpiry = { readonly expiresAt: Date } | { readonly expiresInMs: number };

/** A duration stays one, so that a repeat with the same key is the same request. @throws InvalidArgumentError */
export function holdExpiryOption(text: string): HoldExpiry {
  const expiresAt = expiryOption(text);
  if (expiresAt.getTime() > Date.now() + MAX_HOLD_MS)
    throw new InvalidArgumentError('It must be within 366 days.');
  return isInstant(text) ? { expiresAt } : { expiresInMs: durationOption(text) };
}

/** @throws InvalidArgumentError */
export function keyNameOption(text: string): string {
  if (/^[^\p{Cc}]{1,100}$/u.test(text)) return text;
  throw new InvalidArgumentError('It must be 1 to 100 characters, without control characters.');
}

/** @throws InvalidArgumentError */
export function scopesOption(text: string): Scope[] {
  const scopes = text.split(/[\s,]+/).filter((entry) => entry !== '');
  if (scopes.length > 0 && scopes.every(isScope)) return [...new Set(scopes)];
  throw new InvalidArgumentError(`It must be one or more of ${SCOPES.join(', ')}, separated by commas.`);
}

export function expiryOptionOf(description: string): Option {
  return new Option('--expires <when>', description).argParser(expiryOption);
}

/** A time, or a duration from now. @throws InvalidArgumentError */
export function expiryOption(text: string): Date {
  const time = isInstant(text) ? new Date(text) : new Date(Date.now() + durationOption(text));
  if (time.getTime() > Date.now()) return time;
  throw new InvalidArgumentError('It must be in the future.');
}

/** In milliseconds. @throws InvalidArgumentError */
export function durationOption(text: string): number {
  const [, count = '', unit = ''] = /^(0|[1-9]\d{0,4})([dh])$/.exec(text) ?? [];
  if (!count) throw new InvalidArgumentError('It must be a number of days or hours, like 90d or 36h.');
  return Number(count) * (unit === 'd' ? DAY_MS : HOUR_MS);
}

/** @throws InvalidArgumentError */
export function queueOption(text: string): string {
  if (!QUEUE_NAME.test(text)) {
    throw new InvalidArgumentError(
      'It must be 1 to 127 letters, digits and . : _ -, and must not begin with "amq.".',
    );
  }
  return text;
}

/** @throws InvalidArgumentError */
export function pastOption(text: string): Date {
  const time = isInstant(text) ? millisecondFrom(text) : undefined;
  if (time && time.getTime() <= Date.now()) return time;
  throw new InvalidArgumentError(
    'It must be a time in the past, like 2026-01-01 or 2026-01-01T00:00:00+01:00.',
  );
}

/** @returns the time that long ago. @throws InvalidArgumentError */
export function ageOption(text: string): Date {
  const age = durationOption(text);
  if (age === 0) throw new InvalidArgumentError('It must be a number of days or hours, like 90d or 36h.');
  return new Date(Date.now() - age);
}

/** The secret of a webhook. @throws InvalidArgumentError */
export function webhookSecretOption(text: string): string {
  if (/^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be the secret of a webhook, which begins with whsec_.');
}

/** @throws InvalidArgumentError */
export function sha256Option(text: string): string {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase();
  throw new InvalidArgumentError('It must be 64 hexadecimal digits.');
}

/** @returns it without a trailing slash. @throws InvalidArgumentError */
export function serviceOption(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const plain = url && /^https?:$/.test(url.protocol) && url.username === '' && url.search + url.hash === '';
  if (plain) return url.href.replace(/\/+$/, '');
  throw new InvalidArgumentError('It must be a URL like https://bank.example.com.');
}
