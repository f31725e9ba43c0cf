import { Option, type Command } from 'commander';
import type { ArchiveReport } from '../admin/archive.js';
import { ageOption, pastOption } from './options.js';
import { withBank, withProgress } from './session.js';

export function addArchive(program: Command): void {
  program
    .command('archive')
    .description('move old transactions out of the table that is written to, while the bank is open')
    .addOption(new Option('--before <time>', 'those from before a time').argParser(pastOption))
    .addOption(
      new Option('--older-than <age>', 'or those of an age, like 90d or 36h')
        .argParser(ageOption)
        .conflicts('before'),
    )
    .action(({ before, olderThan }: { before?: Date; olderThan?: Date }, command: Command) => {
      const time = before ?? olderThan ?? command.error('error: --before or --older-than is needed');
      return withBank('archive', async ({ bank, signal }) => {
        const { archiveOnRecord } = await import('../admin/archive.js');
        const report = await withProgress('transactions', signal, (control) =>
          archiveOnRecord(bank.shards, time, control),
        );
        console.log(archiveText(report));
        if (!report.complete) signal.throwIfAborted();
      });
    });
}

/** The report for people. */
function archiveText({ before, moved, durationMs, complete }: ArchiveReport): string {
  return [
    `Moved ${moved} transaction(s) from before ${before.toISOString()} into the archive in ${(durationMs / 1000).toFixed(1)} s.`,
    ...(complete ? [] : ['It was stopped: run it again, it goes on.']),
  ].join('\n');
}
