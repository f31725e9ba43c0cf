import { formatMoney, type Money } from '../../domain/money.js';

/** JSON.rawJSON (ECMAScript proposal, in V8 since 11.4) is not in TypeScript's library yet. */
declare global {
  interface JSON {
    rawJSON(text: string): unknown;
  }
}

/** An amount in an example: a JSON number with exactly two decimals, whatever its size. */
export class JsonMoney {
  /** Its digits, as answers with money as text have it. */
  readonly text: string;

  constructor(money: Money = 0n) {
    this.text = formatMoney(money);
  }

  toJSON(): unknown {
    return JSON.rawJSON(this.text);
  }
}
