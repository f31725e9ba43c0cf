import type { Command } from 'commander';
import type { ExportReport } from '../admin/audit/heads.js';
import { withBank, withProgress } from './session.js';

export function addAuditExport(audit: Command): void {
  audit
    .command('export')
    .description("write the head of every account's chain of hashes into a file, to keep elsewhere")
    .requiredOption('--to <FILE>', 'a new file')
    .action(({ to }: { to: string }) =>
      withBank('audit export', async ({ bank, signal }) => {
        const { exportHeads } = await import('../admin/audit/heads.js');
        const report = await withProgress('accounts', signal, (control) =>
          exportHeads(bank.shards, bank.bankId, to, control),
        );
        console.log(exportText(report, to));
      }),
    );
}

/** The report for people. */
function exportText({ accounts, sha256 }: ExportReport, path: string): string {
  return [
    `Wrote the heads of ${accounts} account(s) to ${path}.`,
    `SHA-256: ${sha256} (keep it, or the file, where nobody who can write to the database can)`,
  ].join('\n');
}
