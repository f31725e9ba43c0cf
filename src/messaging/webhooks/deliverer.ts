import { BackgroundLoop } from '../../concurrency/background-loop.js';
import type { WebhookMetrics } from '../../observability/metrics.js';
import { send } from '../../storage/connection.js';
import { EventCursorEntity } from '../../storage/entities/event-cursor.entity.js';
import { ShardLease } from '../../storage/shard-lease.js';
import type { SchemaTables } from '../../storage/tables.js';
import type { TransactionRunner } from '../../storage/transaction-runner.js';
import type { EventLog } from '../event-log.js';
import { readState, receiverOf, type EventPlace } from './delivery-state.js';
import { EndpointDelivery } from './endpoint-delivery.js';
import type { ActiveEndpoint, Endpoints } from './endpoints.js';
import { LogWindow } from './log-window.js';
import type { RetryPolicy } from './retry-policy.js';
import type { WebhookSender } from './webhook-sender.js';

/** How long a process may send before it has to say that it is still there. */
const LEASE_MS = 15_000;
const RENEW_EVERY_MS = 4_000;
/** Nothing is sent any more so long before the lease runs out. */
const MARGIN_MS = 2_000;
/** How often it looks at what others have changed: requests to deliver again. */
const LOOK_EVERY_MS = 1_000;
/** How often is remembered what was tried, and how far an endpoint has come that wanted nothing. */
const SAVE_EVERY_MS = 1_000;
const SAVE_POSITIONS_EVERY_MS = 5_000;

const PREFIX = 'webhook:';

export interface DelivererLog {
  failing(error: unknown): void;
  recovered(): void;
  /** The log no longer has all that an endpoint has missed. */
  skipped(webhookId: number): void;
}

export interface DelivererSettings {
  readonly bankId: string;
  readonly pollMs: number;
  readonly policy: RetryPolicy;
}

interface CursorRow {
  webhookId: number;
  position: number;
  requested: string[];
}

/** An endpoint at work, and the position that its row has. */
interface Delivering {
  readonly delivery: EndpointDelivery;
  saved: number;
}

/**
 * Sends the events of one shard to all endpoints; over all instances one process does so at a time. An endpoint's row
 * says how far it has come. It is written at least every second, and what was sent after it is sent again by whoever
 * goes on: at least once. Another process may change the row: the position to go back, `requested` for single events.
 */
export class WebhookDeliverer {
  private readonly loop = new BackgroundLoop();
  private readonly lease = new ShardLease('webhooks', LEASE_MS);
  private readonly window: LogWindow;
  private readonly working = new Map<number, Delivering>();
  /** Those that are to be switched off, with the URL that said so. */
  private readonly gone = new Map<number, string>();
  private renewedMs = -Infinity;
  private triedMs = -Infinity;
  private lookedMs = -Infinity;
  private savedMs = -Infinity;
  private savedPositionsMs = -Infinity;
  private isFailing = false;
  private failedLately = false;

  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    private readonly log: EventLog,
    private readonly endpoints: Endpoints,
    private readonly sender: WebhookSender,
    private readonly settings: DelivererSettings,
    private readonly metrics: WebhookMetrics,
    private readonly tell: DelivererLog,
    /** Whether the endpoint has accepted events of another shard lately, or that can't be found out. */
    private readonly acceptsElsewhere: (webhookId: number) => Promise<boolean>,
  ) {
    this.window = new LogWindow(log, settings.bankId);
    metrics.watch(() =>
      [...this.working].map(([webhookId, { delivery }]) => ({
        ...{ webhookId, lagMs: delivery.lagMs(), failures: delivery.failures },
      })),
    );
  }

  start(): void {
    this.loop.start(() => this.turn(), this.settings.pollMs);
  }

  /** Does not wait for what is on its way: the next start sends it again. */
  async stop(): Promise<void> {
    await this.loop.stop();
    for (const { delivery } of this.working.values()) delivery.end();
    await this.save(performance.now(), true).catch(() => undefined);
    this.working.clear();
    if (this.mayWork())
      await this.runner.run(({ manager }) => this.lease.end(manager)).catch(() => undefined);
  }

  private async turn(): Promise<number> {
    const { pollMs } = this.settings;
    try {
      const active = this.endpoints.active();
      if (active.length === 0 && this.working.size === 0) return pollMs;
      if (!(await this.hold())) {
        this.drop();
        return pollMs;
      }
      if (performance.now() - this.lookedMs >= LOOK_EVERY_MS) await this.look(active);
      const more = await this.proceed();
      for (const [webhookId, url] of this.gone) await this.switchOff(webhookId, url, 'gone');
      await this.save(performance.now());
      if (this.isFailing && !this.failedLately) this.tell.recovered();
      this.isFailing = this.failedLately;
      this.failedLately = false;
      return more ? 0 : pollMs;
    } catch (error) {
      this.failing(error);
      return pollMs;
    }
  }

  /** What can't be read for one holds up no other. @returns whether there may be more to read */
  private async proceed(): Promise<boolean> {
    const deliveries = [...this.working.values()].map(({ delivery }) => delivery.proceed());
    const settled = await Promise.allSettled(deliveries);
    for (const each of settled) if (each.status === 'rejected') this.failing(each.reason);
    return settled.some((each) => each.status === 'fulfilled' && each.value);
  }

  private mayWork(): boolean {
    return performance.now() - this.renewedMs < LEASE_MS - MARGIN_MS;
  }

  private async hold(): Promise<boolean> {
    const nowMs = performance.now();
    if (nowMs - this.renewedMs < RENEW_EVERY_MS) return true;
    if (nowMs - this.triedMs < LOOK_EVERY_MS) return this.mayWork();
    this.triedMs = nowMs;
    if (!(await this.runner.run(({ manager }) => this.lease.take(manager)))) return false;
    this.renewedMs = nowMs;
    return true;
  }

  /** Another process has the lease. */
  private drop(): void {
    for (const { delivery } of this.working.values()) delivery.end();
    this.working.clear();
    this.gone.clear();
    this.renewedMs = -Infinity;
  }

  /** Looks at the endpoints and their rows: begins, changes and ends deliveries. */
  private async look(active: readonly ActiveEndpoint[]): Promise<void> {
    this.lookedMs = performance.now();
    const rows = await this.rows();
    const wanted = new Map(active.map((endpoint) => [endpoint.webhookId, endpoint]));
    for (const [webhookId, { delivery, saved }] of this.working) {
      const endpoint = wanted.get(webhookId);
      const row = rows.get(webhookId);
      if (endpoint && row?.position === saved) delivery.change(endpoint);
      else await this.finish(webhookId);
    }
    for (const endpoint of active) if (!this.working.has(endpoint.webhookId)) await this.begin(endpoint);
    for (const { webhookId, requested } of rows.values())
      if (requested.length > 0) await this.request(webhookId, requested);
    await this.removeOrphans([...rows.keys()]);
  }

  private async rows(): Promise<Map<number, CursorRow>> {
    const { rows } = await this.runner.run((_, client) =>
      send<{ receiver: string; position: string; requested: string[] }>(
        client,
        `SELECT receiver, position, requested FROM ${this.tables.eventCursors} WHERE receiver LIKE '${PREFIX}%'`,
      ),
    );
    return new Map(
      rows.map(({ receiver, position, requested }) => {
        const webhookId = Number(receiver.slice(PREFIX.length));
        return [webhookId, { webhookId, position: Number(position), requested }];
      }),
    );
  }

  /** One that has no row yet was made while this shard could not be reached. */
  private async begin(endpoint: ActiveEndpoint): Promise<void> {
    const { webhookId } = endpoint;
    const receiver = receiverOf(webhookId);
    const find = () => this.runner.run(({ manager }) => manager.findOneBy(EventCursorEntity, { receiver }));
    let row = await find();
    if (!row) {
      const position = await this.log.positionBefore(endpoint.createdAt);
      await this.runner.run((_, client) =>
        send(
          client,
          `INSERT INTO ${this.tables.eventCursors} (receiver, position) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
          [receiver, position],
        ),
      );
      row = await find();
    }
    if (!row) return;
    if (!(await this.log.retains(row.position))) this.tell.skipped(webhookId);
    const delivery = new EndpointDelivery(
      endpoint,
      {
        ...{ window: this.window, sender: this.sender },
        ...{ bankId: this.settings.bankId, policy: this.settings.policy },
        maySend: () => this.mayWork() && !this.loop.stopped,
        attempted: (accepted) => this.metrics.attempted(accepted),
        gone: (url) => this.gone.set(webhookId, url),
        failing: (error) => this.failing(error),
      },
      row.position,
      readState(row.state),
    );
    this.working.set(webhookId, { delivery, saved: row.position });
  }

  private async request(webhookId: number, requested: readonly string[]): Promise<void> {
    const working = this.working.get(webhookId);
    if (!working) return;
    for (const text of requested) {
      const [position = 0, index = 0] = text.split('.').map(Number);
      await working.delivery.request({ position, index } satisfies EventPlace);
    }
    await this.saveOne(webhookId, working, requested);
  }

  /** Remembers how far it has come, if it may. */
  private async finish(webhookId: number): Promise<void> {
    const working = this.working.get(webhookId);
    working?.delivery.end();
    this.working.delete(webhookId);
    if (working) await this.saveOne(webhookId, working);
  }

  private async removeOrphans(webhookIds: readonly number[]): Promise<void> {
    const known = this.endpoints.known();
    if (!known) return;
    const orphans = webhookIds.filter((webhookId) => !known.has(webhookId)).map(receiverOf);
    if (orphans.length === 0) return;
    await this.runner.run((_, client) =>
      send(client, `DELETE FROM ${this.tables.eventCursors} WHERE receiver = ANY($1::text[])`, [orphans]),
    );
  }

  private async save(nowMs: number, all = false): Promise<void> {
    if (!all && nowMs - this.savedMs < SAVE_EVERY_MS) return;
    this.savedMs = nowMs;
    const positions = all || nowMs - this.savedPositionsMs >= SAVE_POSITIONS_EVERY_MS;
    if (positions) this.savedPositionsMs = nowMs;
    for (const [webhookId, working] of this.working) {
      await this.saveOne(webhookId, working, [], !positions);
      if (await this.failsForLong(webhookId, working.delivery))
        await this.switchOff(webhookId, working.delivery.url, 'failing');
    }
  }

  /** The row is written only if its position is still what this process has read or written. */
  private async saveOne(
    webhookId: number,
    working: Delivering,
    taken: readonly string[] = [],
    attemptsOnly = false,
  ): Promise<void> {
    const { delivery, saved } = working;
    const unsaved = delivery.unsaved(attemptsOnly);
    if (!unsaved && taken.length === 0) return;
    try {
      if (unsaved) working.saved = unsaved.position;
      await this.runner.run((_, client) =>
        send(
          client,
          `UPDATE ${this.tables.eventCursors}
           SET position = coalesce($3::bigint, position), state = coalesce($4, state),
               requested = CASE WHEN requested = $5::text[] THEN '{}' ELSE requested END
           WHERE receiver = $1 AND position = $2`,
          [
            receiverOf(webhookId),
            saved,
            unsaved?.position ?? null,
            unsaved ? JSON.stringify(unsaved.state) : null,
            taken,
          ],
        ),
      );
    } catch (error) {
      delivery.notSaved();
      working.saved = saved;
      throw error;
    }
  }

  /** Whether it has accepted nothing for days, of any shard. */
  private async failsForLong(webhookId: number, { failingSince }: EndpointDelivery): Promise<boolean> {
    const { switchOffAfterMs } = this.settings.policy;
    if (failingSince === undefined || Date.now() - failingSince < switchOffAfterMs) return false;
    return !(await this.acceptsElsewhere(webhookId));
  }

  private async switchOff(webhookId: number, url: string, because: 'gone' | 'failing'): Promise<void> {
    await this.finish(webhookId);
    await this.endpoints.disable(webhookId, url, because);
    this.gone.delete(webhookId);
  }

  private failing(error: unknown): void {
    if (!this.isFailing) this.tell.failing(error);
    this.isFailing = true;
    this.failedLately = true;
  }
}
