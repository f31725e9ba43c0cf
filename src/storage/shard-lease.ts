import { randomUUID } from 'node:crypto';
import type { EntityManager } from 'typeorm';
import { ShardIdentityEntity } from './entities/shard-identity.entity.js';

/** The work of a shard that one process over all instances does at a time. */
const TASKS = {
  /** Moving the outbox to the log. */
  relay: { holder: 'relayId', until: 'relayUntil' },
  /** Publishing the log to the broker. */
  broker: { holder: 'brokerId', until: 'brokerUntil' },
  /** Sending the log to webhooks. */
  webhooks: { holder: 'webhooksId', until: 'webhooksUntil' },
  /** Writing down holds that have expired. */
  sweeper: { holder: 'sweeperId', until: 'sweeperUntil' },
  /** Finishing transfers to other shards. */
  transfers: { holder: 'transfersId', until: 'transfersUntil' },
  /** Summing up the ledger. */
  summary: { holder: 'summaryId', until: 'summaryUntil' },
} as const;

/**
 * A lease on a task of a shard, in the shard's identity row. Its holder ends it, or it runs out when the holder has
 * died.
 *
 * It is a time, not a lock held during the work: an open transaction would occupy a connection of a pooler and hold up
 * VACUUM and a move of the shard. (PgBouncer rules out session advisory locks.) If a lease runs out under a slow holder,
 * two processes do the same work at the same time, which must be harmless.
 */
export class ShardLease {
  private readonly holderId = randomUUID();

  /** @param leaseMs the time that one piece of the work takes at most */
  constructor(
    private readonly task: keyof typeof TASKS,
    private readonly leaseMs: number,
  ) {}

  /**
   * Takes the lease or extends it. A lease begins and ends by the clock of the server that holds the row. The SELECT
   * reads that clock, because Citus allows no volatile function in an UPDATE, and because the coordinator has another
   * clock.
   *
   * @returns false when another process holds it
   */
  async take(manager: EntityManager): Promise<boolean> {
    const { holderId, leaseMs } = this;
    const { holder, until } = TASKS[this.task];
    const free = await manager
      .createQueryBuilder(ShardIdentityEntity, 'shard')
      .select(`clock_timestamp() + :leaseMs * interval '1 millisecond'`, 'until')
      .where(`(shard.${until} IS NULL OR shard.${until} < clock_timestamp() OR shard.${holder} = :holderId)`)
      .setLock('pessimistic_write')
      .setOnLocked('skip_locked')
      .setParameters({ leaseMs, holderId })
      .getRawOne<{ until: Date }>();
    if (!free) return false;
    const lease = { [holder]: holderId, [until]: free.until };
    await manager.update(ShardIdentityEntity, { onlyRow: true }, lease);
    return true;
  }

  /** Gives the lease back, if this process still has it. */
  async end(manager: EntityManager): Promise<void> {
    const { holder, until } = TASKS[this.task];
    await manager.update(ShardIdentityEntity, { [holder]: this.holderId }, { [holder]: null, [until]: null });
  }
}
