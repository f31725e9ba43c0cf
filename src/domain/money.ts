/**
 * Money is an integer count of minor units (cents), never a floating-point number.
 * Its range is that of the specification's DECIMAL(18,2): 16 digits before the point and 2 after.
 */
export type Money = bigint;

/** 9999999999999999.99, the largest value of DECIMAL(18,2). */
export const MAX_MONEY: Money = 999_999_999_999_999_999n;

const MONEY_TEXT = /^\d{1,16}(?:\.\d{1,2})?$/;

/** The cents of a decimal text such as `49`, `49.5` or `49.50`; undefined for any other text. */
export function parseMoney(text: string): Money | undefined {
  if (!MONEY_TEXT.test(text)) return undefined;
  const point = text.indexOf('.');
  if (point === -1) return BigInt(text) * 100n;
  return BigInt(text.slice(0, point) + text.slice(point + 1).padEnd(2, '0'));
}

/** The same for a balance, which may be below zero: `-49.50`. */
export function parseBalance(text: string): Money | undefined {
  if (!text.startsWith('-')) return parseMoney(text);
  const amount = parseMoney(text.slice(1));
  return amount === undefined ? undefined : -amount;
}

/** Decimal text with exactly two decimals: 35000n is `350.00`. PostgreSQL takes the same form. */
export function formatMoney(money: Money): string {
  const sign = money < 0n ? '-' : '';
  const digits = (money < 0n ? -money : money).toString().padStart(3, '0');
  return `${sign}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}
