import { escapeIdentifier } from 'pg';

/** A name for SQL: quoted, and qualified by the names before it. */
export function quoted(...names: readonly string[]): string {
  return names.map(escapeIdentifier).join('.');
}

/** Names of columns for SQL, separated by commas. */
export function columnList(names: readonly string[]): string {
  return names.map(escapeIdentifier).join(', ');
}
