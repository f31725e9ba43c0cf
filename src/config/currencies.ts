import { data } from 'currency-codes';
import { USUAL_DECIMALS, type Currency } from '../domain/currency.js';

/** Codes without minor units: metals, units of account, and codes for tests. */
const NO_MONEY = /^X(?!AF|CD|CG|OF|PF)/;

/** In force since 2025, and not in the library's list of 2024. */
const CARIBBEAN_GUILDER: Currency = { code: 'XCG', decimals: 2 };

/** The currencies and funds of ISO 4217, by code. */
export const CURRENCIES: ReadonlyMap<string, Currency> = new Map(
  [...data.map(({ code, digits }): Currency => ({ code, decimals: digits })), CARIBBEAN_GUILDER]
    .filter(({ code }) => !NO_MONEY.test(code))
    .map((currency) => [currency.code, currency]),
);

/** @throws Error for a code that the bank has recorded and this release does not know */
export function currencyOf(code: string): Currency {
  const currency = CURRENCIES.get(code);
  if (!currency) throw new Error(`${code} is not a currency of ISO 4217`);
  return currency;
}

/** How many decimals the amounts of an account have, by the currency that its row names, if it does. */
export const decimalsOf = (code: string | null | undefined): number =>
  code === null || code === undefined ? USUAL_DECIMALS : currencyOf(code).decimals;

/** The default of CURRENCY, and the currency of every bank from before it was recorded. */
export const USD = currencyOf('USD');
