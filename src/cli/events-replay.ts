import type { Command } from 'commander';
import type { Replay } from '../admin/replay-events.js';
import { pastOption } from './options.js';
import { withServers } from './session.js';

export function addEventsReplay(events: Command): void {
  events
    .command('replay')
    .description(
      'publish to RabbitMQ again what was posted since a time, in order; the service does it; on record',
    )
    .requiredOption('--since <time>', 'like 2026-01-01 or 2026-01-01T00:00:00Z', pastOption)
    .option('--json', 'print the result as JSON')
    .action(({ since, json }: { since: Date; json?: true }) =>
      withServers('events replay', async ({ shards }) => {
        const { replayEvents } = await import('../admin/replay-events.js');
        const replays = await replayEvents(shards, since);
        console.log(json ? JSON.stringify(replays) : replays.map(replayText).join('\n'));
      }),
    );
}

function replayText({ shard, rows, from }: Replay): string {
  if (!from) return `Shard ${shard}: nothing was posted since then.`;
  return `Shard ${shard}: ${rows} row(s) of the log are published again, from ${from.toISOString()} on.`;
}
