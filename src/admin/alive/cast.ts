import type { Money } from '../../domain/money.js';

export interface Person {
  readonly account: string;
  /** The `sub` of an identity provider's token. */
  readonly owner: string;
  readonly holder: string;
  readonly savings: Money;
  readonly salary: Money;
  readonly rent: Money;
  readonly overdraftLimit?: Money;
}

/** Who lives in the story of `seed --alive`. All of them are invented. */
export const PEOPLE: readonly Person[] = [
  person('anna', 'Anna Berg', 2_400_00n, 3_150_00n, 980_00n),
  person('jose', 'José Núñez', 310_50n, 2_280_00n, 760_00n),
  { ...person('olena', 'Олена Шевченко', 120_00n, 1_560_00n, 690_00n), overdraftLimit: 500_00n },
  person('giorgos', 'Γιώργος Παππάς', 5_600_75n, 3_820_00n, 1_150_00n),
  person('hanako', '山田 花子', 1_020_00n, 2_610_00n, 840_00n),
];

/** Their employer, and where their money goes. */
export const BUSINESSES: Readonly<Record<string, { readonly holder: string }>> = {
  bakery: { holder: 'Harbour Bakery' },
  homes: { holder: 'Elm Street Homes' },
  energy: { holder: 'Bright Energy' },
  grocer: { holder: 'Green Grocer' },
  cafe: { holder: 'Corner Café' },
  petrol: { holder: 'Ring Road Petrol' },
  rail: { holder: 'City Rail' },
};

function person(account: string, holder: string, savings: Money, salary: Money, rent: Money): Person {
  return { account, owner: account, holder, savings, salary, rent };
}
