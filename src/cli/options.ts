import { InvalidArgumentError } from 'commander';
import { MAX_ID } from '../domain/account.js';
import { formatMoney, MAX_MONEY, parseMoney, type Money } from '../domain/money.js';

/** What the specification's reset_balance resets to. */
export const DEFAULT_BALANCE = '1000.00';

export const DEFAULT_ACCOUNT = 1;

/** More would not fit the disk of any machine that this runs on; a slip of the finger does. */
export const MAX_SEED_ACCOUNTS = 1_000_000_000;

/** @throws InvalidArgumentError, to which commander adds the option's name */
export function balanceOption(text: string): Money {
  const money = parseMoney(text);
  if (money === undefined) {
    throw new InvalidArgumentError(
      `It must be an amount from 0.00 to ${formatMoney(MAX_MONEY)} with at most two decimals, such as 1000.00.`,
    );
  }
  return money;
}

/** @throws InvalidArgumentError */
export function accountsOption(text: string): number {
  return wholeNumber(text, MAX_SEED_ACCOUNTS);
}

/** @throws InvalidArgumentError */
export function accountOption(text: string): number {
  return wholeNumber(text, MAX_ID);
}

function wholeNumber(text: string, max: number): number {
  const value = Number(text);
  if (!/^\d{1,16}$/.test(text) || value < 1 || value > max) {
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${max}.`);
  }
  return value;
}
