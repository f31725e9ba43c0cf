import type { Command } from 'commander';
import type { DeadLetter } from '../submissions/dead-letters.js';
import { printable, tableText } from './printable.js';
import { withBank } from './session.js';

export function addSubmissionsList(submissions: Command): void {
  submissions
    .command('list')
    .description('show them, the oldest first, with the reason; needs RABBITMQ_URL, like the others')
    .option('--json', 'print the list as JSON')
    .action(({ json }: { json?: true }) =>
      withBank('submissions list', async (session) => {
        const { listSubmissions } = await import('../admin/submissions.js');
        const letters = await listSubmissions(session);
        if (json) console.log(JSON.stringify(letters.map((letter) => ({ ...letter, message: undefined }))));
        else console.log(letters.length === 0 ? 'No submission was put aside.' : textOf(letters));
      }),
    );
}

const textOf = (letters: readonly DeadLetter[]): string =>
  tableText(
    letters.map(({ id, sentAt, shardIndex, sender, reason, body }) =>
      [id, sentAt?.toISOString() ?? '-', `shard ${shardIndex}`, sender, reason, body].map(printable),
    ),
  );

export function addSubmissionsReplay(submissions: Command): void {
  addAct(submissions, 'replay', 'queue them again, behind all that waits', 'replayed');
}

export function addSubmissionsDiscard(submissions: Command): void {
  addAct(
    submissions,
    'discard',
    'remove them for good; if the service had accepted one, this spends its idempotency key',
    'discarded',
  );
}

function addAct(
  submissions: Command,
  name: 'replay' | 'discard',
  description: string,
  done: 'replayed' | 'discarded',
): void {
  const command = submissions
    .command(name)
    .description(`${description}; on record`)
    .argument('[id...]', 'as `list` shows them')
    .option('--all', 'all of them')
    .action((ids: string[], { all }: { all?: true }) => {
      if (ids.length > 0 === (all === true))
        command.error('error: give either ids or --all', { exitCode: 2 });
      return withBank(`submissions ${name}`, async (session) => {
        const { discardSubmissions, replaySubmissions } = await import('../admin/submissions.js');
        const act = name === 'replay' ? replaySubmissions : discardSubmissions;
        console.log(`${await act(session, all ? undefined : ids)} ${done}.`);
      });
    });
}
