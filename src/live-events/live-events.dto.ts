import type { FastifyRequest } from 'fastify';
import { accountIdOf } from '../http/validation/account-path.dto.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { reads } from '../http/validation/incoming.js';
import { parsePositiveInteger } from '../http/validation/positive-integer.js';

export const LAST_EVENT_ID = 'Last-Event-ID';

/** GET /accounts/{accountId}/events */
export interface AccountEventsRequest {
  readonly accountId: number;
  /** The version after which events are wanted; undefined: those from now on. */
  readonly after: number | undefined;
}

export const accountEventsOf = reads({}, (request): AccountEventsRequest => {
  const accountId = accountIdOf(request);
  const id = lastEventIdOf(request);
  const after = id === undefined ? undefined : parsePositiveInteger(id);
  if (id !== undefined && after === undefined) {
    throw InvalidRequestError.of(LAST_EVENT_ID, 'must be a version of the account');
  }
  return { accountId, after };
});

/** GET /events. @returns the id of the last event as it was sent; undefined: events from now on are wanted */
export const bankEventsOf = reads({}, lastEventIdOf);

export const noPlaceInLog = () =>
  InvalidRequestError.of(LAST_EVENT_ID, 'is not an id of an event of this bank');

function lastEventIdOf({ headers }: FastifyRequest): string | undefined {
  return [headers['last-event-id'] ?? []].flat()[0];
}
