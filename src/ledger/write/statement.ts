import type { SchemaTables } from '../../storage/tables.js';

export type Statement = readonly [sql: string, parameters: unknown[]];

/**
 * Citus runs an INSERT … SELECT that reads no table on the coordinator and commits it in two phases; one that reads a
 * table of the shard runs on the shard's node. This LEFT JOIN with an empty table changes nothing else.
 */
export const onItsNode = ({ accounts }: SchemaTables) =>
  `LEFT JOIN (SELECT FROM ${accounts} LIMIT 0) nothing ON true`;
