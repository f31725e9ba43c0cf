import type { ValueTransformer } from 'typeorm';
import type { PrimaryGeneratedColumnIdentityOptions } from 'typeorm/decorator/options/PrimaryGeneratedColumnIdentityOptions.js';
import { formatMoney, type Money } from '../../domain/money.js';
import { moneyFromColumn } from '../rows.js';

/** A bigint, which pg hands over as text. Ids and versions are numbers that JavaScript has exactly (see MAX_ID). */
export const bigintColumn: ValueTransformer = {
  to: (value: unknown) => value,
  from: (text: string) => Number(text),
};

/** A numeric(18,2), which pg hands over as text: cents in a bigint, never a float. NULL stays NULL. */
export const moneyColumn: ValueTransformer = {
  to: (money: Money | null | undefined) => (typeof money === 'bigint' ? formatMoney(money) : money),
  from: (text: string | null) => (text === null ? null : moneyFromColumn(text)),
};

/** The primary key that an identity column hands out. */
export function identityColumn(name: string, constraint: string): PrimaryGeneratedColumnIdentityOptions {
  const options = {
    name,
    type: 'bigint',
    generatedIdentity: 'BY DEFAULT',
    primaryKeyConstraintName: constraint,
    // Which TypeORM applies here too, though its types do not say so.
    transformer: bigintColumn,
  } as const;
  return options;
}
