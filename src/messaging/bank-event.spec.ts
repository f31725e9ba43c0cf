import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { readBankEvent, type BankEvent } from './bank-event.js';
import { RepeatFilter } from './repeat-filter.js';

const ajv = new Ajv2020();
const SCHEMAS = readdirSync('docs/events').map(
  (name) => JSON.parse(readFileSync(`docs/events/${name}`, 'utf8')) as { $id: string },
);
for (const schema of SCHEMAS) ajv.addSchema(schema);

/** By the schema of its type; and who reads what a broker delivers must be of the same opinion. */
function isValid(event: { type: string }): boolean {
  const isOfSchema = ajv.getSchema(`urn:bank:events:${event.type}`)?.(event) === true;
  expect(readBankEvent(JSON.stringify(event)) !== undefined).toBe(isOfSchema);
  return isOfSchema;
}

const PLACED = {
  ...{ specversion: '1.0', id: 'hold132/4', source: 'urn:uuid:2b5d74f1-4b36-41ad-9d3c-0123456789ab' },
  ...{ type: 'hold.placed.v1', subject: 'holds/hold132', time: '2026-05-01T12:00:00.123Z' },
  datacontenttype: 'application/json',
  data: {
    ...{ holdId: 'hold132', accountId: 7, transactionId: 'txn132', version: 4, amount: '100.00' },
    expiresAt: '2026-05-02T12:00:00.000Z',
  },
};
const ended = (type: string) => ({ ...PLACED, type, data: { ...PLACED.data, expiresAt: undefined } });

/** The documented ones, and one of each type that the document only lists. */
const EXAMPLES = [
  ...[...readFileSync('docs/events.md', 'utf8').matchAll(/```json\n(.*?)```/gs)].map(
    ([, text]) => JSON.parse(text ?? '') as typeof PLACED,
  ),
  ...[PLACED, ended('hold.voided.v1'), ended('hold.expired.v1')],
  {
    ...{ ...PLACED, id: 'tr17', type: 'transfer.failed.v1', subject: 'transfers/tr17' },
    data: { transferId: 'tr17', accountId: 7, toAccountId: 8, amount: '5.00', holdId: 'hold132' },
  },
  {
    ...{ ...PLACED, id: 'refusal5', type: 'submission.refused.v1', subject: 'accounts/7' },
    data: { accountId: 7, idempotencyKey: 'key-1', code: 'INSUFFICIENT_BALANCE' },
  },
];

/** The members of the examples that not every event of their type has. */
const OPTIONAL = [
  ...['transaction.posted.v1 idempotencyKey', 'transaction.posted.v2 holdId', 'hold.placed.v1 expiresAt'],
  'transfer.failed.v1 holdId',
];

/** Attributes that not every event has. */
const MAY_LACK = ['sequence', 'traceparent'];

describe('the events of a bank', () => {
  it('have an example of each type', () => {
    const types = EXAMPLES.map(({ type }) => `urn:bank:events:${type}`);
    expect(types.sort()).toEqual(SCHEMAS.map(({ $id }) => $id).sort());
  });

  it.each(EXAMPLES.map((event) => [event.type, event] as const))('%s is as its schema', (_type, event) => {
    expect(isValid(event)).toBe(true);
    expect(isValid({ ...event, more: 1, data: { ...event.data, more: 1 } } as never)).toBe(true);
    for (const member of Object.keys(event).filter((name) => name !== 'type'))
      expect([member, isValid({ ...event, [member]: undefined })]).toEqual([
        member,
        MAY_LACK.includes(member),
      ]);
    for (const member of Object.keys(JSON.parse(JSON.stringify(event.data)) as object)) {
      const without = { ...event, data: { ...event.data, [member]: undefined } };
      const other = { ...event, data: { ...event.data, [member]: 1.5 } };
      expect([member, isValid(without), isValid(other)]).toEqual([
        ...[member, OPTIONAL.includes(`${event.type} ${member}`), false],
      ]);
    }
  });

  it('of an unknown type are none', () => {
    expect(readBankEvent(JSON.stringify({ ...PLACED, type: 'hold.placed.v2' }))).toBeUndefined();
  });

  it('are processed once: transactions by version, in order, and others by id', () => {
    const filter = new RepeatFilter({ maxAccounts: 10, fromOpening: true });
    const posted = (version: number, v: 1 | 2) =>
      ({
        type: `transaction.posted.v${v}`,
        id: `txn${version}`,
        data: { accountId: 1, version },
      }) as BankEvent;
    const placed = (version: number) => ({ ...PLACED, id: `hold1/${version}` }) as BankEvent;
    const arriving = [
      posted(2, 1),
      posted(4, 1),
      placed(3),
      posted(2, 1),
      posted(3, 2),
      placed(3),
      posted(4, 1),
    ];
    expect(arriving.map((event) => filter.isNew(event))).toEqual([
      true,
      false,
      true,
      false,
      true,
      false,
      true,
    ]);
    expect(filter.isNew({ ...placed(3), source: 'another bank' })).toBe(true);
  });
});
