import { availableParallelism } from 'node:os';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { CURRENCIES } from './currencies.js';
import { isPostgresUrl, parseShardList, SHARD_URL_FORM } from './shard-address.js';

/** Parsers for the text of a variable. An error says what the text must be, and never shows the text itself. */

export const text = () => z.string().optional();

export const integer = (fallback: number, min: number, max: number) =>
  z
    .string()
    .default(String(fallback))
    .refine((value) => /^\d{1,15}$/.test(value) && Number(value) >= min && Number(value) <= max, {
      message: `must be a whole number from ${min} to ${max}`,
    })
    .transform(Number);

/** A share, from 0 to 1. */
export const ratio = (fallback: number) =>
  z
    .string()
    .default(String(fallback))
    .refine((value) => /^(0(\.\d{1,15})?|1(\.0{1,15})?)$/.test(value), {
      message: 'must be a number from 0 to 1',
    })
    .transform(Number);

const MAX_WORKERS = 128;

export const workerCount = () =>
  z
    .string()
    .default('1')
    .refine(
      (value) =>
        value === 'auto' || (/^\d{1,3}$/.test(value) && Number(value) >= 1 && Number(value) <= MAX_WORKERS),
      { message: `must be a whole number from 1 to ${MAX_WORKERS}, or auto` },
    )
    .transform((value) => (value === 'auto' ? Math.min(availableParallelism(), MAX_WORKERS) : Number(value)));

export const choice = <const T extends readonly [string, ...string[]]>(values: T, fallback: T[number]) =>
  z.enum(values, { message: `must be one of: ${values.join(', ')}` }).default(fallback as never);

export const matching = (pattern: RegExp, fallback: string, message: string) =>
  z.string().regex(pattern, { message }).default(fallback);

export const currency = (fallback: string) =>
  z
    .string()
    .default(fallback)
    .transform((code, context) => {
      const known = CURRENCIES.get(code);
      if (known) return known;
      context.addIssue({ code: 'custom', message: 'must be a currency of ISO 4217, like EUR' });
      return z.NEVER;
    });

export const postgresUrl = () =>
  z
    .string()
    .refine(isPostgresUrl, { message: 'must be a URL like postgresql://user:password@host:5432/database' })
    .optional();

export const shardList = () =>
  z
    .string()
    .transform((value, context) => {
      const shards = parseShardList(value);
      if (shards) return shards;
      context.addIssue({
        code: 'custom',
        message: `must be database URLs with a schema, separated by commas or spaces, each like ${SHARD_URL_FORM}`,
      });
      return z.NEVER;
    })
    .optional();

export const serverUrl = (protocols: readonly string[], example: string) =>
  z
    .string()
    .refine((value) => URL.canParse(value) && protocols.includes(new URL(value).protocol), {
      message: `must be a URL like ${example}`,
    })
    .optional();

/** The URL of public keys: https, because whoever can change the keys in transit can forge tokens. */
export const keysUrl = () =>
  z
    .string()
    .refine(isSafeUrl, {
      message: 'must be a URL like https://idp.example.com/jwks; http on a loopback address only',
    })
    .optional();

const list = (isEntry: (entry: string) => boolean, message: string) =>
  z
    .string()
    .default('')
    .transform((value) => value.split(/[\s,]+/).filter((entry) => entry !== ''))
    .refine((entries) => entries.every(isEntry), { message });

/** Exact origins only: a pattern allows more than its author meant, and `*` allows everybody. */
export const originList = () =>
  list(
    isOrigin,
    'must be origins like https://app.example.com, without a path, separated by commas or spaces',
  );

export const networkList = () =>
  list(isNetwork, 'must be IP addresses or networks like 10.0.0.0/8, separated by commas or spaces');

/** Keys of 256 bits. */
export const secretKeyList = () =>
  list(isSecretKey, 'must be keys of 32 bytes in base64, separated by commas or spaces');

/** Whether only this machine can reach an address. */
export function isThisMachine(host: string): boolean {
  return host === 'localhost' || (ipaddr.isValid(host) && ipaddr.process(host).range() === 'loopback');
}

function isOrigin(value: string): boolean {
  return /^https?:/.test(value) && URL.canParse(value) && new URL(value).origin === value;
}

/** Whether it is a key of 256 bits in base64. */
export function isSecretKey(value: string): boolean {
  const bytes = Buffer.from(value, 'base64');
  return bytes.length === 32 && bytes.toString('base64') === value;
}

function isNetwork(value: string): boolean {
  return ipaddr.isValid(value) || ipaddr.isValidCIDR(value);
}

function isSafeUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, username, password } = new URL(value);
  // The keys are fetched without credentials, so a URL that needs them would fail.
  if (username !== '' || password !== '') return false;
  return protocol === 'https:' || (protocol === 'http:' && isThisMachine(hostname.replace(/^\[|\]$/g, '')));
}
