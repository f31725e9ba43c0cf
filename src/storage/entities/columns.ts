import type { ValueTransformer } from 'typeorm';
import type { PrimaryGeneratedColumnIdentityOptions } from 'typeorm/decorator/options/PrimaryGeneratedColumnIdentityOptions.js';

/*
 * A numeric is a text here, as pg returns it.
 */

/** A bigint, which pg returns as text. Ids and versions are numbers that JavaScript represents exactly (see MAX_ID). */
export const bigintColumn: ValueTransformer = {
  to: (value: unknown) => value,
  from: (text: string | null) => (text === null ? null : Number(text)),
};

/** The SQL of a CHECK that a column is an amount of money; as in the migration, spelled as PostgreSQL keeps it. */
export const isAmount = (column: string, from = '> 0') => `"${column}" ${from} AND ${isBelowLimit(column)}`;

/** The same for a balance, which may be below zero. */
export const isBalance = (column: string) => isAmount(column, '> -10000000000000000');

/** The part of both that NaN and Infinity fail, too. */
export const isBelowLimit = (column: string) => `"${column}" < 10000000000000000 AND scale("${column}") <= 4`;

/** A primary key that is an identity column. */
export function identityColumn(name: string, constraint: string): PrimaryGeneratedColumnIdentityOptions {
  const options = {
    name,
    type: 'bigint',
    generatedIdentity: 'BY DEFAULT',
    primaryKeyConstraintName: constraint,
    // TypeORM applies it here too, although its types do not allow for it.
    transformer: bigintColumn,
  } as const;
  return options;
}
