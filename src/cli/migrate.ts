export function migrateText(applied: readonly string[]): string {
  if (applied.length === 0) return 'The schema is already up to date.';
  return [`Applied ${applied.length} migration(s):`, ...applied.map((name) => `  ${name}`)].join('\n');
}
