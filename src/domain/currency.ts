/** The currency of every account, by its ISO 4217 code, until accounts have currencies of their own. */
export const CURRENCY = 'USD';
