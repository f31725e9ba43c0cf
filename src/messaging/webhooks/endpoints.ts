import { BackgroundLoop } from '../../concurrency/background-loop.js';
import type { WebhookSecrets } from './secrets.js';
import type { DisabledBecause, StoredWebhook, WebhookStore } from './webhook-store.js';

/** An endpoint that gets events. */
export interface ActiveEndpoint {
  readonly webhookId: number;
  readonly url: string;
  /** Without their version; `*`: all of them. */
  readonly eventTypes: readonly string[];
  /** Gets only events of this owner's accounts; undefined: of all accounts. */
  readonly owner: string | undefined;
  /** Each of them signs: the current one first, then the former one until it ends. */
  readonly secrets: readonly string[];
  readonly createdAt: Date;
}

/** Receives what a person should know. */
export interface EndpointsLog {
  /** @param problem why the list can no longer be read; undefined: it can again */
  stateChanged(problem: unknown): void;
  disabled(webhookId: number, because: DisabledBecause): void;
}

/** How often the list is read. A change takes effect everywhere within this time and one read. */
const REFRESH_MS = 2_000;

interface KnownEndpoint extends Omit<ActiveEndpoint, 'secrets'> {
  readonly secret: string;
  readonly former: { readonly secret: string; readonly endsMs: number } | undefined;
  /** By Date.now(). */
  readonly endsMs: number;
}

/**
 * The endpoints of the bank, as this process knows them: read in the background, and believed for a while when they
 * can't be read.
 */
export class Endpoints {
  private readonly loop = new BackgroundLoop();
  private endpoints: readonly KnownEndpoint[] = [];
  private ids: ReadonlySet<number> | undefined;
  private isFailing = false;
  /** When the last successful read began, by performance.now(). */
  private readMs = -Infinity;

  /** @param staleMs how long the last list is believed while it can't be read */
  constructor(
    private readonly store: WebhookStore,
    private readonly secrets: WebhookSecrets,
    private readonly staleMs: number,
    private readonly log: EndpointsLog,
  ) {}

  start(): void {
    this.loop.start(() => this.refresh());
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  /** Something was changed here: the other processes learn of it when they read the list the next time. */
  reload(): void {
    void this.refresh();
  }

  /**
   * Those that are enabled, whose key, if they have one, has not ended, and whose secret can be read. Empty when the
   * list could not be read for too long.
   */
  active(): readonly ActiveEndpoint[] {
    const ageMs = performance.now() - this.readMs;
    if (ageMs > Math.max(this.staleMs, 2 * REFRESH_MS)) return [];
    const nowMs = Date.now();
    return this.endpoints.flatMap(({ secret, former, endsMs, ...endpoint }) => {
      if (endsMs <= nowMs) return [];
      return [{ ...endpoint, secrets: former && former.endsMs > nowMs ? [secret, former.secret] : [secret] }];
    });
  }

  /** The ids of all that exist, also of those that get nothing; undefined while they can't be read. */
  known(): ReadonlySet<number> | undefined {
    return this.isFailing ? undefined : this.ids;
  }

  /**
   * For good, until a request enables it; unless it has another URL by now. Rejects with any failure of the database.
   */
  async disable(webhookId: number, url: string, because: Exclude<DisabledBecause, 'request'>): Promise<void> {
    const isDisabled = await this.store.disable(webhookId, url, because);
    this.endpoints = this.endpoints.filter((endpoint) => endpoint.webhookId !== webhookId);
    if (isDisabled) this.log.disabled(webhookId, because);
  }

  private async refresh(): Promise<number> {
    const startedMs = performance.now();
    try {
      const stored = await this.store.all();
      const known = await Promise.all(stored.map((webhook) => this.endpointOf(webhook)));
      // A later read has ended before this one.
      if (startedMs < this.readMs) return REFRESH_MS;
      this.endpoints = known.filter((endpoint) => endpoint !== undefined);
      this.ids = new Set(stored.map(({ webhookId }) => webhookId));
      this.readMs = startedMs;
      if (this.isFailing) this.log.stateChanged(undefined);
      this.isFailing = false;
    } catch (error) {
      if (!this.isFailing) this.log.stateChanged(error);
      this.isFailing = true;
    }
    return REFRESH_MS;
  }

  /** Undefined: it gets nothing. */
  private async endpointOf(webhook: StoredWebhook): Promise<KnownEndpoint | undefined> {
    const { webhookId, url, eventTypes, owner, createdAt, keyEndsAt, formerSecretEnds } = webhook;
    const secret = webhook.disabledAt ? undefined : await this.secrets.decrypt(webhook.secret);
    if (secret === undefined) return undefined;
    const former = webhook.formerSecret && (await this.secrets.decrypt(webhook.formerSecret));
    return {
      ...{ webhookId, url, eventTypes, owner: owner ?? undefined, createdAt, secret },
      former: former && formerSecretEnds ? { secret: former, endsMs: formerSecretEnds.getTime() } : undefined,
      endsMs: keyEndsAt?.getTime() ?? Infinity,
    };
  }
}
