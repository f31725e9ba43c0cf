import type { BankMessage } from '../bank-event.js';
import { signatureHeaders } from './signature.js';

/**
 * The headers with which an event is sent.
 *
 * @param secrets each of them signs
 * @param at when it is sent
 */
export const deliveryHeaders = (
  secrets: readonly string[],
  { id, body, traceparent }: BankMessage,
  at: Date,
) => ({
  'content-type': 'application/cloudevents+json',
  'user-agent': 'scalable-banking-api',
  ...(traceparent !== undefined && { traceparent }),
  ...signatureHeaders(secrets, id, at, body),
});
