import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { AccountPathDto } from './account-path.dto.js';
import { advice } from './advice.js';
import { Contract } from './contract.js';
import {
  IsAmount,
  IsNullableField,
  IsOptionalField,
  IsTransactionId,
  IsVersion,
  IsWord,
  type Numeric,
} from './field-rules.js';
import { InvalidRequestError, type FieldProblem } from './invalid-request.js';
import { NumberText, parseJsonBody } from './json-body.js';

class SampleDto {
  static readonly aliases: ReadonlyMap<string, string> = new Map([
    ['money/Amount', 'amount'],
    ['typeOfThing', 'type'],
    ['edition', 'version'],
    ['revision', 'version'],
  ]);

  @IsAmount()
  amount!: Numeric;

  @IsWord(['deposit', 'withdraw'])
  type!: string;

  @IsOptionalField()
  @IsVersion()
  version?: Numeric;
}

const contract = new Contract(SampleDto);

function problemsOf(input: unknown): readonly FieldProblem[] {
  try {
    contract.read(input);
  } catch (error) {
    if (error instanceof InvalidRequestError) return error.problems;
    throw error;
  }
  return [];
}

const fieldsOf = (input: unknown) => problemsOf(input).map((problem) => problem.field);

/** Any UTF-16 code unit, lone surrogates included. (fast-check's own `binary` takes seconds to build.) */
const anyUnit = fc
  .oneof(fc.nat({ max: 0x7f }), fc.nat({ max: 0xffff }))
  .map((code) => String.fromCharCode(code));

describe('Contract: what it accepts', () => {
  it('makes an instance of the class', () => {
    const dto = contract.read({ amount: '5', type: 'deposit', version: '7' });
    expect(dto).toBeInstanceOf(SampleDto);
    expect(dto).toEqual({ amount: '5', type: 'deposit', version: '7' });
  });

  it('takes each field by either of its names', () => {
    const expected = { amount: '5', type: 'deposit' };
    for (const amount of ['amount', 'money/Amount']) {
      for (const type of ['type', 'typeOfThing']) {
        expect(contract.read({ [amount]: '5', [type]: 'deposit' })).toEqual(expected);
      }
    }
  });

  it('keeps the digits of a number', () => {
    const dto = contract.read(parseJsonBody('{"amount":9007199254740993.07,"type":"deposit"}'));
    expect(dto.amount).toEqual(new NumberText('9007199254740993.07'));
  });

  it('lets an optional field be absent', () => {
    expect(contract.read({ amount: '5', type: 'deposit' }).version).toBeUndefined();
  });
});

describe('Contract: what it refuses', () => {
  it.each([[null], [undefined], [true], ['text'], [[]], [[{ amount: '5', type: 'deposit' }]], [7]])(
    '%j, which is not an object',
    (input) => {
      expect(problemsOf(input)).toEqual([{ field: 'body', message: 'must be a JSON object' }]);
    },
  );

  it('a wrong field, by the name that the client used', () => {
    expect(fieldsOf({ 'money/Amount': '-5', type: 'deposit' })).toEqual(['money/Amount']);
    expect(fieldsOf({ amount: '-5', type: 'deposit' })).toEqual(['amount']);
  });

  it('a missing field, by its short name', () => {
    expect(fieldsOf({ type: 'deposit' })).toEqual(['amount']);
  });

  it('all wrong fields at once', () => {
    expect(fieldsOf({ amount: '0', type: 'gift', version: '0' }).sort()).toEqual([
      'amount',
      'type',
      'version',
    ]);
  });

  it('null for an optional field: null is not absent', () => {
    expect(fieldsOf({ amount: '5', type: 'deposit', version: null })).toEqual(['version']);
  });

  it.each([
    ['both names of a field', { amount: '5', 'money/Amount': '5', type: 'deposit' }],
    ['both names in the other order', { 'money/Amount': '5', amount: '5', type: 'deposit' }],
    ['both names, though one is null', { amount: '5', 'money/Amount': null, type: 'deposit' }],
    ['two of three names', { amount: '5', type: 'deposit', edition: '7', revision: '7' }],
  ])('%s', (_, input) => {
    expect(problemsOf(input)).toEqual([
      { field: expect.any(String), message: expect.stringContaining('the same') },
    ]);
  });

  it('an unknown field, and names it', () => {
    const problem = { field: 'note', message: 'is not a known field' };
    expect(problemsOf({ amount: '5', type: 'deposit', note: 'x' })).toEqual([problem]);
    expect(problemsOf({ amount: '5', type: 'deposit', note: null })).toEqual([problem]);
  });

  it.each([
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'valueOf',
    'hasOwnProperty',
    '__defineGetter__',
    'aliases',
  ])('the field %s', (name) => {
    const body = parseJsonBody(`{"amount":5,"type":"deposit","${name}":{"polluted":true}}`);
    expect(fieldsOf(body)).toEqual([name]);
    expect('polluted' in {}).toBe(false);
  });

  it.each([
    ['Amount', 'did you mean amount?'],
    ['amuont', 'did you mean amount?'],
    ['money_amount', 'did you mean money/Amount?'],
    ['Type', 'did you mean type?'],
  ])('the field %s, and says which one was probably meant', (name, advice) => {
    expect(problemsOf({ amount: '5', type: 'deposit', [name]: '5' })).toEqual([
      { field: name, message: `is not a known field; ${advice}` },
    ]);
  });

  it('a field in another case', () => {
    expect(fieldsOf({ Amount: '5', type: 'deposit' }).sort()).toEqual(['Amount', 'amount']);
  });

  it('any field that the class does not have', () => {
    const known = ['amount', 'money/Amount', 'type', 'typeOfThing', 'version', 'edition', 'revision'];
    fc.assert(
      fc.property(fc.string({ unit: anyUnit, maxLength: 12 }), (name) => {
        fc.pre(!known.includes(name));
        const body = parseJsonBody(`{"amount":5,"type":"deposit",${JSON.stringify(name)}:1}`);
        expect(fieldsOf(body)).toEqual([name]);
      }),
    );
  });
});

class NullableDto {
  static readonly aliases: ReadonlyMap<string, string> = new Map([['edition', 'version']]);

  @IsNullableField()
  @IsVersion()
  version?: Numeric;
}

describe('Contract: a field that may be null', () => {
  const nullable = new Contract(NullableDto);
  const accepts = (input: object) => {
    try {
      return nullable.read(input);
    } catch (error) {
      if (error instanceof InvalidRequestError) return undefined;
      throw error;
    }
  };

  it('is then as if it were absent', () => {
    for (const input of [{}, { version: null }, { edition: null }]) {
      expect(accepts(input)).toEqual(new NullableDto());
    }
    expect(accepts({ version: '7' })).toEqual({ version: '7' });
  });

  it.each([
    { version: 0 },
    { version: '' },
    { version: 'null' },
    { version: null, edition: null },
    { version: '7', edition: null },
    { version: null, note: null },
  ])('is still refused as %j', (input) => {
    expect(accepts(input)).toBeUndefined();
  });
});

class PageDto {
  @IsOptionalField()
  @IsWord(['up', 'down'])
  order?: string;
}

class NothingDto {}

describe('Contract: a query', () => {
  const refusals = (contract: Contract<object>, query: object) => {
    try {
      contract.read(query, () => [
        advice('amount', 'amount belongs in the body'),
        advice('Idempotency-Key', 'send the header Idempotency-Key'),
      ]);
    } catch (error) {
      if (error instanceof InvalidRequestError) return error.problems;
      throw error;
    }
    return [];
  };
  const page = new Contract(PageDto, 'query parameter');
  const nothing = new Contract(NothingDto, 'query parameter');

  it.each([
    ['dryRun', ''],
    ['Order', '; did you mean order?'],
    ['amount', '; amount belongs in the body'],
    ['AMOUNT', '; amount belongs in the body'],
    ['idempotencyKey', '; send the header Idempotency-Key'],
    ['idempotency_key', '; send the header Idempotency-Key'],
  ])('with the unknown parameter %s', (name, advice) => {
    const problem = { field: name, message: `is not a known query parameter${advice}` };
    expect(refusals(page, { [name]: 'up' })).toEqual([problem]);
  });

  it('with a parameter that is given twice', () => {
    expect(refusals(page, { order: ['up', 'up'] })).toEqual([
      { field: 'order', message: 'is given more than once' },
    ]);
  });

  it('of a route that has none', () => {
    expect(refusals(nothing, {})).toEqual([]);
    expect(refusals(nothing, { a: ['1', '2'], __proto__: null, constructor: '' })).toEqual([
      { field: 'a', message: 'is not a known query parameter' },
      { field: 'constructor', message: 'is not a known query parameter' },
    ]);
  });

  it('with too many parameters', () => {
    const many = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`p${index}`, '']));
    expect(refusals(nothing, many)).toEqual([
      { field: 'p50', message: 'is one of more than 50 query parameters' },
    ]);
  });
});

describe('Contract: how much it reads', () => {
  it('names one of too many fields, so that the answer is no longer than the request', () => {
    const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`f${index}`, 1]));
    expect(problemsOf(many)).toEqual([{ field: 'f50', message: 'is one of more than 50 fields' }]);
    const some = Object.fromEntries(Object.entries(many).slice(0, 48));
    expect(fieldsOf({ amount: '5', type: 'deposit', ...some })).toHaveLength(48);
  });

  it('seeks what was meant for the first few unknown names only', () => {
    const names = ['Amount', 'aMount', 'amOunt', 'amoUnt', 'amouNt', 'amounT', 'AMOUNT'];
    const problems = problemsOf({
      amount: '5',
      type: 'deposit',
      ...Object.fromEntries(names.map((name) => [name, 1])),
    });
    expect(problems.map(({ field }) => field)).toEqual(names);
    expect(problems.filter(({ message }) => message.includes('did you mean'))).toHaveLength(5);
  });
});

class TransactionDto {
  @IsTransactionId({})
  transactionId!: string;
}

describe('Contract: the names of a path', () => {
  const refuses = (contract: Contract<object>, path: object) => {
    try {
      contract.read(path);
    } catch (error) {
      if (error instanceof InvalidRequestError) return error.problems[0]?.field;
      throw error;
    }
    return undefined;
  };
  const account = new Contract(AccountPathDto);
  const transaction = new Contract(TransactionDto);

  it('are taken', () => {
    expect(account.read({ accountId: '131' })).toEqual({ accountId: '131' });
    expect(transaction.read({ transactionId: 'txn131' })).toEqual({ transactionId: 'txn131' });
  });

  it.each(['', '0', '-1', '01', '1.0', '1e3', 'txn1', '1;drop', '\u0000', '9223372036854775808'])(
    'an account is not %j',
    (accountId) => {
      expect(refuses(account, { accountId })).toBe('accountId');
    },
  );

  it.each([
    '131',
    'txn',
    'txn0',
    'txn-1',
    'txn01',
    'TXN1',
    'tpn131',
    'txn 1',
    'txntxn1',
    'txn1.0',
    ' txn1',
    '',
  ])('a transaction is not %j', (transactionId) => {
    expect(refuses(transaction, { transactionId })).toBe('transactionId');
  });
});
