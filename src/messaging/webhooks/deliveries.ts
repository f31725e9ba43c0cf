import type { PoolClient } from 'pg';
import { EventCursorEntity } from '../../storage/entities/event-cursor.entity.js';
import { send } from '../../storage/connection.js';
import type { SchemaTables } from '../../storage/tables.js';
import type { TransactionRunner } from '../../storage/transaction-runner.js';
import { messageOf, type BankMessage } from '../bank-event.js';
import { EventLog } from '../event-log.js';
import { readState, receiverOf, type DeliveryState, type EventPlace } from './delivery-state.js';
import { WebhookError } from './webhook-error.js';

/** The most single events of an endpoint and a shard that wait to be delivered again. */
const MAX_REQUESTED = 1_000;

type LockedCursor = Pick<EventCursorEntity, 'state' | 'requested'> & { readonly position: string };

/** The deliveries of one shard's events. Errors: any failure of the database. */
export class ShardDeliveries {
  private readonly log: EventLog;

  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    private readonly bankId: string,
  ) {
    this.log = new EventLog(runner, tables);
  }

  /** A new endpoint gets what is logged from now on. */
  async begin(webhookId: number): Promise<void> {
    const { eventCursors } = this.tables;
    await this.runner.run((_, client) =>
      send(
        client,
        `INSERT INTO ${eventCursors} (receiver, position)
         SELECT $1, coalesce(max(position), 0) FROM ${eventCursors} WHERE receiver = 'log'
         ON CONFLICT (receiver) DO NOTHING`,
        [receiverOf(webhookId)],
      ),
    );
  }

  async state(webhookId: number): Promise<DeliveryState> {
    const cursor = await this.runner.run(({ manager }) =>
      manager.findOneBy(EventCursorEntity, { receiver: receiverOf(webhookId) }),
    );
    return readState(cursor?.state ?? null);
  }

  /** The event as it is sent to an endpoint of an owner, or of the bank; undefined: the log no longer has it. */
  async message(
    { position, index }: EventPlace,
    owner: string | undefined,
  ): Promise<BankMessage | undefined> {
    const { rows } = await this.log.readAfter(position - 1, 1);
    const event = rows.find((row) => row.position === position)?.events[index];
    return event && messageOf(event, this.bankId, owner);
  }

  /**
   * Has an event delivered once more, whatever became of it.
   *
   * @throws WebhookError TOO_MANY_REDELIVERIES
   */
  async request(webhookId: number, { position, index }: EventPlace): Promise<void> {
    const receiver = receiverOf(webhookId);
    const place = `${position}.${index}`;
    await this.runner.run(async ({ manager }, client) => {
      const requested = (await this.lock(client, receiver))?.requested ?? [];
      if (requested.includes(place)) return;
      if (requested.length >= MAX_REQUESTED) throw new WebhookError('TOO_MANY_REDELIVERIES');
      await manager.update(EventCursorEntity, { receiver }, { requested: [...requested, place] });
    });
  }

  /** Has everything delivered again that was posted since a time. */
  async goBack(webhookId: number, since: Date): Promise<void> {
    const position = await this.log.positionBefore(since);
    const receiver = receiverOf(webhookId);
    await this.runner.run(async ({ manager }, client) => {
      const cursor = await this.lock(client, receiver);
      if (!cursor) return;
      // More may have been sent than is written, and whoever sends notices only another position.
      const back = Math.max(0, Math.min(position, Number(cursor.position) - 1));
      // What has failed since then comes again with the rest.
      const state = readState(cursor.state);
      const failures = state.failures.filter((failure) => failure.position <= back);
      const text = JSON.stringify({ ...state, failures });
      await manager.update(EventCursorEntity, { receiver }, { position: back, state: text });
    });
  }

  /** One that is enabled again has not failed yet. */
  async forgetFailing(webhookId: number): Promise<void> {
    const receiver = receiverOf(webhookId);
    await this.runner.run(async ({ manager }, client) => {
      const cursor = await this.lock(client, receiver);
      if (!cursor?.state) return;
      const state = JSON.stringify({ ...readState(cursor.state), failingSince: undefined });
      await manager.update(EventCursorEntity, { receiver }, { state });
    });
  }

  private async lock(client: PoolClient, receiver: string): Promise<LockedCursor | undefined> {
    const { rows } = await send<LockedCursor>(
      client,
      `SELECT position, state, requested FROM ${this.tables.eventCursors} WHERE receiver = $1 FOR UPDATE`,
      [receiver],
    );
    return rows[0];
  }
}
