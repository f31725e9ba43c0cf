import { formatMoney, type Money } from '../../domain/money.js';

/** JSON.rawJSON (ECMAScript proposal, in V8 since 11.4) is not in TypeScript's library yet. */
declare global {
  interface JSON {
    rawJSON(text: string): unknown;
  }
}

/** An amount in a response: a JSON number with exactly two decimals, whatever its size. */
export class JsonMoney {
  constructor(private readonly money: Money = 0n) {}

  toJSON(): unknown {
    return JSON.rawJSON(formatMoney(this.money));
  }
}
