import { Option, type Command } from 'commander';
import type { RestoreOptions, RestoreReport } from '../admin/backup/restore.js';
import { brokenLogText } from './audit-list.js';
import { DEFAULT_SKIP_IDS, sha256Option, skipIdsOption } from './options.js';
import { showStep, withServers } from './session.js';
import { balancesText } from './verify.js';

/** Does not open the bank, which may not be founded yet. Exits with 1 when the books or the audit log have faults. */
export function addRestore(program: Command): void {
  program
    .command('restore')
    .description('fill an empty bank from a backup; stop its services first')
    .requiredOption('--from <DIR>', 'the folder of the backup')
    .addOption(
      new Option('--sha256 <HEX>', 'the SHA-256 of its manifest, which `backup` printed').argParser(
        sha256Option,
      ),
    )
    .addOption(
      new Option('--skip-ids <N>', 'ids of each shard that may have been handed out after the backup')
        .argParser(skipIdsOption)
        .default(DEFAULT_SKIP_IDS),
    )
    .action((options: Pick<RestoreOptions, 'from' | 'sha256' | 'skipIds'>) =>
      withServers('restore', async ({ shards, signal }) => {
        const [{ restoreBank }, { readEvents }] = await Promise.all([
          import('../admin/backup/restore.js'),
          import('../admin/audit/events.js'),
        ]);
        const report = await restoreBank(shards, { ...options, onStep: showStep, signal });
        console.log(restoreText(report));
        const { firstBroken } = await readEvents(shards);
        if (firstBroken !== undefined) console.log(brokenLogText(firstBroken));
        if (report.totals.faulty > 0 || firstBroken !== undefined) process.exitCode = 1;
      }),
    );
}

/** The report for people: what this run restored, and what it found already there. */
export function restoreText({ totals, bankId, sha256, restored, found, durationMs }: RestoreReport): string {
  const sums = `${totals.accounts} account(s) with ${balancesText(totals)} in all and ${totals.transactions} transaction(s)`;
  const whole =
    totals.faulty === 0
      ? 'The books are whole.'
      : `The books are NOT whole, and were not when they were backed up: ${totals.faulty} account(s) fail, which \`verify\` names.`;
  const done =
    restored.length === 0
      ? [`Nothing was restored: the bank ${bankId} held the backup's ${sums} already.`]
      : [
          `Restored ${found.length === 0 ? sums : `shard ${restored.join(', ')} of a bank of ${sums}`}`,
          `in ${(durationMs / 1000).toFixed(1)} s, as the bank ${bankId}. Every row ${found.length === 0 ? '' : 'of it '}was compared with the backup.`,
        ];
  const kept = found.map(
    ({ shard, differ }) =>
      `Shard ${shard} was left as it is: its accounts and transactions are those of the backup, row by row` +
      (differ.length === 0 ? ', and so is everything else.' : `. These tables differ: ${differ.join(', ')}.`),
  );
  return [...done, ...kept, `SHA-256 of the backup's manifest: ${sha256}`, whole].join('\n');
}
