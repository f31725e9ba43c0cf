import { Option, type Command } from 'commander';
import type { RelocationReport } from '../admin/relocation/relocate.js';
import { DEFAULT_MAX_PAUSE_MS, millisecondsOption, shardArgument } from './options.js';
import { showStep, withServers } from './session.js';

export function addShardsMove(shards: Command): void {
  shards
    .command('move')
    .description('move a shard to another PostgreSQL server while the bank is open')
    .argument('<shard>', 'its number, from 0', shardArgument)
    .requiredOption('--to <URL>', 'the new server, like postgresql://host:5432/database')
    .addOption(
      new Option('--max-pause <ms>', 'how long users of the shard may have to wait for the switch, at most')
        .argParser(millisecondsOption)
        .default(DEFAULT_MAX_PAUSE_MS),
    )
    .action((index: number, { to, maxPause }: { to: string; maxPause: number }) =>
      withServers('shards move', async ({ shards: configured, signal }) => {
        const { relocateShard } = await import('../admin/relocation/relocate.js');
        const onStep = (step: string) => showStep(`shard ${index}: ${step}`);
        const report = await relocateShard(configured, index, to, { maxPauseMs: maxPause, onStep, signal });
        console.log(moveText(index, report));
      }),
    );
}

/** The report for people. */
function moveText(index: number, { from, to, transactions, pauseMs }: RelocationReport): string {
  if (transactions === undefined) return `Shard ${index} is at ${to}.`;
  return [
    `Moved shard ${index} from ${from} to ${to}: ${transactions} transactions copied, compared and verified.`,
    `Its users waited ${Math.round(pauseMs)} ms. Running services have followed, or do so at their next statement.`,
    `Now change its address in SHARDS: until then every start looks at the old place first.`,
    `The old tables are kept there, as moved_accounts and so on, for you to drop.`,
  ].join('\n');
}
