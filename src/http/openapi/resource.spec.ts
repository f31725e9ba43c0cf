import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { formatMoney, MAX_MONEY } from '../../domain/money.js';
import { sortedComponents, type JsonSchema } from '../schema/registry.js';
import { anyOf, Field, inForm, integer, listOf, Money, named, Resource, text, written } from './resource.js';

@Resource('TestPurse')
class Purse {
  @Field(text()) readonly owner: string;
  @Field(Money) readonly amount: string;
  @Field(Money, { optional: true }) readonly limit: string | undefined;

  constructor(owner: string, amount: string, limit?: string) {
    this.owner = owner;
    this.amount = amount;
    this.limit = limit;
  }
}

@Resource('TestBag')
class Bag {
  @Field(integer({ type: 'integer' })) readonly size: number;
  @Field(listOf(written(Purse))) readonly purses: readonly Purse[];

  constructor(purses: readonly Purse[]) {
    this.size = purses.length;
    this.purses = purses;
  }
}

@Resource('TestLabel')
class Label {
  @Field(text()) readonly label = 'no money';
}

const money = fc.bigInt({ min: 0n, max: MAX_MONEY }).map((cents) => formatMoney(cents, 2));

const Bags = named('TestBags', listOf(written(Bag)));
const { schemas }: { schemas: Record<string, JsonSchema> } = sortedComponents();

describe('an answer with money', () => {
  it('has it as numbers, or as text where that is asked for', () => {
    const bag = new Bag([
      new Purse('ada "the" first', '123.45'),
      new Purse('bob', '0.05', '9999999999999999.99'),
    ]);
    expect(inForm(written(Bag), false).write(bag)).toBe(
      '{"size":2,"purses":[{"owner":"ada \\"the\\" first","amount":123.45},' +
        '{"owner":"bob","amount":0.05,"limit":9999999999999999.99}]}',
    );
    expect(inForm(written(Bag), true).write(bag)).toBe(
      '{"size":2,"purses":[{"owner":"ada \\"the\\" first","amount":"123.45"},' +
        '{"owner":"bob","amount":"0.05","limit":"9999999999999999.99"}]}',
    );
  });

  it('keeps every amount through JSON.parse as text, and loses some as numbers', () => {
    const amounts = fc.array(money, { minLength: 1 });
    const read = (amount: string[], textMoney: boolean) =>
      JSON.parse(inForm(listOf(Money), textMoney).write(amount)) as unknown[];
    fc.assert(
      fc.property(amounts, (all) => {
        expect(read(all, true)).toEqual(all);
      }),
    );
    expect(read(['9999999999999999.99'], false)).toEqual([1e16]);
  });

  it('differs from its other form in nothing else', () => {
    const purse = fc.tuple(fc.string(), money).map(([owner, amount]) => new Purse(owner, amount));
    fc.assert(
      fc.property(fc.array(purse), (purses) => {
        const number = written(Bag).write(new Bag(purses));
        const asText = inForm(written(Bag), true).write(new Bag(purses));
        expect(asText).toBe(number.replace(/"amount":(\d+\.\d\d)(?=[,}])/g, '"amount":"$1"'));
      }),
    );
  });

  it('has a schema of its own for each form, in all that contain it', () => {
    const reference = (name: string) => ({ $ref: `#/components/schemas/${name}` });
    expect(inForm(Bags, true).schema).toEqual(reference('TestBagsWithTextMoney'));
    expect(schemas['TestBagsWithTextMoney']).toEqual({
      title: 'TestBagsWithTextMoney',
      type: 'array',
      items: reference('TestBagWithTextMoney'),
    });
    expect(schemas['TestPurse']).toMatchObject({
      properties: { amount: reference('Money'), limit: reference('Money') },
      required: ['owner', 'amount'],
    });
    expect(schemas['TestPurseWithTextMoney']).toEqual({
      title: 'TestPurseWithTextMoney',
      type: 'object',
      properties: {
        owner: { type: 'string' },
        amount: reference('TextMoney'),
        limit: reference('TextMoney'),
      },
      required: ['owner', 'amount'],
    });
    expect(inForm(anyOf(Purse, Label), true).schema).toEqual({
      anyOf: [reference('TestPurseWithTextMoney'), reference('TestLabel')],
    });
  });

  it('is the only one with two forms', () => {
    expect(written(Label).withTextMoney).toBeUndefined();
    expect(anyOf(Label).withTextMoney).toBeUndefined();
    expect(schemas).not.toHaveProperty('TestLabelWithTextMoney');
    expect(inForm(written(Label), true).write(new Label())).toBe('{"label":"no money"}');
  });
});
