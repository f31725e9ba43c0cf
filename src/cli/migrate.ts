import type { Command } from 'commander';
import { withBank } from './session.js';

export function addMigrate(program: Command): void {
  program
    .command('migrate')
    .description("bring the database's schema up to date (the other commands do it too)")
    .action(() =>
      withBank('migrate', ({ bank }) => Promise.resolve(console.log(migrateText(bank.migrations)))),
    );
}

function migrateText(applied: readonly string[]): string {
  if (applied.length === 0) return 'The schema is already up to date.';
  return [`Applied ${applied.length} migration(s):`, ...applied.map((name) => `  ${name}`)].join('\n');
}
