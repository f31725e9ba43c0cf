import type { IncomingHttpHeaders } from 'node:http';
import { InvalidRequestError } from './invalid-request.js';

/** The one preference of RFC 7240 that the service knows: to be answered before the request is carried out. */
export const RESPOND_ASYNC = 'respond-async';

/** @throws InvalidRequestError for a preference that the service does not know */
export function checkPreferences(headers: IncomingHttpHeaders): void {
  const unknown = preferencesIn(headers).find((preference) => preference !== RESPOND_ASYNC);
  if (unknown === undefined) return;
  throw InvalidRequestError.of('Prefer', `is not supported here, except for ${RESPOND_ASYNC}`);
}

export const prefersAsync = (headers: IncomingHttpHeaders): boolean =>
  headers.prefer !== undefined && preferencesIn(headers).includes(RESPOND_ASYNC);

function preferencesIn({ prefer = '' }: IncomingHttpHeaders): string[] {
  return [prefer]
    .flat()
    .join(',')
    .split(',')
    .map((preference) => preference.trim().toLowerCase());
}
