import { In, IsNull, MoreThan, type EntityManager } from 'typeorm';
import { AdaptiveConcurrencyLimiter } from '../../concurrency/adaptive-concurrency-limiter.js';
import { LedgerError } from '../../domain/errors.js';
import { send, type Work } from '../../storage/connection.js';
import { classifyFailure } from '../../storage/database-errors.js';
import { ApiKeyEntity } from '../../storage/entities/api-key.entity.js';
import { WebhookEntity } from '../../storage/entities/webhook.entity.js';
import type { SchemaTables } from '../../storage/tables.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from '../../storage/transaction-runner.js';
import { WebhookError } from './webhook-error.js';

/** The most endpoints of a bank, each of which gets every event that it asks for. */
export const MAX_WEBHOOKS = 100;
/** The most of one owner. */
export const MAX_OWN_WEBHOOKS = 10;

/** Requests about endpoints are few. They leave most connections of the shard to others. */
const LIMITS = { maxInFlight: 4, maxPerUser: 2, queue: 1_000, maxWaitMs: 2_000 };

/** An endpoint as it is stored. */
export interface StoredWebhook extends Readonly<WebhookEntity> {
  /** When the API key ends that it depends on, or has ended. */
  readonly keyEndsAt: Date | undefined;
}

export type WebhookStatus = 'enabled' | 'disabled' | 'key_ended' | 'secret_unreadable';

/** Whether it gets events, or why not. @param isReadable whether its secret can be decrypted */
export function statusOf({ disabledAt, keyEndsAt }: StoredWebhook, isReadable: boolean): WebhookStatus {
  if (disabledAt) return 'disabled';
  if (keyEndsAt && keyEndsAt.getTime() <= Date.now()) return 'key_ended';
  return isReadable ? 'enabled' : 'secret_unreadable';
}

export type NewWebhook = Pick<
  WebhookEntity,
  'url' | 'eventTypes' | 'description' | 'owner' | 'keyId' | 'secret'
>;

export type WebhookChanges = Partial<Omit<WebhookEntity, 'webhookId' | 'owner' | 'createdAt'>>;

/** Why an endpoint gets nothing: it was asked for, or it answered 410, or it has accepted nothing for days. */
export type DisabledBecause = 'request' | 'gone' | 'failing';

/**
 * The endpoints in the bank's first shard. An owner sees only their own; undefined: all are seen.
 *
 * Errors: LedgerError DATABASE_FAILED (nothing was changed), OVERLOADED, OUTCOME_UNKNOWN.
 */
export class WebhookStore {
  private readonly places = new AdaptiveConcurrencyLimiter(LIMITS);

  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
  ) {}

  /** All of them, for the service itself. Rejects with any failure of the database. */
  all(): Promise<StoredWebhook[]> {
    return this.runner.run(({ manager }) => allWebhooks(manager));
  }

  /** In the order of their ids. @param user whose permit it takes */
  list(owner: string | undefined, after: number, limit: number, user: string): Promise<StoredWebhook[]> {
    return this.run(user, async ({ manager }) =>
      withKeys(
        manager,
        await manager.find(WebhookEntity, {
          where: { webhookId: MoreThan(after), ...ofOwner(owner) },
          order: { webhookId: 'ASC' },
          take: limit,
        }),
      ),
    );
  }

  /** @throws WebhookError WEBHOOK_NOT_FOUND */
  get(webhookId: number, owner: string | undefined, user: string): Promise<StoredWebhook> {
    return this.run(user, ({ manager }) => found(manager, webhookId, owner));
  }

  /** @throws WebhookError TOO_MANY_WEBHOOKS */
  insert(webhook: NewWebhook, user: string): Promise<StoredWebhook> {
    return this.run(user, async ({ manager }, client) => {
      // Otherwise several at the same moment would each be the last one that is allowed.
      await send(client, `LOCK TABLE ${this.tables.webhooks} IN SHARE ROW EXCLUSIVE MODE`);
      const { owner } = webhook;
      const own = owner === null ? 0 : await manager.countBy(WebhookEntity, { owner });
      if (own >= MAX_OWN_WEBHOOKS || (await manager.count(WebhookEntity)) >= MAX_WEBHOOKS)
        throw new WebhookError('TOO_MANY_WEBHOOKS');
      const inserted = await manager.insert(WebhookEntity, webhook);
      // As text: TypeORM does not apply its transformers to RETURNING.
      const [row] = inserted.raw as [{ webhook_id: string }];
      return found(manager, Number(row.webhook_id), undefined);
    });
  }

  /** @throws WebhookError WEBHOOK_NOT_FOUND */
  change(
    webhookId: number,
    owner: string | undefined,
    changes: WebhookChanges,
    user: string,
  ): Promise<StoredWebhook> {
    return this.run(user, async ({ manager }) => {
      await manager.update(WebhookEntity, { webhookId, ...ofOwner(owner) }, changes);
      return found(manager, webhookId, owner);
    });
  }

  /** @throws WebhookError WEBHOOK_NOT_FOUND */
  remove(webhookId: number, owner: string | undefined, user: string): Promise<void> {
    return this.run(user, async ({ manager }) => {
      const { affected } = await manager.delete(WebhookEntity, { webhookId, ...ofOwner(owner) });
      if (affected !== 1) throw new WebhookError('WEBHOOK_NOT_FOUND');
    });
  }

  /**
   * Switches one off that is still on, and still has this URL. Rejects with any failure of the database.
   *
   * @returns whether it was switched off by this
   */
  async disable(webhookId: number, url: string, because: DisabledBecause): Promise<boolean> {
    const { affected } = await this.runner.run(({ manager }) =>
      manager.update(
        WebhookEntity,
        { webhookId, url, disabledAt: IsNull() },
        { disabledAt: () => 'now()', disabledBecause: because },
      ),
    );
    return affected === 1;
  }

  private run<T>(user: string, work: Work<T>): Promise<T> {
    return this.places.run(user, () => this.runner.run(work).catch(failed));
  }
}

/** By id. */
export const allWebhooks = async (manager: EntityManager): Promise<StoredWebhook[]> =>
  withKeys(manager, await manager.find(WebhookEntity, { order: { webhookId: 'ASC' } }));

const ofOwner = (owner: string | undefined) => (owner === undefined ? {} : { owner });

async function found(
  manager: EntityManager,
  webhookId: number,
  owner: string | undefined,
): Promise<StoredWebhook> {
  const webhooks = await withKeys(
    manager,
    await manager.findBy(WebhookEntity, { webhookId, ...ofOwner(owner) }),
  );
  const [webhook] = webhooks;
  if (!webhook) throw new WebhookError('WEBHOOK_NOT_FOUND');
  return webhook;
}

async function withKeys(
  manager: EntityManager,
  webhooks: readonly WebhookEntity[],
): Promise<StoredWebhook[]> {
  const ids = new Set(webhooks.flatMap(({ keyId }) => keyId ?? []));
  const keys =
    ids.size === 0
      ? []
      : await manager.find(ApiKeyEntity, {
          select: { keyId: true, expiresAt: true, revokedAt: true },
          where: { keyId: In([...ids]) },
        });
  const ends = new Map(keys.map(({ keyId, expiresAt, revokedAt }) => [keyId, revokedAt ?? expiresAt]));
  // The key of an endpoint that came from a backup may be missing.
  const endOf = (keyId: number) => (ends.has(keyId) ? (ends.get(keyId) ?? undefined) : new Date(0));
  return webhooks.map((webhook) => ({
    ...webhook,
    keyEndsAt: webhook.keyId === null ? undefined : endOf(webhook.keyId),
  }));
}

/** @throws the failure, as a sender is told of it */
export function failed(error: unknown): never {
  if (error instanceof WebhookError) throw error;
  if (error instanceof CommitOutcomeUnknownError) throw new LedgerError({ code: 'OUTCOME_UNKNOWN' });
  switch (classifyFailure(error)) {
    case 'statement':
      throw error;
    case 'busy':
    case 'locked':
      throw new LedgerError({ code: 'OVERLOADED' });
    case 'retryable':
    case 'unavailable':
      throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion: null });
  }
}
