import type { PoolClient } from 'pg';
import type { EntityManager } from 'typeorm';
import { allInOrder, send } from '../storage/connection.js';
import { OutboxEntity } from '../storage/entities/outbox.entity.js';
import { idFromColumn } from '../storage/rows.js';
import { ShardLease } from '../storage/shard-lease.js';
import type { SchemaTables } from '../storage/tables.js';
import type { TransactionRunner } from '../storage/transaction-runner.js';
import { endOfLog } from './event-log.js';
import { ANNOUNCED_COLUMNS, announcedIdsFromRow, EventReader, type AnnouncedIdsRow } from './event-reader.js';
import type { Backlog, Chunk, EventSource } from './event-source.js';
import { countBacklog, headOf } from './head-rows.js';

/**
 * The outbox of one shard: what was committed and is not in the log yet. Once the listeners in this process know a
 * chunk, it is moved to the log, where every other receiver finds it.
 */
export class Outbox implements EventSource {
  private readonly lease: ShardLease;
  private readonly reader: EventReader;

  /**
   * @param leaseMs the time to read, publish and move one chunk
   * @param onMoved called when something has been moved to the log
   */
  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    leaseMs: number,
    private readonly onMoved: () => void = () => undefined,
  ) {
    this.lease = new ShardLease('relay', leaseMs);
    this.reader = new EventReader(tables);
  }

  async isEmpty(): Promise<boolean> {
    return this.runner.run(({ manager }) => holdsNothing(manager));
  }

  async backlog(): Promise<Backlog> {
    return this.runner.run((_, client) => countBacklog(client, this.tables.outbox, 'outbox_id', 0));
  }

  async claim(
    maxEvents: number,
    isKnown: (firstTransactionId: number | undefined) => boolean,
  ): Promise<Chunk | undefined> {
    return this.runner.run(async ({ manager }, client) => {
      // First the outbox, then the identity row: a move of the shard locks them in this order too.
      if ((await holdsNothing(manager)) || !(await this.lease.take(manager))) return undefined;
      const { head, more } = await headOf(client, this.tables.outbox, 'outbox_id', 0, maxEvents);
      const unknown = head.filter((row) => !isKnown(idFromColumn(row.first_id)));
      return {
        ids: head.map((row) => Number(row.id)),
        more,
        rows: await this.read(
          client,
          unknown.map(({ id }) => id),
        ),
      };
    });
  }

  /**
   * Moves a chunk to the end of the log. The end is a row that stays locked until the COMMIT, so rows become visible in
   * the order of their positions, and a receiver that has seen one position misses none before it. Should two relays
   * move the same chunk, the second one waits for that lock and then finds nothing left to move.
   */
  async complete({ ids }: Chunk): Promise<void> {
    const { eventLog, eventCursors, outbox } = this.tables;
    await this.runner.run(async ({ manager }, client) => {
      await allInOrder([
        endOfLog(client, this.tables, ids.length),
        send(
          client,
          `INSERT INTO ${eventLog} (position, ${ANNOUNCED_COLUMNS}, traceparent)
           SELECT (SELECT position FROM ${eventCursors} WHERE receiver = 'log') - $2::int
                    + row_number() OVER (ORDER BY outbox_id), ${ANNOUNCED_COLUMNS}, traceparent
           FROM ${outbox} WHERE outbox_id = ANY($1::bigint[])`,
          [ids, ids.length],
        ),
        send(client, `DELETE FROM ${outbox} WHERE outbox_id = ANY($1::bigint[])`, [ids]),
        this.lease.end(manager),
      ]);
    });
    this.onMoved();
  }

  async release(): Promise<void> {
    await this.runner.run(({ manager }) => this.lease.end(manager));
  }

  private async read(client: PoolClient, ids: readonly string[]): Promise<Chunk['rows']> {
    if (ids.length === 0) return [];
    const { rows } = await send<AnnouncedIdsRow>(
      client,
      `SELECT ${ANNOUNCED_COLUMNS} FROM ${this.tables.outbox} WHERE outbox_id = ANY($1::bigint[]) ORDER BY outbox_id`,
      [ids],
    );
    const announced = rows.map(announcedIdsFromRow);
    const events = await this.reader.read(client, announced);
    return announced.map(({ transactionIds: [first = null] }, row) => ({
      firstTransactionId: idFromColumn(first),
      events: events[row] ?? [],
    }));
  }
}

/**
 * Ordered, so that it reads the index: from the table's start it would scan rows that were removed but not vacuumed.
 */
async function holdsNothing(manager: EntityManager): Promise<boolean> {
  const head = { select: { outboxId: true }, order: { outboxId: 'ASC' }, take: 1 } as const;
  return (await manager.find(OutboxEntity, head)).length === 0;
}
