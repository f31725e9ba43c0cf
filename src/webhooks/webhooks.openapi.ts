import { applyDecorators } from '@nestjs/common';
import { ApiBody, ApiOperation } from '@nestjs/swagger';
import {
  bodySchema,
  errorResponse,
  invalidRequest,
  jsonResponse,
  Location,
  pathOf,
  plainResponse,
  queryOf,
  READ_FAILURES,
  RequestIdHeader,
  WRITE_FAILURES,
} from '../http/openapi/components.js';
import { PageQueryDto } from '../http/validation/page-query.dto.js';
import {
  ChangeWebhookDto,
  CreateWebhookDto,
  DeliveriesDto,
  DeliveryDetailsDto,
  DeliveryPathDto,
  ListDeliveriesDto,
  RedeliverDto,
  RedeliveryDto,
  RotateSecretDto,
  WebhookDto,
  WebhookPageDto,
  WebhookPathDto,
  WebhookWithSecretDto,
} from './webhooks.dto.js';

const tags = ['Webhooks'];

const WEBHOOK = {
  ...{
    id: 'wh1',
    url: 'https://bookkeeping.example/events',
    eventTypes: ['transaction.posted', 'hold.expired'],
  },
  ...{ status: 'enabled', createdAt: '2025-05-02T10:24:02.123Z', description: 'Bookkeeping' },
};
const WITH_SECRET = { ...WEBHOOK, secret: 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD9xL4oqWrGYw=' };
const ATTEMPT = {
  ...{ number: 3, startedAt: '2025-05-02T10:24:17.004Z', durationMs: 96 },
  ...{ httpStatus: 503, answer: 'upstream is down' },
};
const DELIVERY = {
  ...{ eventId: 'hold132/6', type: 'hold.captured.v1', accountId: 7, status: 'retrying' },
  ...{ lastAttempt: ATTEMPT, firstFailedAt: '2025-05-02T10:24:02.310Z' },
  ...{ nextAttemptAt: '2025-05-02T10:24:51.120Z', waiting: 2 },
};
const REQUEST = {
  url: 'https://bookkeeping.example/events',
  headers: {
    'content-type': 'application/cloudevents+json',
    'user-agent': 'scalable-banking-api',
    'webhook-id': 'hold132/6',
    'webhook-timestamp': '1746181457',
    'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  },
  body: '{"specversion":"1.0","id":"hold132/6", …}',
};

const NOT_FOUND = errorResponse(['WEBHOOK_NOT_FOUND']);
const INVALID_ID = invalidRequest('webhookId', 'must be "wh" and a positive integer, like wh7');
const INVALID_URL = invalidRequest(
  'url',
  'must be a URL like https://example.com/events, of at most 2048 characters',
);
const NOT_CONFIGURED = errorResponse(['OVERLOADED', 'OUTCOME_UNKNOWN', 'WEBHOOKS_NOT_CONFIGURED']);

const documented = (
  operation: Parameters<typeof ApiOperation>[0],
  ...parameters: readonly MethodDecorator[]
): MethodDecorator => applyDecorators(ApiOperation({ tags, ...operation }), ...parameters, RequestIdHeader());

export const DocumentCreation = () =>
  documented(
    {
      operationId: 'createWebhook',
      summary: 'Create a webhook',
      description:
        'From now on its URL gets the events that it asks for, signed as [Standard ' +
        'Webhooks](https://www.standardwebhooks.com) has it. The answer has the secret, which is shown this once. A ' +
        'sender with an owner gets events of that owner’s accounts alone, and the webhook ends with the API key that ' +
        'made it. [Webhooks](/docs/webhooks) explains how to receive them.',
      responses: {
        201: jsonResponse('The webhook.', WebhookWithSecretDto, { webhook: WITH_SECRET }, { Location }),
        400: INVALID_URL,
        422: errorResponse(['TOO_MANY_WEBHOOKS']),
        ...WRITE_FAILURES,
        503: NOT_CONFIGURED,
      },
    },
    ApiBody({
      schema: bodySchema('CreateWebhook', CreateWebhookDto),
      examples: {
        some: {
          summary: 'For some types of events',
          value: {
            ...{
              url: 'https://bookkeeping.example/events',
              eventTypes: ['transaction.posted', 'hold.expired'],
            },
            description: 'Bookkeeping',
          },
        },
        all: {
          summary: 'For all events of an owner',
          value: { url: 'https://bookkeeping.example/all', eventTypes: ['*'], owner: 'ada' },
        },
      },
    }),
  );

export const DocumentWebhooks = () =>
  documented(
    {
      operationId: 'listWebhooks',
      summary: 'List the webhooks',
      description: 'Those that the sender may see, in ascending order of their ids.',
      responses: {
        200: jsonResponse('A page of webhooks.', WebhookPageDto, {
          page: { data: [WEBHOOK], nextCursor: null },
        }),
        400: invalidRequest('limit', 'must be a whole number from 1 to 200'),
        ...READ_FAILURES,
      },
    },
    ...queryOf(PageQueryDto),
  );

export const DocumentWebhook = () =>
  documented(
    {
      operationId: 'getWebhook',
      summary: 'Get a webhook',
      responses: {
        200: jsonResponse('The webhook.', WebhookDto, { webhook: WEBHOOK }),
        400: INVALID_ID,
        404: NOT_FOUND,
        ...READ_FAILURES,
      },
    },
    ...pathOf(WebhookPathDto),
  );

export const DocumentWebhookChange = () =>
  documented(
    {
      operationId: 'changeWebhook',
      summary: 'Change a webhook: its URL, event types, description or status',
      description:
        'What is left out stays as it is; `null` clears `description`. It takes effect within seconds. One that is ' +
        'enabled again gets what it has missed, as far as events are retained. The webhook of an owner then depends on ' +
        'the API key that changed it.',
      responses: {
        200: jsonResponse('The webhook after the change.', WebhookDto, { webhook: WEBHOOK }),
        400: INVALID_URL,
        404: NOT_FOUND,
        ...WRITE_FAILURES,
      },
    },
    ...pathOf(WebhookPathDto),
    ApiBody({
      schema: bodySchema('ChangeWebhook', ChangeWebhookDto, { minProperties: 1 }),
      examples: {
        off: { summary: 'Switch it off', value: { status: 'disabled' } },
        on: {
          summary: 'Switch it on, for all events',
          value: { status: 'enabled', eventTypes: ['*'], description: null },
        },
        moved: { summary: 'Move it', value: { url: 'https://bookkeeping.example/v2/events' } },
      },
    }),
  );

export const DocumentRemoval = () =>
  documented(
    {
      operationId: 'deleteWebhook',
      summary: 'Delete a webhook',
      description: 'Its deliveries end within seconds.',
      responses: {
        204: plainResponse('It is deleted.'),
        400: INVALID_ID,
        404: NOT_FOUND,
        ...READ_FAILURES,
        503: errorResponse(['OVERLOADED', 'OUTCOME_UNKNOWN']),
      },
    },
    // Others are about the first one.
    ...pathOf(WebhookPathDto, { example: 'wh2' }),
  );

export const DocumentRotation = () =>
  documented(
    {
      operationId: 'rotateWebhookSecret',
      summary: 'Replace the secret of a webhook',
      description:
        'The answer has the new secret, which is shown this once. Until `formerSecretEndsAt` each request has a signature ' +
        'by either secret.',
      responses: {
        200: jsonResponse('The webhook, with its new secret.', WebhookWithSecretDto, {
          webhook: { ...WITH_SECRET, formerSecretEndsAt: '2025-05-03T10:24:02.123Z' },
        }),
        400: invalidRequest('overlapHours', 'must be a whole number from 0 to 168'),
        404: NOT_FOUND,
        ...WRITE_FAILURES,
        503: NOT_CONFIGURED,
      },
    },
    ...pathOf(WebhookPathDto),
    ApiBody({
      schema: bodySchema('RotateSecret', RotateSecretDto),
      required: false,
      examples: {
        usual: { summary: 'With an overlap of a day', value: {} },
        leaked: { summary: 'At once, because it leaked', value: { overlapHours: 0 } },
      },
    }),
  );

export const DocumentDeliveries = () =>
  documented(
    {
      operationId: 'listDeliveries',
      summary: 'List the deliveries of a webhook',
      description:
        'All events that it has not accepted, and the last that were sent, each once; the last attempt first.',
      responses: {
        200: jsonResponse('The deliveries.', DeliveriesDto, {
          deliveries: {
            ...{ data: [DELIVERY], dropped: 0, shardsDown: [] },
            failingSince: '2025-05-02T10:24:02.310Z',
          },
        }),
        400: invalidRequest('status', 'must be one of: retrying, given_up, accepted, dropped (in any case)'),
        404: NOT_FOUND,
        ...READ_FAILURES,
      },
    },
    ...pathOf(WebhookPathDto),
    ...queryOf(ListDeliveriesDto),
  );

export const DocumentDelivery = () =>
  documented(
    {
      operationId: 'getDelivery',
      summary: 'Get a delivery: what was sent, and what was answered',
      description:
        'One of those that are listed. `request` has the present URL, and signatures by the present secrets; it is left ' +
        'out when the bank no longer retains the event.',
      responses: {
        200: jsonResponse('The delivery.', DeliveryDetailsDto, {
          delivery: { ...DELIVERY, attempts: [ATTEMPT], request: REQUEST },
        }),
        400: invalidRequest('eventId', 'must be the id of an event, like txn131 or hold132/6'),
        404: errorResponse(['WEBHOOK_NOT_FOUND', 'DELIVERY_NOT_FOUND']),
        ...READ_FAILURES,
      },
    },
    ...pathOf(DeliveryPathDto),
  );

export const DocumentRedelivery = () =>
  documented(
    {
      operationId: 'redeliver',
      summary: 'Deliver events again',
      description:
        'Either one event, which is among the deliveries; or everything since a time, as far as events are retained, and ' +
        'possibly some of the minute before. What was accepted is sent again, too.',
      responses: {
        202: jsonResponse('They will be delivered again.', RedeliveryDto, {
          one: { shardsDown: [], eventId: 'hold132/6' },
          all: { shardsDown: [], since: '2025-05-02T00:00:00.000Z' },
        }),
        400: invalidRequest('body', 'must have eventId or since, and not both'),
        404: errorResponse(['WEBHOOK_NOT_FOUND', 'DELIVERY_NOT_FOUND']),
        422: errorResponse(['TOO_MANY_REDELIVERIES']),
        ...WRITE_FAILURES,
      },
    },
    ...pathOf(WebhookPathDto),
    ApiBody({
      schema: bodySchema('Redeliver', RedeliverDto),
      examples: {
        one: { summary: 'One event', value: { eventId: 'hold132/6' } },
        all: { summary: 'All since a time', value: { since: '2025-05-02T00:00:00Z' } },
      },
    }),
  );
