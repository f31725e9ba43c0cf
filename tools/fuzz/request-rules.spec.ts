import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import * as accounts from '../../src/accounts/accounts.dto.js';
import * as accountPath from '../../src/http/validation/account-path.dto.js';
import { Contract, fieldsOf, type DtoClass, type FieldContract } from '../../src/http/validation/contract.js';
import { InvalidRequestError } from '../../src/http/validation/invalid-request.js';
import { parseJsonBody } from '../../src/http/validation/json-body.js';
import { sortedComponents } from '../../src/http/schema/registry.js';
import * as holds from '../../src/holds/holds.dto.js';
import * as pageQuery from '../../src/http/validation/page-query.dto.js';
import * as batch from '../../src/batches/batch.dto.js';
import * as transactions from '../../src/transactions/transactions.dto.js';
import * as transfers from '../../src/transfers/transfers.dto.js';
import * as details from '../../src/http/validation/details.dto.js';
import * as submissions from '../../src/submissions/submissions.dto.js';
import * as webhooks from '../../src/webhooks/webhooks.dto.js';
import * as reversals from '../../src/http/validation/reversal.dto.js';
import {
  BAD_FIELDS,
  BAD_FIELDS_BY_NAME,
  BAD_HEADERS,
  BAD_PARAMETERS,
  ODD_PARAMETERS,
  UNKNOWN_NAMES,
} from './bad-values.js';

/** Every class with rules: of a path, a query or a body. */
const DTO_CLASSES = [
  accounts,
  accountPath,
  holds,
  pageQuery,
  details,
  reversals,
  submissions,
  batch,
  transactions,
  transfers,
  webhooks,
]
  .flatMap((module) => Object.values<unknown>(module))
  .filter((value): value is DtoClass<object> => typeof value === 'function' && value.name.endsWith('Dto'))
  .filter((dtoClass) => fieldsOf(dtoClass).length > 0);

const BODIES: readonly DtoClass<object>[] = [
  accounts.OpenAccountDto,
  accounts.ChangeAccountDto,
  holds.PlaceHoldDto,
  holds.CaptureDto,
  holds.VoidDto,
  transactions.PostTransactionDto,
  reversals.ReversalDto,
  batch.BatchItemDto,
  batch.BatchTransferDto,
  batch.BatchLegsDto,
  batch.BatchHoldDto,
  batch.BatchCaptureDto,
  batch.BatchVoidDto,
  batch.BatchReversalDto,
  batch.BatchTransferReversalDto,
  details.DetailsDto,
  transfers.PostTransferDto,
  transfers.PostLegDto,
  transfers.PostLegsDto,
  webhooks.CreateWebhookDto,
  webhooks.ChangeWebhookDto,
  webhooks.RotateSecretDto,
  webhooks.RedeliverDto,
];

/** A value of a field as a client sends it: the JSON source in a body, the text in a path or a query. */
interface Sent {
  readonly source: string;
  /** What it is to JSON Schema. */
  readonly json: unknown;
  /** What the service makes of it before it looks at the rules. */
  readonly parsed: unknown;
}

const parsedBodies = new Map<string, Sent | undefined>();

/** Undefined: it is no JSON. Every field is tried with the same sources, so each is parsed once. */
function inBody(source: string): Sent | undefined {
  if (!parsedBodies.has(source)) parsedBodies.set(source, parsedBody(source));
  return parsedBodies.get(source);
}

function parsedBody(source: string): Sent | undefined {
  try {
    return { source, json: JSON.parse(source), parsed: parseJsonBody(source) };
  } catch {
    return undefined;
  }
}

/** A client has an integer where the document says so, and writes it in decimal digits. */
function inQuery(text: string, { schema }: FieldContract): Sent {
  const json = schema.type === 'integer' && /^(0|-?[1-9]\d*)$/.test(text) ? Number(text) : text;
  return { source: text, json, parsed: text };
}

function decoded(text: string): string[] {
  try {
    return [decodeURIComponent(text)];
  } catch {
    return [];
  }
}

/** What one of the two accepts and the other does not, on purpose. */
interface Difference {
  readonly why: string;
  readonly acceptedBy: 'the schema' | 'the rule';
  readonly fields: readonly string[];
  readonly holds: (sent: Sent) => boolean;
  readonly example: string;
}

const AMOUNTS = ['amount', 'openingDeposit', 'overdraftLimit'];
/** In bodies, and in queries. */
const IDS = ['accountId', 'expectedVersion', 'from', 'to', 'near', 'expiresInSeconds', 'overlapHours'];
const INTEGERS = [...IDS, 'version', 'minVersion', 'fromVersion', 'fromRevision'];
const isNumber = ({ json }: Sent) => typeof json === 'number';
/** The text of a number or a string. */
const textOf = ({ source, json }: Sent) => (typeof json === 'string' ? json : source);
const isBeyondBigint = (text: string) => /^[1-9]\d*$/.test(text) && BigInt(text) >= 2n ** 63n;

/** Whether every text in it, names of members included, is one that PostgreSQL stores. */
const isStorable = (json: unknown): boolean =>
  typeof json === 'object' && json !== null
    ? Object.entries(json).flat().every(isStorable)
    : !String(json).includes('\0') && String(json).isWellFormed();
const depthOf = (json: unknown): number =>
  typeof json === 'object' && json !== null ? 1 + Math.max(0, ...Object.values(json).map(depthOf)) : 0;

/** Whether there is such a day, and such a time of it. */
function isReal(text: string): boolean {
  const [time, day] = [new Date(text), new Date(text.slice(0, 10))];
  if (Number.isNaN(time.getTime()) || Number.isNaN(day.getTime())) return false;
  // Date reads 0009-14-14 as a day of another form.
  return day.toISOString().slice(0, 10) === text.slice(0, 10);
}

const DIFFERENCES: readonly Difference[] = [
  {
    why: 'JSON Schema compares values, and an exponent is one way to write one',
    acceptedBy: 'the schema',
    fields: [...AMOUNTS, ...IDS],
    holds: (sent) => isNumber(sent) && /e/i.test(sent.source),
    example: '1e2',
  },
  {
    why: 'to JSON Schema 2.0 is an integer',
    acceptedBy: 'the schema',
    fields: IDS,
    holds: (sent) => isNumber(sent) && /^\d+\.\d+$/.test(sent.source),
    example: '2.0',
  },
  {
    why: 'a multiple of 0.0001 cannot be told in floating-point numbers',
    acceptedBy: 'the schema',
    fields: AMOUNTS,
    holds: (sent) => isNumber(sent) && /^\d+\.\d{5,}$/.test(sent.source),
    example: '1.00005',
  },
  {
    why: 'the largest amount is 1e16 as a floating-point number, and so are some larger ones',
    acceptedBy: 'the schema',
    fields: AMOUNTS,
    holds: (sent) => isNumber(sent) && sent.json === 1e16 && /^1\d{16}(\.\d{1,4})?$/.test(sent.source),
    example: '10000000000000000',
  },
  {
    why: 'the end of 64 bits is a format, of which JSON Schema only takes note',
    acceptedBy: 'the schema',
    fields: INTEGERS,
    holds: (sent) => isBeyondBigint(textOf(sent)),
    example: '9223372036854775808',
  },
  {
    why: 'a pattern knows the digits of 64 bits, not their end',
    acceptedBy: 'the schema',
    fields: ['transactionId', 'transferId', 'holdId', 'webhookId'],
    holds: (sent) => isBeyondBigint(textOf(sent).replace(/^\D+/, '')),
    example: 'txn9223372036854775808',
  },
  {
    why: 'to JSON Schema a zero with a sign is none less',
    acceptedBy: 'the schema',
    fields: ['overdraftLimit', 'overlapHours'],
    holds: (sent) => isNumber(sent) && sent.source.startsWith('-'),
    example: '-0',
  },
  {
    why: 'a pattern knows no largest number',
    acceptedBy: 'the schema',
    fields: ['expiresInSeconds'],
    holds: ({ json }) => typeof json === 'string' && Number(json) > 366 * 24 * 60 * 60,
    example: '"31622401"',
  },
  {
    why: 'the same of hours',
    acceptedBy: 'the schema',
    fields: ['overlapHours'],
    holds: ({ json }) => typeof json === 'string' && Number(json) > 168,
    example: '"169"',
  },
  {
    why: 'a pattern does not tell the parts of a URL',
    acceptedBy: 'the schema',
    fields: ['url'],
    holds: ({ json }) => !URL.canParse(String(json)) || /[@#]/.test(String(json)),
    example: '"https://a:b@c.invalid/"',
  },
  {
    why: 'a pattern knows no calendar and no clock',
    acceptedBy: 'the schema',
    fields: ['from', 'to', 'at', 'expiresAt', 'since'],
    holds: (sent) => !isReal(textOf(sent)),
    example: '2025-02-30',
  },
  {
    why: 'nor does that of a day, whose format JSON Schema only takes note of',
    acceptedBy: 'the schema',
    fields: ['effectiveDate'],
    holds: ({ json }) => !isReal(String(json)),
    example: '"2025-02-30"',
  },
  {
    why: 'the pattern of a key does not tell a quoted key from a broken one',
    acceptedBy: 'the schema',
    fields: ['idempotencyKey'],
    holds: ({ json }) => String(json).startsWith('"'),
    example: '"\\"abc"',
  },
  {
    why: 'the pattern of a key counts its quotes and escapes',
    acceptedBy: 'the rule',
    fields: ['idempotencyKey'],
    holds: ({ json }) => String(json).startsWith('"') && String(json).length > 255,
    example: `"\\"${'k'.repeat(255)}\\""`,
  },
  {
    why: 'a pattern takes half of a surrogate pair for a character',
    acceptedBy: 'the schema',
    fields: ['owner', 'description', 'reference'],
    holds: ({ json }) => !String(json).isWellFormed(),
    example: '"\\ud800"',
  },
  {
    why: 'the schema of an object does not bound what is in it',
    acceptedBy: 'the schema',
    fields: ['metadata'],
    holds: ({ source, json }) => !isStorable(json) || depthOf(json) > 5 || Buffer.byteLength(source) > 4_096,
    example: '{"a":"\\u0000"}',
  },
  {
    why: 'a pattern does not know which characters can be seen',
    acceptedBy: 'the schema',
    fields: ['owner'],
    holds: ({ json }) => !/[^\p{Default_Ignorable_Code_Point}\p{Z}\p{Cf}\p{Cn}\u2800]/u.test(String(json)),
    example: '"\\u200b \\u3164"',
  },
  {
    why: 'a pattern knows no normalization form',
    acceptedBy: 'the schema',
    fields: ['owner'],
    holds: ({ json }) => String(json).normalize('NFC') !== json,
    example: '"Jose\\u0301"',
  },
  {
    why: 'an enum has no case-insensitive words',
    acceptedBy: 'the rule',
    fields: ['type', 'atomic', 'dryRun', 'status'],
    holds: ({ json }) => /^[a-z_]+$/i.test(String(json)),
    example: 'tRUE',
  },
  {
    why: 'a count may have leading zeros',
    acceptedBy: 'the rule',
    fields: ['limit'],
    holds: ({ source }) => /^0\d+$/.test(source),
    example: '007',
  },
  {
    why: 'class-validator does not count what chooses between the looks of a character',
    acceptedBy: 'the rule',
    fields: ['cursor'],
    holds: ({ source }) => /[\ufe0e\ufe0f]/.test(source) && [...source].length > 4_000,
    example: 'x\ufe0f'.repeat(2_001),
  },
];

const ajv = new Ajv2020({ strict: false, formats: { date: true, int64: true } });

const RULES = DTO_CLASSES.flatMap((dtoClass) => {
  const isBody = BODIES.includes(dtoClass);
  return fieldsOf(dtoClass).map((field) => ({
    name: `${dtoClass.name}.${field.name}`,
    field,
    isBody,
    sent: (source: string) => (isBody ? inBody(source) : inQuery(source, field)),
    bySchema: ajv.compile({ ...field.schema, components: sortedComponents() }),
  }));
});

/** By which of its two descriptions a value is accepted. */
const acceptedBy = ({ field, bySchema }: (typeof RULES)[number], { json, parsed }: Sent) => ({
  schema: bySchema(json),
  rule: field.accepts(parsed),
});

const parameters = [BAD_PARAMETERS, ODD_PARAMETERS]
  .flatMap((lists) => Object.values(lists).flat())
  .flatMap(decoded);
/** As long as the longest key and owner, and the longest cursor; and one more. */
const LONG = [255, 256, 4_000, 4_001].map((length) => 'x'.repeat(length));
/** Lists of legs, of which no random text is one. */
const LEGS = [
  '[{"accountId":1,"type":"Debit","amount":"1.00"},{"accountId":"2","type":"Credit","amount":1}]',
  '[{"accountId":1,"type":"Debit","amount":1},{"accountId":2,"type":"Credit","amount":"0"}]',
  '[{"accountId":1,"type":"Debit","amount":1}]',
  '[{"accountId":1,"type":"Debit","amount":1},{}]',
  '[1,2]',
];
/** Of webhooks, likewise. */
const OF_WEBHOOKS = [
  '["*"]',
  '["hold.placed","transfer.failed"]',
  '["*","*"]',
  '["hold"]',
  ...['https://a.invalid/x?y=%20', 'HTTP://a.invalid', 'https://a:b@c.invalid/', 'https://[x]/'].map(
    (url) => `"${url}"`,
  ),
  ...[
    'wh1',
    'wh9007199254740993',
    'txn1',
    'hold132/6',
    'hold132/',
    'given_up',
    'Accepted',
    'Enabled',
    '0',
  ].flatMap((word) => [word, `"${word}"`]),
];
const listed = [
  ...LEGS,
  ...OF_WEBHOOKS,
  ...Object.values(BAD_FIELDS_BY_NAME).flat(),
  ...Object.values(BAD_FIELDS).flat(),
  ...[...parameters, ...BAD_HEADERS['Idempotency-Key'], ...UNKNOWN_NAMES, ...LONG].flatMap((text) => [
    text,
    JSON.stringify(text),
  ]),
];

const digits = (most: number) =>
  fc.array(fc.nat(9), { minLength: 1, maxLength: most }).map((each) => each.join(''));
const decimal = fc.tuple(digits(17), digits(3)).map(([whole, part]) => `${whole}.${part}`);
const date = fc.tuple(fc.nat(9999), fc.nat(14), fc.nat(33)).map(([year, month, day]) => {
  const two = (number: number) => String(number).padStart(2, '0');
  return `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}`;
});
const time = fc
  .tuple(fc.nat(25), fc.nat(61), fc.option(digits(10)))
  .map(([hour, minute, fraction]) => `T${hour}:${minute}:00${fraction === null ? '' : `.${fraction}`}Z`);
const text = fc.oneof(
  digits(20),
  fc.tuple(fc.constantFrom('txn', 'tr', 'hold'), digits(20)).map((parts) => parts.join('')),
  decimal,
  date,
  fc.tuple(date, time).map((parts) => parts.join('')),
  fc.constantFrom('Deposit', 'withdraw', 'CREDIT', 'Debit', 'true', 'False', 'credit ', 'key', '"key"'),
  fc.constantFrom('Transfer', 'hold', 'CAPTURE', 'Void', 'reversal'),
  fc.constantFrom('USD', 'JPY', 'usd', 'XXX'),
  fc.constantFrom('open', 'Frozen', 'DEBITS_BLOCKED', 'closed', 'active', 'captured', 'Voided', 'expired'),
  fc.string({ maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 260, size: 'max' }),
);
const source = fc.oneof(
  text,
  text.map((each) => JSON.stringify(each)),
  fc.double().map(String),
  fc.json({ maxDepth: 1 }),
);

/** Drawn once for all tests: drawing texts takes longer than judging them. */
const DRAWN = fc.sample(source, 3_000);

describe('the two descriptions of a field: its rule, and its JSON Schema in the OpenAPI document', () => {
  it('are of all fields of requests', () => {
    expect(DTO_CLASSES.map(({ name }) => name).sort()).toEqual([
      'AccountPathDto',
      'BalanceQueryDto',
      'BatchCaptureDto',
      'BatchHoldDto',
      'BatchItemDto',
      'BatchLegsDto',
      'BatchQueryDto',
      'BatchReversalDto',
      'BatchTransferDto',
      'BatchTransferReversalDto',
      'BatchVoidDto',
      'CaptureDto',
      'ChangeAccountDto',
      'ChangeWebhookDto',
      'CreateWebhookDto',
      'DeliveryPathDto',
      'DetailsDto',
      'DryRunQueryDto',
      'HoldPathDto',
      'ListAccountsDto',
      'ListDeliveriesDto',
      'ListHoldsDto',
      'ListTransactionsDto',
      'OpenAccountDto',
      'PageQueryDto',
      'PlaceHoldDto',
      'PostLegDto',
      'PostLegsDto',
      'PostTransactionDto',
      'PostTransferDto',
      'ProofQueryDto',
      'RedeliverDto',
      'ReversalDto',
      'RotateSecretDto',
      'SubmissionPathDto',
      'TransactionPathDto',
      'TransferPathDto',
      'VoidDto',
      'WebhookPathDto',
    ]);
  });

  it.each(RULES)('accept the same values, but for what is stated: $name', (rule) => {
    const differences = DIFFERENCES.filter(({ fields }) => fields.includes(rule.field.name));
    const compare = (each: string) => {
      const sent = rule.sent(each);
      if (!sent) return;
      const { schema, rule: ofRule } = acceptedBy(rule, sent);
      if (schema === ofRule) return;
      const side = schema ? 'the schema' : 'the rule';
      const stated = differences.some((one) => one.acceptedBy === side && one.holds(sent));
      expect({ source: each, acceptedBy: stated ? 'as stated' : side }).toEqual({
        source: each,
        acceptedBy: 'as stated',
      });
    };
    [...listed, ...DRAWN].forEach(compare);
  });

  it.each(DIFFERENCES)('differ: $why', ({ fields, acceptedBy: side, holds, example }) => {
    const differing = RULES.filter((rule) => {
      const sent = rule.sent(example);
      if (!sent || !fields.includes(rule.field.name) || !holds(sent)) return false;
      const accepted = acceptedBy(rule, sent);
      return side === 'the schema' ? accepted.schema && !accepted.rule : accepted.rule && !accepted.schema;
    });
    expect(differing).not.toHaveLength(0);
  });
});

describe.each(DTO_CLASSES.map((dtoClass) => ({ name: dtoClass.name, dtoClass })))(
  'the compiled schema of $name',
  ({ dtoClass }) => {
    const contract = new Contract(dtoClass);
    const isBody = BODIES.includes(dtoClass);

    function isExplained(input: unknown): boolean {
      try {
        contract.explain(input);
        return false;
      } catch (error) {
        if (error instanceof InvalidRequestError) return true;
        throw error;
      }
    }

    const known = [...fieldsOf(dtoClass).map(({ name }) => name), ...(dtoClass.aliases?.keys() ?? [])];
    const values = [...listed, ...DRAWN].map((each) =>
      isBody ? (inBody(each) ?? { parsed: each }).parsed : each,
    );
    const value = fc.constantFrom(...values);

    it('accepts exactly what there is nothing to explain of', () => {
      const good = known.map((name) => {
        const field = fieldsOf(dtoClass).find((one) => one.name === (dtoClass.aliases?.get(name) ?? name));
        // Chosen beforehand: fc's own filter would draw hundreds of values before one that fits.
        const accepted = fc.constantFrom(...values.filter((one) => !!field?.accepts(one)));
        return [name, fc.oneof({ weight: 5, arbitrary: accepted }, value)] as const;
      });
      const members = fc.record(Object.fromEntries(good), { requiredKeys: [] });
      const others = fc.dictionary(fc.constantFrom(...known, ...UNKNOWN_NAMES), value, { maxKeys: 1 });
      const input = fc.oneof(
        { weight: 9, arbitrary: members },
        { weight: 2, arbitrary: fc.tuple(members, others).map(([some, more]) => ({ ...some, ...more })) },
        { weight: 1, arbitrary: value },
      );
      const verdicts = new Set<boolean>();
      fc.assert(
        fc.property(input, (each) => {
          const isWellFormed = contract.isWellFormed(each);
          expect(isWellFormed).toBe(!isExplained(each));
          verdicts.add(isWellFormed);
        }),
        { numRuns: 1_000 },
      );
      expect(verdicts.size).toBe(2);
    });
  },
);
