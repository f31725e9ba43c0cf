/** A currency of ISO 4217. */
export interface Currency {
  readonly code: string;
  /** How many decimals its amounts have: 0 to 4. */
  readonly decimals: number;
}

/** The decimals of an account whose row names no currency. */
export const USUAL_DECIMALS = 2;

/**
 * The code by which an account's row names its currency. Undefined: not at all, because it is the bank's own and that
 * has two decimals, as those of most accounts are.
 */
export function recordedCode(currency: Currency, bank: Currency): string | undefined {
  return currency.code === bank.code && bank.decimals === USUAL_DECIMALS ? undefined : currency.code;
}
