/**
 * Money is an integer count of minor units of its currency (cents, yen, fils), never a floating-point number. How many
 * decimals the currency has is told by what the amount belongs to: its account, transaction or hold.
 */
export type Money = bigint;

/**
 * A number exactly as somebody wrote it, for whose currency it is not known yet whether it has so many decimals: 49.50
 * is 4950 with 2 decimals.
 */
export interface Decimal {
  readonly units: bigint;
  readonly decimals: number;
}

/** The most decimals that a currency has. */
export const MAX_DECIMALS = 4;

const SCALES: readonly bigint[] = [1n, 10n, 100n, 1_000n, 10_000n];

const DECIMAL = /^\d{1,16}(?:\.\d{1,4})?$/;
const COLUMN = /^-?\d{1,16}(?:\.\d{1,4})?$/;

/** The largest amount of a currency: 16 digits before the point. With two decimals it is that of DECIMAL(18,2). */
export const maxMoney = (decimals: number): Money => LARGEST[decimals] ?? MAX_MONEY;

/** 9999999999999999.99 */
export const MAX_MONEY: Money = 999_999_999_999_999_999n;

const LARGEST: readonly Money[] = [
  ...[MAX_MONEY / 100n, MAX_MONEY / 10n, MAX_MONEY],
  ...[MAX_MONEY * 10n + 9n, MAX_MONEY * 100n + 99n],
];

/** The number of a text such as `49`, `49.5` or `49.500`, with at most 4 decimals; undefined for any other text. */
export function parseDecimal(text: string): Decimal | undefined {
  return DECIMAL.test(text) ? { units: unitsIn(text), decimals: decimalsIn(text) } : undefined;
}

/** An amount in minor units of a currency with so many decimals; undefined: it was written with more. */
export function inMinorUnits(amount: Money | Decimal, decimals: number): Money | undefined {
  if (typeof amount === 'bigint') return amount;
  const missing = decimals - amount.decimals;
  if (missing === 0) return amount.units;
  return missing < 0 ? undefined : amount.units * (SCALES[missing] ?? 1n);
}

/** The minor units of a text such as `49`, `49.5` or `49.50`; undefined for any other text. */
export function parseMoney(text: string, decimals: number): Money | undefined {
  const decimal = parseDecimal(text);
  return decimal && inMinorUnits(decimal, decimals);
}

/** The same for a balance, which may be below zero: `-49.50`. */
export function readMoney(text: string, decimals: number): Money | undefined {
  if (!COLUMN.test(text)) return undefined;
  return inMinorUnits({ units: unitsIn(text), decimals: decimalsIn(text) }, decimals);
}

/** How many decimals a text has. */
export function decimalsIn(text: string): number {
  const point = text.indexOf('.');
  return point === -1 ? 0 : text.length - point - 1;
}

function unitsIn(text: string): bigint {
  const point = text.indexOf('.');
  return BigInt(point === -1 ? text : text.slice(0, point) + text.slice(point + 1));
}

/** Decimal text with exactly so many decimals: 35000n with 2 is `350.00`. PostgreSQL takes and keeps the same form. */
export function formatMoney(money: Money, decimals: number): string {
  if (decimals === 0) return money.toString();
  const sign = money < 0n ? '-' : '';
  const digits = (money < 0n ? -money : money).toString().padStart(decimals + 1, '0');
  return `${sign}${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}

export const formatDecimal = ({ units, decimals }: Decimal): string => formatMoney(units, decimals);
