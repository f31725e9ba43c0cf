import type { Type } from '@nestjs/common';
import type { HoldStatus } from '../../domain/hold.js';
import { MAX_ID } from '../../domain/account.js';
import {
  CurrencyCode,
  LARGEST_AMOUNT,
  POSITIVE_INTEGER,
  TRANSACTION_ID_PATTERN,
} from '../validation/field-rules.js';
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
 * inherited ones, then those that are optional. An undefined property is left out. If it holds money, so does a second
 * schema, with money as text.
 */
export const Resource =
  (name: string, as: JsonSchema = {}): ClassDecorator =>
  (resource) =>
    register(resource, name, as, fieldsOf(resource.prototype as object));

function register(resource: object, name: string, as: JsonSchema, fields: readonly ResourceField[]): void {
  const textFields = fields.map((field) => ({ ...field, type: inForm(field.type, true) }));
  const holdsMoney = fields.some(({ type }) => type.withTextMoney);
  resources.set(resource, {
    ...writtenAs(name, as, fields),
    withTextMoney: holdsMoney ? writtenAs(textMoneyName(name), as, textFields) : undefined,
  });
}

/**
 * The answer to a dry run: a resource without what only a real one has, like its id and its time.
 *
 * @param instead other types of some of its properties
 */
export function ofDryRun<T extends object>(
  name: string,
  resource: Type<T>,
  without: readonly (keyof T & string)[],
  instead: Readonly<Record<string, Written<never>>> = {},
): Type<object> {
  const DryRun = class {};
  const fields = fieldsOf(resource.prototype as object)
    .filter((field) => !(without as readonly string[]).includes(field.name))
    .map((field) => ({ ...field, type: instead[field.name] ?? field.type }));
  register(DryRun, name, { description: 'What would have been answered, were it not a dry run.' }, fields);
  return DryRun;
}

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
  return allFields(prototype).sort((a, b) => Number(a.isOptional) - Number(b.isOptional));
}

function allFields(prototype: object): ResourceField[] {
  const parent = Object.getPrototypeOf(prototype) as object | null;
  return [...(ownFields.get(prototype) ?? []), ...(parent ? allFields(parent) : [])];
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

/**
 * One of several resources, each written in its own way.
 *
 * @param forms the classes of values, and the resource as which each is written
 */
export function eitherOf(
  forms: readonly (readonly [value: Type<object>, as: Type<object>])[],
): Written<object> {
  const inOneForm = (textMoney: boolean): Written<object> => {
    const writers = new Map(forms.map(([value, as]) => [value, inForm(written(as), textMoney)]));
    return {
      schema: { anyOf: [...writers.values()].map((each) => each.schema) },
      write: (value) => (writers.get(value.constructor as Type<object>) as Written<object>).write(value),
    };
  };
  return { ...inOneForm(false), withTextMoney: inOneForm(true) };
}

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

/** A text that is JSON already. */
export const jsonText = (as: JsonSchema | Reference): Written<string> => ({
  schema: as,
  write: (value) => value,
});

/** A text without characters that need escaping. */
export const plainText = (as: JsonSchema | Reference): Written<string> => ({
  schema: as,
  write: (value) => `"${value}"`,
});

export const integer = (as: JsonSchema | Reference): Written<number> => ({ schema: as, write: String });

interface MoneyForm {
  /** The names of its two schemas. */
  readonly names: readonly [number: string, text: string];
  readonly minimum: number;
  readonly maximum: number;
  /** Of the text. */
  readonly pattern: string;
}

/** Currencies have none to four. */
const DECIMALS = '(\\.\\d{1,4})?';

const LARGEST = 'and at most 16 digits before the point';

/** Amounts as text, which has all decimals of the account's currency. */
function moneyOf(what: string, { names, minimum, maximum, pattern }: MoneyForm): Written<string> {
  const [number, asText] = names;
  return {
    schema: schema(number, {
      description:
        `${what} Amounts of more than 15 digits need a JSON parser that keeps all digits of a number, or are asked for ` +
        `as text (\`${asText}\`).`,
      type: 'number',
      minimum,
      maximum,
    }),
    write: (text) => text,
    withTextMoney: {
      schema: schema(asText, { description: `${what.slice(0, -1)}, as text.`, type: 'string', pattern }),
      write: (text) => `"${text}"`,
    },
  };
}

export const Money = moneyOf(`An amount with exactly the decimals of the account's currency, ${LARGEST}.`, {
  names: ['Money', 'TextMoney'],
  minimum: 0,
  maximum: LARGEST_AMOUNT,
  pattern: `^\\d{1,16}${DECIMALS}$`,
});

/** A balance: below zero it is an overdraft. */
export const SignedMoney = moneyOf(
  `An amount with exactly the decimals of the account's currency, ${LARGEST}; below zero where an overdraft is used.`,
  {
    names: ['SignedMoney', 'SignedTextMoney'],
    minimum: -LARGEST_AMOUNT,
    maximum: LARGEST_AMOUNT,
    pattern: `^-?\\d{1,16}${DECIMALS}$`,
  },
);

/** A balance and an overdraft limit, each of which may be the largest amount. */
export const AvailableMoney = moneyOf(
  'What may be withdrawn or held: the balance, less what is held, plus the overdraft limit, with exactly the decimals of ' +
    "the account's currency.",
  {
    names: ['AvailableMoney', 'AvailableTextMoney'],
    minimum: 0,
    maximum: 2 * LARGEST_AMOUNT,
    pattern: `^\\d{1,17}${DECIMALS}$`,
  },
);

/** What several amounts come to. */
export const TotalMoney = moneyOf(
  "What the amounts come to, with exactly the decimals of the account's currency.",
  {
    names: ['TotalMoney', 'TotalTextMoney'],
    minimum: 0,
    maximum: 100_000 * LARGEST_AMOUNT,
    pattern: `^\\d{1,21}${DECIMALS}$`,
  },
);

/** What all accounts, or all transactions, come to. */
export const LedgerMoney = moneyOf(
  'What the amounts of the bank come to, with exactly the decimals of the currency; below zero where overdrafts are more than all else.',
  {
    names: ['LedgerMoney', 'LedgerTextMoney'],
    minimum: -MAX_ID * LARGEST_AMOUNT,
    maximum: MAX_ID * LARGEST_AMOUNT,
    pattern: `^-?\\d{1,32}${DECIMALS}$`,
  },
);

/** What {@link jsonText} holds. */
export const Metadata: JsonSchema = {
  type: 'object',
  description: 'A JSON object of the client.',
  additionalProperties: true,
};

export const Timestamp = plainText({ type: 'string', format: 'date-time' });

export const Currency = plainText(CurrencyCode);

export const AccountId = integer(schema('AccountId', POSITIVE_INTEGER));
export const TransferId = plainText(schema('TransferId', { type: 'string', pattern: '^tr[1-9]\\d{0,15}$' }));

export const HoldId = plainText(schema('HoldId', { type: 'string', pattern: '^hold[1-9]\\d{0,15}$' }));

export const HoldState = plainText(
  schema('HoldStatus', {
    description: '`active` as long as something remains; then how its last part ended.',
    type: 'string',
    enum: ['active', 'captured', 'voided', 'expired'] satisfies HoldStatus[],
  }),
);

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

export const VersionText = plainText(
  schema('VersionText', {
    description: 'The version of an account, as a string.',
    type: 'string',
    pattern: '^[1-9]\\d*$',
  }),
);

export const NextCursor = orNull(
  text(),
  schema('NextCursor', {
    description: 'Send it as `cursor` to get the next page; null on the last page.',
    type: ['string', 'null'],
  }),
);
