import { recordActOn } from '../audit/audit-log.js';
import type { ShardAddress } from '../config/shard-address.js';
import { EventLog } from '../messaging/event-log.js';
import { LogReceiver } from '../messaging/log-receiver.js';
import { CommandError } from './command-error.js';
import { withShardRunners } from './shards.js';

/** What one shard publishes again. */
export interface Replay {
  readonly shard: number;
  /** Rows of its log, each of one batch. */
  readonly rows: number;
  /** The time of the first one; undefined: there is none. */
  readonly from: Date | undefined;
}

/**
 * Sets the broker back in the log of every shard, so that the service publishes everything again that was posted at or
 * after a time and is still retained, in order. What comes meanwhile follows behind it.
 *
 * @throws CommandError when a shard has never published to a broker
 */
export function replayEvents(shards: readonly ShardAddress[], since: Date): Promise<Replay[]> {
  return withShardRunners(shards, 'bank-events', async (runners) => {
    const receivers = runners.map(({ runner, tables }) => new LogReceiver(runner, tables, 0));
    const begun = await Promise.all(receivers.map((receiver) => receiver.hasBegun()));
    if (begun.includes(false))
      throw new CommandError('the bank has no broker: nothing was published that could be published again');
    await recordActOn(shards, { action: 'events.replayed', details: { since } });
    return Promise.all(
      runners.map(async ({ index, runner, tables }, place) => {
        const log = new EventLog(runner, tables);
        const position = await log.positionBefore(since);
        await receivers[place]?.goBack(position);
        return { shard: index, ...(await log.countAfter(position)) };
      }),
    );
  });
}
