import type { Command } from 'commander';
import type { BackupReport } from '../admin/backup/backup.js';
import { showStep, withBank } from './session.js';
import { balancesText } from './verify.js';

/** Exits with 1 when the books have faults. */
export function addBackup(program: Command): void {
  program
    .command('backup')
    .description('write all that the bank holds into a folder, while the service goes on')
    .requiredOption('--to <DIR>', 'a new folder')
    .action(({ to }: { to: string }) =>
      withBank('backup', async ({ bank, signal }) => {
        const { backupBank } = await import('../admin/backup/backup.js');
        const report = await backupBank(bank.shards, { to, onStep: showStep, signal });
        console.log(backupText(report));
        if (report.totals.faulty > 0) process.exitCode = 1;
      }),
    );
}

/** The report for people. */
function backupText({ folder, manifest, sha256, totals, durationMs }: BackupReport): string {
  const files = manifest.shards.flatMap((shard) => shard.files);
  const megabytes = files.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6;
  return [
    `Backed up ${totals.accounts} account(s) with ${balancesText(totals)} in all and ${totals.transactions} transaction(s)`,
    `of ${manifest.shardCount} shard(s) to ${folder}: ${megabytes.toFixed(1)} MB in ${(durationMs / 1000).toFixed(1)} s.`,
    `SHA-256 of its manifest: ${sha256} (for \`restore --sha256\`; keep it out of reach of those who can write to the backup)`,
    totals.faulty === 0
      ? 'Every file was read again, and the books are whole.'
      : `The books are NOT whole: ${totals.faulty} account(s) fail, which \`verify\` names. They were backed up as they are.`,
  ].join('\n');
}
