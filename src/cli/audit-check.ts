import type { Command } from 'commander';
import type { CheckReport } from '../admin/audit/heads.js';
import { withBank, withProgress } from './session.js';

/** Exits with 1 when the bank no longer holds what was exported. */
export function addAuditCheck(audit: Command): void {
  audit
    .command('check')
    .description('compare an earlier export with the bank: its heads must still be part of the history')
    .requiredOption('--from <FILE>', 'the file of an earlier export')
    .action(({ from }: { from: string }) =>
      withBank('audit check', async ({ bank, signal }) => {
        const { checkHeads } = await import('../admin/audit/heads.js');
        const report = await withProgress('accounts', signal, (control) =>
          checkHeads(bank.shards, bank.bankId, from, control),
        );
        console.log(checkText(report));
        if (report.differing > 0 || report.eventsDiffer) process.exitCode = 1;
      }),
    );
}

/** The report for people. */
function checkText({ takenAt, accounts, different, differing, eventsDiffer }: CheckReport): string {
  const lines = [`Compared ${accounts} account(s) with their heads of ${takenAt}.`];
  if (differing > 0) {
    lines.push(`${differing} account(s) do NOT have that history any more:`);
    lines.push(...different.map((accountId) => `  account ${accountId}`));
    if (differing > different.length) lines.push(`  … and ${differing - different.length} more`);
  }
  if (eventsDiffer) lines.push('The audit log does NOT have that history any more.');
  if (lines.length === 1)
    lines.push('All of it is still there; run `verify` to check that it leads to the present.');
  return lines.join('\n');
}
