import fc, { type Arbitrary } from 'fast-check';
import type { OpenApiContract, Schema } from './contract.js';
import type { Pair } from './draft.js';

/** The bank of a run has accounts 1 to this, each with money. */
export const ACCOUNTS = 6;
const MAX_CENTS = 999_999_999_999_999_999n;
const HOUR_MS = 3_600_000;
/** The same for a whole run, so that a seed gives the same requests. */
const NOW_MS = Math.ceil(Date.now() / HOUR_MS) * HOUR_MS;
const MAX_BIGINT = 9_223_372_036_854_775_807n;

/** The most elements of a generated list. */
const LONGEST_LIST = 8;

/** Occurs nowhere in the source of an item, so that a list can be taken apart. */
export const BETWEEN_ITEMS = ',\n';

const quoted = (text: string) => JSON.stringify(text);

/** Mostly small enough that a withdrawal is covered. */
const cents = fc.oneof(
  { weight: 12, arbitrary: fc.bigInt({ min: 1n, max: 50_000n }) },
  { weight: 1, arbitrary: fc.bigInt({ min: 1n, max: MAX_CENTS }) },
  { weight: 1, arbitrary: fc.constantFrom(1n, MAX_CENTS, 900_719_925_474_099_307n) },
);

/** Amounts in every form in which one may be written. */
const amount = fc.tuple(cents, fc.nat(3)).map(([value, form]) => {
  const exact = `${value / 100n}.${String(value % 100n).padStart(2, '0')}`;
  const short = exact.replace(/\.?0{1,2}$/, '');
  return [exact, short, quoted(exact), quoted(short)][form] ?? exact;
});

const version = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('{{version}}', '"{{version}}"') },
  { weight: 1, arbitrary: fc.bigInt({ min: 1n, max: MAX_BIGINT }).map(String) },
);

const type = fc
  .constantFrom('Deposit', 'Withdraw', 'Credit', 'Debit', 'deposit', 'WITHDRAW', 'cREDIT')
  .map(quoted);

const tags = fc.oneof(
  fc.constantFrom(
    '"{{version}}"',
    '"{{version}}-string"',
    '*',
    '"1", "{{version}}"',
    'W/"{{version}}"',
    '"abc"',
    ',"7",,',
    '""',
  ),
  fc
    .array(
      fc.nat(20).map((tag) => `"${tag}"`),
      { minLength: 1, maxLength: 40 },
    )
    .map((list) => list.join(', ')),
);

const key = fc.oneof(
  { weight: 4, arbitrary: fc.uuid() },
  // So few that they are repeated: with the same request, with another one, and quoted.
  { weight: 2, arbitrary: fc.nat(60).map((n) => `key-${n}`) },
  { weight: 1, arbitrary: fc.nat(60).map((n) => `"key-${n}"`) },
  { weight: 1, arbitrary: fc.stringMatching(/^[!#-~][!-~]{0,254}$/) },
);

const instant = fc
  .tuple(
    fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }),
    fc.constantFrom(10, 24),
  )
  .map(([date, length]) => date.toISOString().slice(0, length));

const account = fc.oneof(
  { weight: 12, arbitrary: fc.integer({ min: 1, max: ACCOUNTS }).map(String) },
  { weight: 1, arbitrary: fc.bigInt({ min: 1n, max: MAX_BIGINT }).map(String) },
);

/** Words that a person writes. */
const words = fc
  .oneof(
    fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 50 }),
    fc.constantFrom('Miete für Mai', '家賃', '🏠'),
  )
  .map(quoted);

const metadata = fc
  .dictionary(
    fc.stringMatching(/^[a-z]{1,8}$/),
    fc.oneof(
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.stringMatching(/^[ -~]{0,20}$/),
      fc.constant([{ a: [] }]),
    ),
    { maxKeys: 4 },
  )
  .map((object) => JSON.stringify(object));

/** The legs of a transfer: the withdrawals are as much as the deposits. */
const legs = fc
  .tuple(
    fc.shuffledSubarray([1, 2, 3, 4, 5, 6], { minLength: 2, maxLength: ACCOUNTS }),
    fc.bigInt({ min: 1n, max: 5_000n }),
    fc.constantFrom(['Debit', 'Credit'], ['withdraw', 'DEPOSIT']),
  )
  .map(([accounts, each, [out, into]]) => {
    const [payer, ...payees] = accounts;
    const leg = (accountId: number | undefined, type: string | undefined, total: bigint) =>
      `{"accountId":${accountId},"type":"${type}","amount":"${total / 100n}.${String(total % 100n).padStart(2, '0')}"}`;
    const parts = payees.map((accountId) => leg(accountId, into, each));
    return `[${[...parts, leg(payer, out, each * BigInt(payees.length))].join()}]`;
  });

const effectiveDate = fc.constantFrom('2024-02-29', '1999-12-31', '2025-01-01', '9999-12-31').map(quoted);

/** Mostly open, so that the others go on; closing needs an empty account. */
const status = fc.oneof(
  { weight: 9, arbitrary: fc.constant('open') },
  { weight: 1, arbitrary: fc.constantFrom('frozen', 'debits_blocked', 'closed') },
);

/** The same of fields of bodies, where parameters of the name mean something else. */
const SENSE_OF_FIELD: Readonly<Record<string, Arbitrary<string>>> = {
  from: account,
  to: account,
  status: status.map(quoted),
};

/** Values, as JSON source, that make sense in a real bank beyond the schema, by the name of the field. */
const SENSE: Readonly<Record<string, Arbitrary<string>>> = {
  accountId: account,
  near: account,
  // Of two decimals, like the amounts.
  currency: fc.constantFrom('USD', 'USD', 'EUR').map(quoted),
  holdId: fc.constantFrom('{{hold}}', '{{hold}}', 'hold1', 'hold9223372036854775807').map(quoted),
  transferId: fc.constantFrom('{{transfer}}', '{{transfer}}', 'tr1', 'tr9223372036854775807').map(quoted),
  description: words,
  reference: words,
  metadata,
  effectiveDate,
  legs,
  expiresAt: fc
    .constantFrom(1, 24, 24 * 365)
    .map((hours) => quoted(new Date(NOW_MS + hours * HOUR_MS).toISOString())),
  // None expires during a run: that would change answers with nobody acting.
  expiresInSeconds: fc.constantFrom('3600', '"7200"', '31622400'),
  transactionId: fc.constantFrom('{{transaction}}', 'txn1', 'txn3', 'txn9223372036854775807').map(quoted),
  owner: fc
    .string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 50 })
    .filter((name) => name.trim() !== '')
    .map(quoted),
  submissionId: fc.stringMatching(/^[\w-]{1,40}\.[\w-]{1,43}$/).map(quoted),
  cursor: fc.constant(quoted('{{cursor}}')),
  webhookId: fc.constantFrom('{{webhook}}', '{{webhook}}', 'wh1', 'wh9223372036854775807').map(quoted),
  // Nobody ever answers there.
  url: fc.nat(9).map((n) => quoted(`http://127.0.0.1:9/${n}?a=%20`)),
  eventTypes: fc
    .subarray(['transaction.posted', 'hold.placed', 'account.changed', '*'], { minLength: 1 })
    .map((types) => JSON.stringify(types)),
  eventId: fc.constantFrom('txn1', 'hold1/2', 'account1/1', 'tr9').map(quoted),
  since: instant.map(quoted),
  overlapHours: fc.constantFrom('0', '1', '"0"', '"24"', '168'),
  minVersion: version.map((text) => text.replaceAll('"', '')),
  from: instant.map(quoted),
  to: instant.map(quoted),
  'Idempotency-Key': key.map(quoted),
  idempotencyKey: key.map(quoted),
  'If-Match': tags.map(quoted),
  'If-None-Match': tags.map(quoted),
  'Cache-Control': fc.constantFrom('no-cache', 'max-age=0, no-cache', 'no-store', 'no-cache="x"').map(quoted),
  'X-Request-Id': fc.stringMatching(/^[A-Za-z0-9._~:/+=@-]{1,128}$/).map(quoted),
};

/** The same by the name of the schema. */
const SENSE_OF_SCHEMA: Readonly<Record<string, Arbitrary<string>>> = {
  Amount: amount,
  ExpectedVersion: version,
  TransactionTypeInput: type,
  OverdraftLimit: fc.constantFrom('0', '"0.00"', '100.00', '5'),
  WebhookStatusInput: fc.constantFrom('enabled', 'Disabled').map(quoted),
};

/** Any value of a schema, by its type. */
const BY_TYPE: Readonly<Record<string, (schema: Schema) => Arbitrary<string>>> = {
  integer: ({ minimum, maximum }) =>
    fc.bigInt({ min: BigInt(minimum ?? -MAX_BIGINT), max: BigInt(maximum ?? MAX_BIGINT) }).map(String),
  number: ({ minimum, maximum }) => fc.double({ min: minimum, max: maximum, noNaN: true }).map(String),
  string: ({ pattern, maxLength }) =>
    (pattern === undefined ? fc.string({ maxLength }) : fc.stringMatching(new RegExp(pattern))).map(quoted),
  boolean: () => fc.boolean().map(String),
  null: () => fc.constant('null'),
};

const isNullable = ({ oneOf = [] }: Schema) => oneOf.some(({ type }) => type === 'null');

/** The name of a schema, or of what may also be null. */
export const schemaName = (schema: Schema): string =>
  (isNullable(schema) ? schema.oneOf?.[0] : schema)?.$ref?.split('/').at(-1) ?? '';

/** Values that the schemas of an OpenAPI document allow, as JSON source. */
export class Values {
  constructor(private readonly contract: OpenApiContract) {}

  /** Values for a field by its name, if the name is known; otherwise any value of its schema. */
  field(name: string, schema: Schema): Arbitrary<string> {
    return this.known(SENSE_OF_FIELD[name] ?? SENSE[name], schema);
  }

  private known(byName: Arbitrary<string> | undefined, schema: Schema): Arbitrary<string> {
    const known = SENSE_OF_SCHEMA[schemaName(schema)] ?? byName;
    if (!known) return this.any(schema);
    if (!isNullable(schema)) return known;
    return fc.oneof({ weight: 9, arbitrary: known }, { weight: 1, arbitrary: fc.constant('null') });
  }

  /** A parameter before encoding: without the quotes of a string. */
  parameter(name: string, schema: Schema): Arbitrary<string> {
    return this.known(SENSE[name], schema).map((source) =>
      source.startsWith('"') ? (JSON.parse(source) as string) : source,
    );
  }

  /** The members of an object: the required ones and some of the others. */
  members(reference: Schema): Arbitrary<readonly Pair[]> {
    const schema = this.contract.follow(reference);
    const forms = schema.oneOf ?? schema.anyOf;
    // Where a list is taken instead of an object, the object has room for it too.
    const objects = forms?.filter((form) => this.contract.follow(form).type !== 'array');
    if (objects) return fc.oneof(...objects.map((form) => this.members(form)));
    const members = Object.entries(schema.properties ?? {}).map(([name, property]) => {
      const member = this.field(name, property).map((value): Pair => [quoted(name), value]);
      return schema.required?.includes(name) === true ? member : fc.option(member, { nil: undefined });
    });
    return fc
      .tuple(...members)
      .map((given) => given.filter((member) => member !== undefined))
      .filter((given) => given.length >= (schema.minProperties ?? 0));
  }

  private any(reference: Schema): Arbitrary<string> {
    const schema = this.contract.follow(reference);
    const forms = schema.oneOf ?? schema.anyOf;
    if (forms) return fc.oneof(...forms.map((form) => this.any(form)));
    if (schema.const !== undefined) return fc.constant(JSON.stringify(schema.const));
    if (schema.enum) return fc.constantFrom(...schema.enum.map((value) => JSON.stringify(value)));
    const ofType = BY_TYPE[String(schema.type)];
    if (ofType) return ofType(schema);
    if (schema.type === 'array') return this.list(schema);
    if (schema.type !== 'object') throw new Error(`no values are known for ${JSON.stringify(schema)}`);
    return this.members(schema).map((members) => `{${members.map((pair) => pair.join(':')).join()}}`);
  }

  private list({ items, minItems }: Schema): Arbitrary<string> {
    if (!items) throw new Error('a list of what?');
    const item = this.any(items);
    return fc
      .array(item, { minLength: minItems, maxLength: LONGEST_LIST })
      .map((list) => `[${list.join(BETWEEN_ITEMS)}]`);
  }
}
