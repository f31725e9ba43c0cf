import { millisecondFrom } from '../domain/instant.js';
import { keyIdOf, type Principal } from '../access/principal.js';
import {
  AccountId,
  Field,
  integer,
  json,
  listOf,
  NextCursor,
  plainText,
  Resource,
  text,
  Timestamp,
  written,
} from '../http/openapi/resource.js';
import { schema } from '../http/schema/registry.js';
import { Contract, orNone } from '../http/validation/contract.js';
import {
  IsCount,
  IsEndpointUrl,
  IsEventId,
  IsInstant,
  IsLine,
  IsListOfWords,
  IsNullableField,
  IsOptionalField,
  IsOwner,
  IsWebhookId,
  IsWord,
  Owner,
  readCount,
  readWebhookId,
  type Numeric,
} from '../http/validation/field-rules.js';
import { reads } from '../http/validation/incoming.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { PageQueryDto } from '../http/validation/page-query.dto.js';
import type { Attempt, DeliveryState as ShardState, Failure } from '../messaging/webhooks/delivery-state.js';
import { ALL_EVENT_TYPES, EVENT_TYPES } from '../messaging/webhooks/event-types.js';
import { statusOf, type StoredWebhook, type WebhookStatus } from '../messaging/webhooks/webhook-store.js';

const MAX_DESCRIPTION = 255;
export const DEFAULT_OVERLAP_HOURS = 24;
const MAX_OVERLAP_HOURS = 168;
const HOUR_MS = 3_600_000;

const EVENT_TYPE_WORDS = [...EVENT_TYPES, ALL_EVENT_TYPES];
const OF_URL =
  'Where events are sent by POST. `https`, and an address of the public internet, unless the service allows others.';
const OF_EVENT_TYPES = 'The types of events that it gets, without their version; `*`: all of them.';
const OF_DESCRIPTION = 'What it is for, in your own words.';

/** POST /webhooks */
export class CreateWebhookDto {
  @IsEndpointUrl({ description: OF_URL })
  url!: string;

  @IsListOfWords(EVENT_TYPE_WORDS, { description: OF_EVENT_TYPES })
  eventTypes!: string[];

  @IsNullableField()
  @IsLine(MAX_DESCRIPTION, { description: OF_DESCRIPTION })
  description?: string;

  @IsNullableField()
  @IsOwner()
  owner?: string;
}

/** PATCH /webhooks/{webhookId}. Null clears `description`. */
export class ChangeWebhookDto {
  @IsOptionalField()
  @IsEndpointUrl({ description: OF_URL })
  url?: string;

  @IsOptionalField()
  @IsListOfWords(EVENT_TYPE_WORDS, { description: OF_EVENT_TYPES })
  eventTypes?: string[];

  @IsNullableField()
  @IsLine(MAX_DESCRIPTION, { description: OF_DESCRIPTION })
  description?: string;

  @IsOptionalField()
  @IsWord(
    ['enabled', 'disabled'],
    { description: 'A disabled webhook gets nothing. Once it is enabled again, it gets what it has missed.' },
    'WebhookStatusInput',
  )
  status?: string;
}

/** POST /webhooks/{webhookId}/secret */
export class RotateSecretDto {
  @IsNullableField()
  @IsCount(
    0,
    MAX_OVERLAP_HOURS,
    `For how many hours the former secret signs, too. ${DEFAULT_OVERLAP_HOURS}, if not said.`,
  )
  overlapHours?: Numeric;
}

/** POST /webhooks/{webhookId}/redeliveries */
export class RedeliverDto {
  @IsNullableField()
  @IsEventId({ description: 'One event, which is among its deliveries.' })
  eventId?: string;

  @IsNullableField()
  @IsInstant({
    description: 'Everything since this time: an ISO 8601 date, or a date and time with its offset.',
  })
  since?: string;
}

const DELIVERY_STATUSES = ['retrying', 'given_up', 'accepted', 'dropped'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];

/** GET /webhooks/{webhookId}/deliveries */
export class ListDeliveriesDto {
  @IsOptionalField()
  @IsWord(DELIVERY_STATUSES, { description: 'Only those with this status. Case does not matter.' })
  status?: string;
}

/** /webhooks/{webhookId} */
export class WebhookPathDto {
  @IsWebhookId({ description: 'The id of a webhook.', example: 'wh1' })
  webhookId!: string;
}

/** /webhooks/{webhookId}/deliveries/{eventId} */
export class DeliveryPathDto extends WebhookPathDto {
  @IsEventId({ description: 'The id of an event; a slash in it is written `%2F`.', example: 'hold132/6' })
  eventId!: string;
}

const createWebhook = new Contract(CreateWebhookDto);
const changeWebhook = new Contract(ChangeWebhookDto);
const rotateSecret = new Contract(RotateSecretDto);
const redeliver = new Contract(RedeliverDto);
const listWebhooks = new Contract(PageQueryDto, 'query parameter');
const listDeliveries = new Contract(ListDeliveriesDto, 'query parameter');
const webhookPath = new Contract(WebhookPathDto);
const deliveryPath = new Contract(DeliveryPathDto);

/** A new endpoint, before it has a secret. */
export interface WebhookRequest {
  readonly url: string;
  readonly eventTypes: string[];
  readonly description: string | null;
  readonly owner: string | null;
  readonly keyId: number | null;
}

export const creationOf = reads(
  { body: createWebhook },
  ({ principal }, _query, { url, eventTypes, description = null, owner }): WebhookRequest => {
    if (principal.owner !== undefined && owner !== undefined && owner !== principal.owner)
      throw InvalidRequestError.of('owner', 'must be your own, or left out');
    const keyId = dependsOn(principal);
    return { url, eventTypes, description, owner: principal.owner ?? owner ?? null, keyId };
  },
);

/** The key of a sender who is bound to an owner. */
const dependsOn = (principal: Principal): number | null =>
  principal.owner === undefined ? null : (keyIdOf(principal) ?? null);

/** Which endpoint, of those that the sender may see. */
export interface WebhookChange {
  readonly webhookId: number;
  readonly changes: Partial<Pick<WebhookRequest, 'url' | 'eventTypes' | 'description' | 'keyId'>>;
  readonly enabled: boolean | undefined;
}

export const changeOf = reads({ body: changeWebhook }, (request, _query, body): WebhookChange => {
  const { url, eventTypes, description, status } = body;
  const sent = request.body as { readonly description?: unknown };
  const changes = {
    ...(url !== undefined && { url }),
    ...(eventTypes !== undefined && { eventTypes }),
    ...(sent.description !== undefined && { description: description ?? null }),
  };
  const webhookId = idIn(request.params);
  if (Object.keys(changes).length === 0 && status === undefined)
    throw InvalidRequestError.of('body', 'must change url, eventTypes, description or status');
  const { principal } = request;
  return {
    webhookId,
    // It now depends on the key of whoever last changed it, so an owner can keep it when a key is replaced.
    changes: principal.owner === undefined ? changes : { ...changes, keyId: dependsOn(principal) },
    enabled: status === undefined ? undefined : status.toLowerCase() === 'enabled',
  };
});

function idIn(params: unknown): number {
  const { webhookId } = params as { readonly webhookId?: unknown };
  return readWebhookId(webhookPath.read({ webhookId }).webhookId) ?? 0;
}

export const webhookIdOf = reads({}, ({ params }): number => idIn(params));

export interface Rotation {
  readonly webhookId: number;
  readonly overlapMs: number;
}

export const rotationOf = reads(
  { body: orNone(rotateSecret) },
  ({ params }, _query, { overlapHours }): Rotation => ({
    webhookId: idIn(params),
    overlapMs: (readCount(overlapHours) ?? DEFAULT_OVERLAP_HOURS) * HOUR_MS,
  }),
);

export interface WebhookListing {
  readonly cursor: string | undefined;
  readonly limit: number;
}

export const webhookListingOf = reads(
  { query: listWebhooks },
  (_request, { cursor, limit }): WebhookListing => ({ cursor, limit: Number(limit) }),
);

export interface DeliveryListing {
  readonly webhookId: number;
  readonly status: DeliveryStatus | undefined;
}

export const deliveryListingOf = reads(
  { query: listDeliveries },
  ({ params }, { status }): DeliveryListing => ({
    webhookId: idIn(params),
    status: status?.toLowerCase() as DeliveryStatus | undefined,
  }),
);

export interface DeliveryName {
  readonly webhookId: number;
  readonly eventId: string;
}

export const deliveryNameOf = reads({}, ({ params }): DeliveryName => {
  const { webhookId, eventId } = deliveryPath.read(params);
  return { webhookId: readWebhookId(webhookId) ?? 0, eventId };
});

export interface Redelivery {
  readonly webhookId: number;
  readonly what: { readonly eventId: string } | { readonly since: Date };
}

export const redeliveryOf = reads(
  { body: redeliver },
  ({ params }, _query, { eventId, since }): Redelivery => {
    const webhookId = idIn(params);
    if ((eventId === undefined) === (since === undefined))
      throw InvalidRequestError.of('body', 'must have eventId or since, and not both');
    const what = eventId === undefined ? { since: millisecondFrom(since ?? '') } : { eventId };
    return { webhookId, what };
  },
);

const optional = { optional: true };

const WebhookId = plainText(schema('WebhookId', { type: 'string', pattern: '^wh[1-9]\\d{0,15}$' }));

const WebhookState = plainText(
  schema('WebhookStatus', {
    description:
      '`key_ended`: the API key that it depends on has expired or was revoked. `secret_unreadable`: the service has no ' +
      'key that decrypts its secret; rotate it. Only one that is `enabled` gets events.',
    type: 'string',
    enum: ['enabled', 'disabled', 'key_ended', 'secret_unreadable'] satisfies WebhookStatus[],
  }),
);

@Resource('Webhook')
export class WebhookDto {
  @Field(WebhookId) readonly id: string;
  @Field(text()) readonly url: string;
  @Field(listOf(text({ type: 'string', enum: EVENT_TYPE_WORDS }))) readonly eventTypes: readonly string[];
  @Field(WebhookState) readonly status: WebhookStatus;
  @Field(Timestamp) readonly createdAt: string;
  @Field(text(), optional) readonly description: string | undefined;
  @Field(text(Owner), optional) readonly owner: string | undefined;
  @Field(Timestamp, optional) readonly disabledAt: string | undefined;

  @Field(
    text({
      type: 'string',
      enum: ['request', 'gone', 'failing'],
      description: '`gone`: it answered 410. `failing`: it accepted nothing for three days.',
    }),
    optional,
  )
  readonly disabledBecause: string | undefined;

  @Field(
    plainText({
      type: 'string',
      format: 'date-time',
      description: 'Until then the former secret signs, too.',
    }),
    optional,
  )
  readonly formerSecretEndsAt: string | undefined;

  constructor(webhook: StoredWebhook, isReadable: boolean) {
    const { description, owner, disabledAt, disabledBecause, formerSecretEnds } = webhook;
    this.id = `wh${webhook.webhookId}`;
    this.url = webhook.url;
    this.eventTypes = webhook.eventTypes;
    this.status = statusOf(webhook, isReadable);
    this.createdAt = webhook.createdAt.toISOString();
    this.description = description ?? undefined;
    this.owner = owner ?? undefined;
    this.disabledAt = disabledAt?.toISOString();
    this.disabledBecause = disabledBecause ?? undefined;
    if (formerSecretEnds && formerSecretEnds.getTime() > Date.now())
      this.formerSecretEndsAt = formerSecretEnds.toISOString();
  }
}

/** In the answers to its creation and to its rotation alone. */
@Resource('WebhookWithSecret')
export class WebhookWithSecretDto extends WebhookDto {
  @Field(
    text({
      type: 'string',
      pattern: '^whsec_[A-Za-z0-9+/]{43}=$',
      description: 'Verifies signatures, as Standard Webhooks has it. It is shown this once.',
    }),
  )
  readonly secret: string;

  constructor(webhook: StoredWebhook, secret: string) {
    super(webhook, true);
    this.secret = secret;
  }
}

@Resource('WebhookPage')
export class WebhookPageDto {
  @Field(listOf(written(WebhookDto))) readonly data!: readonly WebhookDto[];
  @Field(NextCursor) readonly nextCursor!: string | null;
}

/** One attempt to deliver an event. */
@Resource('DeliveryAttempt')
export class AttemptDto {
  @Field(integer({ type: 'integer', minimum: 1 })) readonly number: number;
  @Field(Timestamp) readonly startedAt: string;
  @Field(integer({ type: 'integer', minimum: 0 })) readonly durationMs: number;

  @Field(
    integer({ type: 'integer', description: 'The status of the answer. Left out: there was none.' }),
    optional,
  )
  readonly httpStatus: number | undefined;

  @Field(
    text({ type: 'string', description: 'The beginning of the answer, or why there was none.' }),
    optional,
  )
  readonly answer: string | undefined;

  constructor({ number, startedAt, durationMs, status, answer }: Attempt) {
    this.number = number;
    this.startedAt = startedAt;
    this.durationMs = durationMs;
    this.httpStatus = status;
    this.answer = answer;
  }
}

const DeliveryState = plainText(
  schema('DeliveryStatus', {
    description:
      '`retrying`: later events of its account wait for it. `given_up`: they do not wait any more, and it is retried ' +
      'beside them. `dropped`: it is not retried any more.',
    type: 'string',
    enum: DELIVERY_STATUSES,
  }),
);

/** What became of an event: its attempts that are remembered, the newest first, and its failure, if it has one. */
export interface Delivery {
  readonly attempts: readonly [Attempt, ...Attempt[]];
  readonly failure: Failure | undefined;
}

export function deliveryStatusOf({ attempts: [{ status = 0 }], failure }: Delivery): DeliveryStatus {
  if (failure) return failure.givenUp ? 'given_up' : 'retrying';
  return status >= 200 && status < 300 ? 'accepted' : 'dropped';
}

/** An event, and how its last attempt went. */
@Resource('Delivery')
export class DeliveryDto {
  @Field(text()) readonly eventId: string;
  @Field(text({ type: 'string', description: 'With its version.' })) readonly type: string;
  @Field(AccountId) readonly accountId: number;
  @Field(DeliveryState) readonly status: DeliveryStatus;
  @Field(written(AttemptDto)) readonly lastAttempt: AttemptDto;
  @Field(Timestamp, optional) readonly firstFailedAt: string | undefined;
  @Field(Timestamp, optional) readonly nextAttemptAt: string | undefined;

  @Field(
    integer({ type: 'integer', minimum: 0, description: 'Later events of its account that wait for it.' }),
    optional,
  )
  readonly waiting: number | undefined;

  constructor(delivery: Delivery) {
    const { attempts, failure } = delivery;
    const [last] = attempts;
    this.eventId = last.eventId;
    this.type = last.type;
    this.accountId = last.accountId;
    this.status = deliveryStatusOf(delivery);
    this.lastAttempt = new AttemptDto(last);
    this.firstFailedAt = failure?.firstFailedAt;
    this.nextAttemptAt = failure?.nextAt;
    this.waiting = failure?.waiting.length;
  }
}

const ShardsDown = listOf(integer({ type: 'integer', minimum: 0 }), {
  description: 'The shards of the bank that could not be reached, of which this says nothing.',
});

/** The deliveries of an endpoint, from all shards. */
@Resource('Deliveries')
export class DeliveriesDto {
  @Field(listOf(written(DeliveryDto))) readonly data: readonly DeliveryDto[];
  @Field(integer({ type: 'integer', minimum: 0, description: 'Events that were given up for good, ever.' }))
  readonly dropped: number;
  @Field(ShardsDown) readonly shardsDown: readonly number[];

  @Field(
    plainText({
      type: 'string',
      format: 'date-time',
      description: 'Since when nothing was accepted while something was tried.',
    }),
    optional,
  )
  readonly failingSince: string | undefined;

  constructor(deliveries: readonly Delivery[], states: readonly ShardState[], shardsDown: readonly number[]) {
    this.data = deliveries.map((delivery) => new DeliveryDto(delivery));
    this.dropped = states.reduce((sum, { dropped }) => sum + dropped, 0);
    this.shardsDown = shardsDown;
    [this.failingSince] = states.flatMap(({ failingSince }) => failingSince ?? []).sort();
  }
}

/** A request to an endpoint. */
@Resource('DeliveryRequest')
export class DeliveryRequestDto {
  @Field(text()) readonly url!: string;
  @Field(json({ type: 'object', additionalProperties: { type: 'string' } }))
  readonly headers!: Readonly<Record<string, string>>;
  @Field(text({ type: 'string', description: 'The event, as JSON.' })) readonly body!: string;
}

/** A delivery with its request and all attempts that are remembered. */
@Resource('DeliveryDetails')
export class DeliveryDetailsDto extends DeliveryDto {
  @Field(listOf(written(AttemptDto), { description: 'Those that are remembered, the newest first.' }))
  readonly attempts: readonly AttemptDto[];

  @Field(written(DeliveryRequestDto), optional)
  readonly request: DeliveryRequestDto | undefined;

  /** @param request undefined: the bank no longer has the event */
  constructor(delivery: Delivery, request: DeliveryRequestDto | undefined) {
    super(delivery);
    this.attempts = delivery.attempts.map((attempt) => new AttemptDto(attempt));
    this.request = request;
  }
}

/** What will be delivered again. */
@Resource('Redelivery')
export class RedeliveryDto {
  @Field(ShardsDown) readonly shardsDown!: readonly number[];
  @Field(text(), optional) readonly eventId?: string;
  @Field(Timestamp, optional) readonly since?: string;
}
