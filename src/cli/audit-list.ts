import type { Command } from 'commander';
import type { AuditLog } from '../audit/audit-log.js';
import { printable } from './printable.js';
import { withBank } from './session.js';

/** Exits with 1 when the audit log was tampered with. */
export function addAuditList(audit: Command): void {
  audit
    .command('list')
    .description('show what was done to the bank from the command line, and check that the list is whole')
    .option('--json', 'print the list as JSON')
    .action(({ json }: { json?: true }) =>
      withBank('audit list', async ({ bank }) => {
        const { readEvents } = await import('../admin/audit/events.js');
        const log = await readEvents(bank.shards);
        console.log(json ? JSON.stringify(log) : eventsText(log));
        if (log.firstBroken !== undefined) process.exitCode = 1;
      }),
    );
}

/** The text for people. */
export function eventsText({ events, firstBroken }: AuditLog): string {
  const lines = events.map(({ eventId, happenedAt, action, actor, details }) =>
    printable(`${eventId}  ${happenedAt.toISOString()}  ${action}  by ${actor}  ${details}`),
  );
  if (firstBroken !== undefined) lines.push(brokenLogText(firstBroken));
  return lines.length === 0 ? 'Nothing was recorded yet.' : lines.join('\n');
}

export function brokenLogText(firstBroken: number): string {
  return `The audit log is NOT whole: event ${firstBroken}, or what was before it, was changed.`;
}
