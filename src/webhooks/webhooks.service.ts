import { Inject, Injectable } from '@nestjs/common';
import ipaddr from 'ipaddr.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { LedgerError } from '../domain/errors.js';
import type { Sender } from '../domain/sender.js';
import { decodeCursor, encodeCursor, listingFor } from '../http/validation/cursor.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { isPublicAddress } from '../messaging/webhooks/addresses.js';
import type { ShardDeliveries } from '../messaging/webhooks/deliveries.js';
import type { DeliveryState } from '../messaging/webhooks/delivery-state.js';
import { deliveryHeaders } from '../messaging/webhooks/delivery-headers.js';
import { Endpoints } from '../messaging/webhooks/endpoints.js';
import { DELIVERIES } from '../messaging/webhooks/endpoints.module.js';
import { newSecret, WebhookSecrets } from '../messaging/webhooks/secrets.js';

import { WebhookError } from '../messaging/webhooks/webhook-error.js';
import { failed, WebhookStore, type StoredWebhook } from '../messaging/webhooks/webhook-store.js';
import {
  DeliveriesDto,
  DeliveryDetailsDto,
  deliveryStatusOf,
  WebhookDto,
  WebhookWithSecretDto,
  type Delivery,
  type DeliveryListing,
  type DeliveryName,
  type DeliveryRequestDto,
  type Redelivery,
  type RedeliveryDto,
  type Rotation,
  type WebhookChange,
  type WebhookListing,
  type WebhookPageDto,
  type WebhookRequest,
} from './webhooks.dto.js';

/** What each shard has answered, and those that have not. */
interface OfShards<T> {
  readonly answers: readonly (readonly [ShardDeliveries, T])[];
  readonly shardsDown: readonly number[];
}

/** Errors: WebhookError; LedgerError DATABASE_FAILED, OVERLOADED, OUTCOME_UNKNOWN; InvalidRequestError. */
@Injectable()
export class WebhooksService {
  constructor(
    private readonly store: WebhookStore,
    private readonly secrets: WebhookSecrets,
    private readonly endpoints: Endpoints,
    @Inject(DELIVERIES) private readonly shards: readonly ShardDeliveries[],
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async create(wanted: WebhookRequest, { user }: Sender): Promise<WebhookWithSecretDto> {
    this.checkUrl(wanted.url);
    const secret = newSecret();
    const encrypted = await this.encrypt(secret);
    const webhook = await this.store.insert({ ...wanted, secret: encrypted }, user);
    // One that is down begins when it is up.
    await Promise.allSettled(this.shards.map((shard) => shard.begin(webhook.webhookId)));
    this.endpoints.reload();
    return new WebhookWithSecretDto(webhook, secret);
  }

  async list({ cursor, limit }: WebhookListing, { owner, user }: Sender): Promise<WebhookPageDto> {
    const listing = listingFor(owner, 'webhooks');
    const after = cursor === undefined ? 0 : decodeCursor(listing, cursor);
    const found = await this.store.list(owner, after, limit + 1, user);
    const shown = found.slice(0, limit);
    const last = found.length > limit ? shown.at(-1) : undefined;
    return {
      data: await Promise.all(shown.map((webhook) => this.show(webhook))),
      nextCursor: last ? encodeCursor(listing, last.webhookId) : null,
    };
  }

  async get(webhookId: number, { owner, user }: Sender): Promise<WebhookDto> {
    return this.show(await this.store.get(webhookId, owner, user));
  }

  async change({ webhookId, changes, enabled }: WebhookChange, { owner, user }: Sender): Promise<WebhookDto> {
    if (changes.url !== undefined) this.checkUrl(changes.url);
    if (enabled === true) {
      const { disabledAt } = await this.store.get(webhookId, owner, user);
      // Otherwise it would be switched off again at its next failure.
      if (disabledAt) await this.ofShards((shard) => shard.forgetFailing(webhookId));
    }
    const disabling = { disabledAt: () => 'coalesce(disabled_at, now())', disabledBecause: () => OF_REQUEST };
    const enabling = { disabledAt: null, disabledBecause: null };
    const status = enabled === undefined ? {} : enabled ? enabling : disabling;
    const webhook = await this.store.change(webhookId, owner, { ...changes, ...status }, user);
    this.endpoints.reload();
    return this.show(webhook);
  }

  async remove(webhookId: number, { owner, user }: Sender): Promise<void> {
    await this.store.remove(webhookId, owner, user);
    this.endpoints.reload();
  }

  async rotate({ webhookId, overlapMs }: Rotation, { owner, user }: Sender): Promise<WebhookWithSecretDto> {
    const { secret: former } = await this.store.get(webhookId, owner, user);
    const secret = newSecret();
    const encrypted = await this.encrypt(secret);
    const overlap =
      overlapMs === 0
        ? { formerSecret: null, formerSecretEnds: null }
        : { formerSecret: former, formerSecretEnds: new Date(Date.now() + overlapMs) };
    const changes = { secret: encrypted, ...overlap };
    const webhook = await this.store.change(webhookId, owner, changes, user);
    this.endpoints.reload();
    return new WebhookWithSecretDto(webhook, secret);
  }

  async deliveries({ webhookId, status }: DeliveryListing, sender: Sender): Promise<DeliveriesDto> {
    await this.store.get(webhookId, sender.owner, sender.user);
    const { answers, shardsDown } = await this.ofShards((shard) => shard.state(webhookId));
    const deliveries = answers.flatMap(([, state]) => deliveriesIn(state));
    return new DeliveriesDto(
      deliveries
        .filter((delivery) => status === undefined || deliveryStatusOf(delivery) === status)
        .sort((one, other) => startOf(other).localeCompare(startOf(one))),
      answers.map(([, state]) => state),
      shardsDown,
    );
  }

  async inspect(name: DeliveryName, { owner, user }: Sender): Promise<DeliveryDetailsDto> {
    const webhook = await this.store.get(name.webhookId, owner, user);
    const [shard, delivery] = await this.find(name);
    return new DeliveryDetailsDto(delivery, await this.requestOf(webhook, shard, delivery));
  }

  async redeliver({ webhookId, what }: Redelivery, { owner, user }: Sender): Promise<RedeliveryDto> {
    await this.store.get(webhookId, owner, user);
    if ('eventId' in what) {
      const { eventId } = what;
      const [shard, { attempts }] = await this.find({ webhookId, eventId });
      await shard.request(webhookId, attempts[0]).catch(failed);
      return { eventId, shardsDown: [] };
    }
    const { shardsDown } = await this.ofShards((shard) => shard.goBack(webhookId, what.since));
    return { since: what.since.toISOString(), shardsDown };
  }

  /** @throws WebhookError DELIVERY_NOT_FOUND; LedgerError when it may be in a shard that is down */
  private async find({ webhookId, eventId }: DeliveryName): Promise<[ShardDeliveries, Delivery]> {
    const { answers, shardsDown } = await this.ofShards((shard) => shard.state(webhookId));
    for (const [shard, state] of answers) {
      const delivery = deliveriesIn(state).find(({ attempts: [last] }) => last.eventId === eventId);
      if (delivery) return [shard, delivery];
    }
    if (shardsDown.length > 0) throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion: null });
    throw new WebhookError('DELIVERY_NOT_FOUND');
  }

  /** As its last attempt would be sent with the present URL and secrets. */
  private async requestOf(
    { url, owner, secret, formerSecret, formerSecretEnds }: StoredWebhook,
    shard: ShardDeliveries,
    { attempts: [last] }: Delivery,
  ): Promise<DeliveryRequestDto | undefined> {
    const message = await shard.message(last, owner ?? undefined).catch(failed);
    if (!message) return undefined;
    const at = new Date(last.startedAt);
    const overlaps = formerSecret && formerSecretEnds && formerSecretEnds > at;
    const encrypted = overlaps ? [secret, formerSecret] : [secret];
    const secrets = await Promise.all(encrypted.map((each) => this.secrets.decrypt(each)));
    const headers = deliveryHeaders(
      secrets.filter((each) => each !== undefined),
      message,
      at,
    );
    return { url, headers: { ...headers }, body: message.body };
  }

  /** @throws InvalidRequestError */
  private checkUrl(url: string): void {
    if (this.config.webhooks.privateAddresses) return;
    const { protocol, hostname } = new URL(url);
    if (protocol !== 'https:') throw InvalidRequestError.of('url', 'must begin with https://');
    const host = hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
    const isLocal = /(^|\.)localhost$/.test(host) || (ipaddr.isValid(host) && !isPublicAddress(host));
    if (isLocal) throw InvalidRequestError.of('url', 'must lead to an address of the public internet');
  }

  /** @throws WebhookError WEBHOOKS_NOT_CONFIGURED */
  private encrypt(secret: string): Promise<Buffer> {
    if (!this.secrets.configurable) throw new WebhookError('WEBHOOKS_NOT_CONFIGURED');
    return this.secrets.encrypt(secret);
  }

  private async show(webhook: StoredWebhook): Promise<WebhookDto> {
    return new WebhookDto(webhook, (await this.secrets.decrypt(webhook.secret)) !== undefined);
  }

  /** Asks every shard. @throws LedgerError when none answers */
  private async ofShards<T>(ask: (shard: ShardDeliveries) => Promise<T>): Promise<OfShards<T>> {
    const asked = this.shards.map((shard) => ask(shard).then((answer) => [shard, answer] as const));
    const settled = await Promise.allSettled(asked);
    const answers = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    const failures = settled.flatMap((each, index) =>
      each.status === 'rejected' ? [{ index, reason: each.reason as unknown }] : [],
    );
    const [first] = failures;
    if (first && answers.length === 0) return failed(first.reason);
    return { answers, shardsDown: failures.map(({ index }) => index) };
  }
}

const OF_REQUEST = `coalesce(disabled_because, 'request')`;

const startOf = ({ attempts: [last] }: Delivery): string => last.startedAt;

/** Each event once. */
function deliveriesIn({ failures, recent }: DeliveryState): Delivery[] {
  const attempts = Map.groupBy(recent, ({ eventId }) => eventId);
  const failing = failures.flatMap((failure): Delivery[] => {
    const { last } = failure;
    // It is about to be tried.
    if (!last) return [];
    const earlier = (attempts.get(last.eventId) ?? []).filter(
      ({ startedAt }) => startedAt !== last.startedAt,
    );
    attempts.delete(last.eventId);
    return [{ attempts: [last, ...earlier], failure }];
  });
  const others = [...attempts.values()].flatMap(([last, ...earlier]): Delivery[] =>
    last ? [{ attempts: [last, ...earlier], failure: undefined }] : [],
  );
  return [...failing, ...others];
}
