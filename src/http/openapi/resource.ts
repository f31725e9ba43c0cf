import type { Type } from '@nestjs/common';
import { formatMoney, type Money as Cents } from '../../domain/money.js';
import { LARGEST_AMOUNT, POSITIVE_INTEGER, TRANSACTION_ID_PATTERN } from '../validation/field-rules.js';
import { schema, type JsonSchema, type Reference } from '../schema/registry.js';

/** How a value appears in answers: its schema in the OpenAPI document, and how its JSON text is written. */
export interface Written<T> {
  readonly schema: JsonSchema | Reference;
  readonly write: (value: T) => string;
  /** The same with its amounts as text, for clients whose numbers are doubles. Undefined: it holds no amount. */
  readonly withTextMoney?: Written<T> | undefined;
}

interface ResourceField {
  readonly name: string;
  readonly type: Written<never>;
  readonly isOptional: boolean;
}

/** By prototype: its own properties, in the order of declaration. */
const ownFields = new Map<object, ResourceField[]>();
const resources = new Map<object, Written<never>>();

/** Declares a property of a {@link Resource}: its schema in the OpenAPI document, and its JSON. */
export const Field =
  <T>(type: Written<T>, { optional: isOptional = false } = {}): PropertyDecorator =>
  (prototype, name) => {
    const fields = ownFields.get(prototype) ?? [];
    fields.push({ name: String(name), type: type, isOptional });
    ownFields.set(prototype, fields);
  };

/**
 * Declares a class as the body of an answer, under the name of its schema. Its own properties come first, then
 * inherited ones. An undefined property is left out. If it holds money, so does a second schema, with money as text.
 */
export const Resource =
  (name: string, as: JsonSchema = {}): ClassDecorator =>
  (resource) => {
    const fields = fieldsOf(resource.prototype as object);
    const textFields = fields.map((field) => ({ ...field, type: inForm(field.type, true) }));
    const holdsMoney = fields.some(({ type }) => type.withTextMoney);
    resources.set(resource, {
      ...writtenAs(name, as, fields),
      withTextMoney: holdsMoney ? writtenAs(textMoneyName(name), as, textFields) : undefined,
    });
  };

const textMoneyName = (name: string) => `${name}WithTextMoney`;

function writtenAs(name: string, as: JsonSchema, fields: readonly ResourceField[]): Written<never> {
  const reference = schema(name, {
    type: 'object',
    ...as,
    properties: Object.fromEntries(fields.map((field) => [field.name, field.type.schema])),
    required: fields.filter(({ isOptional }) => !isOptional).map((field) => field.name),
  });
  return { schema: reference, write: writerOf(fields) };
}

/** Makes a resource a value that can be written, by itself or within another one. */
export function written<T extends object>(resource: Type<T>): Written<T> {
  const found = resources.get(resource);
  if (!found) throw new Error(`${resource.name} is no @Resource`);
  return found as Written<T>;
}

/** The form of a value that a client asks for. */
export const inForm = <T>(type: Written<T>, textMoney: boolean): Written<T> =>
  (textMoney && type.withTextMoney) || type;

function fieldsOf(prototype: object): ResourceField[] {
  const parent = Object.getPrototypeOf(prototype) as object | null;
  return [...(ownFields.get(prototype) ?? []), ...(parent ? fieldsOf(parent) : [])];
}

function writerOf(fields: readonly ResourceField[]): (value: Readonly<Record<string, never>>) => string {
  const members = fields.map(({ name, type }) => ({
    name,
    write: type.write,
    key: `${JSON.stringify(name)}:`,
  }));
  return (value) => {
    let text = '';
    for (const { name, write, key } of members) {
      if (value[name] !== undefined) text += `${text === '' ? '{' : ','}${key}${write(value[name])}`;
    }
    return text === '' ? '{}' : `${text}}`;
  };
}

export const listOf = <T>(item: Written<T>, as: JsonSchema = {}): Written<readonly T[]> => ({
  schema: { type: 'array', items: item.schema, ...as },
  write: (items) => `[${items.map((each) => item.write(each)).join()}]`,
  withTextMoney: item.withTextMoney && listOf(item.withTextMoney, as),
});

/** For values without money: `as` describes a single form. */
export const orNull = <T>(type: Written<T>, as: JsonSchema): Written<T | null> => ({
  schema: as,
  write: (value) => (value === null ? 'null' : type.write(value)),
});

/** A component of the document, under this name. */
export const named = <T>(name: string, type: Written<T>): Written<T> => ({
  schema: schema(name, type.schema),
  write: type.write,
  withTextMoney: type.withTextMoney && named(textMoneyName(name), type.withTextMoney),
});

/** Any of several resources. */
export const anyOf = (...alternatives: readonly Type<object>[]): Written<object> => {
  const all = alternatives.map(written);
  const holdsMoney = all.some((each) => each.withTextMoney);
  return {
    ...json({ anyOf: all.map((each) => each.schema) }),
    withTextMoney: holdsMoney ? json({ anyOf: all.map((each) => inForm(each, true).schema) }) : undefined,
  };
};

/** Any value, as JSON.stringify writes it. */
export const json = (as: JsonSchema): Written<unknown> => ({
  schema: as,
  write: (value) => JSON.stringify(value),
});

/** Any text. */
export const text = (as: JsonSchema | Reference = { type: 'string' }): Written<string> => ({
  schema: as,
  write: (value) => JSON.stringify(value),
});

/** A text without characters that need escaping. */
export const plainText = (as: JsonSchema | Reference): Written<string> => ({
  schema: as,
  write: (value) => `"${value}"`,
});

export const integer = (as: JsonSchema | Reference): Written<number> => ({ schema: as, write: String });

export const Money: Written<Cents> = {
  schema: schema('Money', {
    description:
      'An amount with exactly two decimals, at most 9999999999999999.99 (DECIMAL(18,2)). Amounts of more than 15 digits ' +
      'need a JSON parser that keeps all digits of a number, or are asked for as text (`TextMoney`).',
    type: 'number',
    minimum: 0,
    maximum: LARGEST_AMOUNT,
  }),
  write: formatMoney,
  withTextMoney: {
    schema: schema('TextMoney', {
      description:
        'An amount with exactly two decimals, at most 9999999999999999.99 (DECIMAL(18,2)), as text.',
      type: 'string',
      pattern: '^\\d{1,16}\\.\\d{2}$',
    }),
    write: (cents) => `"${formatMoney(cents)}"`,
  },
};

export const AccountId = integer(schema('AccountId', POSITIVE_INTEGER));
export const TransferId = plainText(schema('TransferId', { type: 'string', pattern: '^tr[1-9]\\d{0,15}$' }));

export const HoldId = plainText(schema('HoldId', { type: 'string', pattern: '^hold[1-9]\\d{0,15}$' }));

export const TransactionId = plainText(
  schema('TransactionId', { type: 'string', pattern: TRANSACTION_ID_PATTERN }),
);

export const Version = integer(
  schema('Version', {
    description:
      'The version of an account. It grows by exactly 1 with each accepted transaction, without gaps.',
    ...POSITIVE_INTEGER,
  }),
);

export const NextCursor = orNull(
  text(),
  schema('NextCursor', {
    description: 'Send it as `cursor` to get the next page; null on the last page.',
    type: ['string', 'null'],
  }),
);
