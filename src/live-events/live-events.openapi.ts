import { applyDecorators } from '@nestjs/common';
import { ApiHeader, ApiOperation } from '@nestjs/swagger';
import {
  AccountIdParameter,
  errorResponse,
  invalidRequest,
  plainResponse,
  READ_FAILURES,
  RequestIdHeader,
  TOO_MANY_REQUESTS,
} from '../http/openapi/components.js';
import { EVENT_STREAM_MEDIA_TYPE } from '../http/server/event-stream.js';
import { LAST_EVENT_ID } from './live-events.dto.js';

const DATA =
  '{"specversion":"1.0","id":"txn131","source":"urn:uuid:6f1f3c0e-58c5-4c5e-9a5b-3a8f4f1f2f60",' +
  '"type":"transaction.posted.v1","subject":"accounts/1","time":"2026-05-01T12:00:00.123Z",' +
  '"datacontenttype":"application/json","data":{"transactionId":"txn131","accountId":1,"type":"Deposit",' +
  '"amount":"100.25","balance":"450.75","version":8}}';

const stream = (before: string, id: string) =>
  plainResponse(
    'Events, until the client ends the connection, or the service does.',
    {},
    {
      [EVENT_STREAM_MEDIA_TYPE]: {
        schema: { type: 'string', description: 'Server-sent events. `data` is a CloudEvent 1.0 in JSON.' },
        example: `retry: 1000\nid: ${before}\n\nevent: transaction.posted.v1\nid: ${id}\ndata: ${DATA}\n\n`,
      },
    },
  );

/** Shards that are down are waited for. */
const SHARDS_AWAITED = Object.fromEntries(
  Object.entries(READ_FAILURES).filter(([status]) => status !== '408'),
);

const LastEventIdHeader = (pattern: string) =>
  ApiHeader({
    name: LAST_EVENT_ID,
    description: 'The `id` of the last event: those after it are sent first. Without it, events begin now.',
    schema: { type: 'string', pattern },
  });

export const DocumentAccountEvents = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags: ['Accounts'],
      operationId: 'streamAccountEvents',
      summary: 'Stream the events of an account',
      description:
        'What happens to the account, as it happens. The `id` of an event is the version of the account. ' +
        '[Live events](/docs/api#live-events).',
      responses: {
        200: stream('7', '8'),
        400: invalidRequest(LAST_EVENT_ID, 'must be a version of the account'),
        404: errorResponse(['ACCOUNT_NOT_FOUND', 'VERSION_NOT_REACHED']),
        429: TOO_MANY_REQUESTS,
        ...READ_FAILURES,
      },
    }),
    ...AccountIdParameter(),
    LastEventIdHeader(String.raw`^[1-9]\d{0,15}$`),
    RequestIdHeader(),
  );

export const DocumentBankEvents = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags: ['Operations'],
      operationId: 'streamEvents',
      summary: 'Stream the events of the bank',
      description:
        'Everything that happens in the bank, as it happens. The `id` of an event is a place in the log of each shard. ' +
        '[Live events](/docs/api#live-events).',
      responses: {
        200: stream('1041', '1042'),
        400: invalidRequest(LAST_EVENT_ID, 'is not an id of an event of this bank'),
        410: errorResponse(['EVENTS_GONE']),
        429: TOO_MANY_REQUESTS,
        ...SHARDS_AWAITED,
      },
    }),
    LastEventIdHeader(String.raw`^(-|\d{1,16}(\.\d{1,5})?)(,(-|\d{1,16}(\.\d{1,5})?))*$`),
    RequestIdHeader(),
  );
