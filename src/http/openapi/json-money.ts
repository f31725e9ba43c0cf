/** JSON.rawJSON (ECMAScript proposal, in V8 since 11.4) is not in TypeScript's library yet. */
declare global {
  interface JSON {
    rawJSON(text: string): unknown;
  }
}

/** An amount in an example: a JSON number with all its decimals, whatever its size. */
export class JsonMoney {
  /** @param text its digits, as answers with money as text have it */
  constructor(readonly text: string) {}

  toJSON(): unknown {
    return JSON.rawJSON(this.text);
  }
}
