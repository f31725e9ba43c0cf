/** Exact arithmetic with money as the API writes it: `"350.00"`, `"-40.00"`, `"1000"`. Never a float. */

/** More than the API ever writes: of sums over a whole bank, too. */
const MONEY = /^(-?)(\d{1,30})(?:\.(\d{1,4}))?$/;

/**
 * The number of minor units, like cents.
 *
 * @param decimals of the currency: 2 for USD, 0 for JPY
 * @throws RangeError the text is no money, or has more decimals
 */
export function toMinor(text: string, decimals: number): bigint {
  const [, sign = '', whole = '', fraction = ''] = MONEY.exec(text) ?? [];
  if (whole === '') throw new RangeError(`${JSON.stringify(text)} is not an amount of money`);
  if (fraction.length > decimals) throw new RangeError(`${text} has more than ${decimals} decimals`);
  const units = BigInt(whole + fraction.padEnd(decimals, '0'));
  return sign === '-' ? -units : units;
}

/** The text of a number of minor units: `fromMinor(-4000n, 2)` is `"-40.00"`. */
export function fromMinor(units: bigint, decimals: number): string {
  const digits = (units < 0n ? -units : units).toString().padStart(decimals + 1, '0');
  const whole = digits.slice(0, digits.length - decimals);
  const fraction = digits.slice(digits.length - decimals);
  return `${units < 0n ? '-' : ''}${whole}${fraction && '.'}${fraction}`;
}

/** The sum, with the decimals of the one that has more. */
export function add(a: string, b: string): string {
  const decimals = commonDecimals(a, b);
  return fromMinor(toMinor(a, decimals) + toMinor(b, decimals), decimals);
}

/** The difference, with the decimals of the one that has more. */
export function subtract(a: string, b: string): string {
  const decimals = commonDecimals(a, b);
  return fromMinor(toMinor(a, decimals) - toMinor(b, decimals), decimals);
}

/** Negative: a is less; 0: they are equal (`"1"` and `"1.00"` are); positive: a is more. For `Array.sort`, too. */
export function compare(a: string, b: string): -1 | 0 | 1 {
  const decimals = commonDecimals(a, b);
  const [left, right] = [toMinor(a, decimals), toMinor(b, decimals)];
  return left < right ? -1 : left > right ? 1 : 0;
}

function commonDecimals(a: string, b: string): number {
  const [ofA, ofB] = [a, b].map((text) => MONEY.exec(text)?.[3]?.length ?? 0) as [number, number];
  return Math.max(ofA, ofB);
}
