import type { PoolClient } from 'pg';
import { send } from '../storage/connection.js';
import { idFromColumn } from '../storage/rows.js';
import { ShardLease } from '../storage/shard-lease.js';
import type { SchemaTables } from '../storage/tables.js';
import type { TransactionRunner } from '../storage/transaction-runner.js';
import { BROKER, readLog } from './event-log.js';
import { EventReader } from './event-reader.js';
import type { Backlog, Chunk, EventSource } from './event-source.js';
import { countBacklog } from './head-rows.js';

/**
 * The broker's place in the log of one shard. {@link complete} moves it on only from where its chunk began, so a replay,
 * which sets it back, is never undone by a chunk that is on its way.
 */
export class LogReceiver implements EventSource {
  private readonly lease: ShardLease;
  private readonly reader: EventReader;
  /** Where the chunk at work began. */
  private from = 0;

  /** @param leaseMs the time to read, publish and complete one chunk */
  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    leaseMs: number,
  ) {
    this.lease = new ShardLease('broker', leaseMs);
    this.reader = new EventReader(tables);
  }

  async isEmpty(): Promise<boolean> {
    const { eventCursors } = this.tables;
    return this.runner.run(async (_, client) => {
      const { rows } = await send<{ behind: boolean }>(
        client,
        `SELECT own.position < log.position AS behind FROM ${eventCursors} own, ${eventCursors} log
         WHERE own.receiver = '${BROKER}' AND log.receiver = 'log'`,
      );
      return rows[0]?.behind !== true;
    });
  }

  async backlog(): Promise<Backlog> {
    return this.runner.run(async (_, client) => {
      const from = await this.position(client);
      if (from === undefined) return { rows: 0, events: 0, ageMs: 0 };
      return countBacklog(client, this.tables.eventLog, 'position', from);
    });
  }

  async claim(maxEvents: number): Promise<Chunk | undefined> {
    return this.runner.run(async ({ manager }, client) => {
      const from = await this.position(client);
      if (from === undefined || !(await this.lease.take(manager))) return undefined;
      this.from = from;
      const { rows, more } = await readLog(client, this.tables, this.reader, from, maxEvents);
      if (rows.length === 0) return undefined;
      return {
        ids: rows.map(({ position }) => position),
        more,
        rows: rows.map(({ events }) => ({ firstTransactionId: undefined, events })),
      };
    });
  }

  async complete({ ids }: Chunk): Promise<void> {
    await this.runner.run(async ({ manager }, client) => {
      await send(
        client,
        `UPDATE ${this.tables.eventCursors} SET position = $1 WHERE receiver = '${BROKER}' AND position = $2`,
        [ids.at(-1), this.from],
      );
      await this.lease.end(manager);
    });
  }

  async release(): Promise<void> {
    await this.runner.run(({ manager }) => this.lease.end(manager));
  }

  /**
   * A broker that is new begins at the end of the log. Call this before anything is moved there that it is to get.
   */
  async begin(): Promise<void> {
    const { eventCursors } = this.tables;
    await this.runner.run((_, client) =>
      send(
        client,
        `INSERT INTO ${eventCursors} (receiver, position)
         SELECT '${BROKER}', coalesce(max(position), 0) FROM ${eventCursors} WHERE receiver = 'log'
         ON CONFLICT (receiver) DO NOTHING`,
      ),
    );
  }

  async hasBegun(): Promise<boolean> {
    return this.runner.run(async (_, client) => (await this.position(client)) !== undefined);
  }

  /** Everything after a position is published again. */
  async goBack(position: number): Promise<void> {
    const { eventCursors } = this.tables;
    await this.runner.run((_, client) =>
      send(client, `UPDATE ${eventCursors} SET position = least(position, $1) WHERE receiver = '${BROKER}'`, [
        position,
      ]),
    );
  }

  /** Undefined: it has not begun. */
  private async position(client: PoolClient): Promise<number | undefined> {
    const { rows } = await send<{ position: string }>(
      client,
      `SELECT position FROM ${this.tables.eventCursors} WHERE receiver = '${BROKER}'`,
    );
    return idFromColumn(rows[0]?.position ?? null);
  }
}
