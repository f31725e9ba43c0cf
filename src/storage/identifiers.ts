import { escapeIdentifier } from 'pg';

/** A quoted SQL identifier, qualified by the names before it. */
export function quoted(...names: readonly string[]): string {
  return names.map(escapeIdentifier).join('.');
}

/** Quoted column names for SQL, separated by commas. */
export function columnList(names: readonly string[]): string {
  return names.map(escapeIdentifier).join(', ');
}
