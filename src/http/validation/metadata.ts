import { NumberText } from './json-body.js';

/** 4 KiB of JSON text, as it is stored. */
export const MAX_METADATA_BYTES = 4 * 1024;
/** Objects and arrays within each other, the outermost included. */
export const MAX_METADATA_DEPTH = 5;

/** The JSON text of a client's metadata, with each number as the client wrote it. Undefined: they can't be stored. */
export function metadataText(value: unknown): string | undefined {
  if (metadataProblem(value) !== undefined) return undefined;
  return jsonTextOf(value);
}

/** Why a parsed value can't be metadata. Undefined: it can. */
export function metadataProblem(value: unknown): string | undefined {
  if (!isObject(value) || Array.isArray(value)) return 'must be a JSON object';
  if (!nestsWithin(value, MAX_METADATA_DEPTH))
    return `must not be nested more than ${MAX_METADATA_DEPTH} deep`;
  const text = jsonTextOf(value);
  if (Buffer.byteLength(text) > MAX_METADATA_BYTES)
    return `must not be over ${MAX_METADATA_BYTES} bytes of JSON`;
  if (UNSTORABLE.test(text)) return 'must not contain a NUL or half of a surrogate pair';
  return undefined;
}

/** As JSON.stringify escapes them. */
const UNSTORABLE = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/;

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !(value instanceof NumberText);

function nestsWithin(value: unknown, levels: number): boolean {
  if (!isObject(value)) return true;
  return levels > 0 && Object.values(value).every((member) => nestsWithin(member, levels - 1));
}

/** The JSON text of a parsed value, with each number as it was written. */
export function jsonTextOf(value: unknown): string {
  if (value instanceof NumberText) return value.text;
  if (Array.isArray(value)) return `[${value.map(jsonTextOf).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, member]) => `${JSON.stringify(name)}:${jsonTextOf(member)}`)
    .join(',')}}`;
}
