import type { ConsumeMessage, GetMessage, Options } from 'amqplib';
import type { Principal, Scope } from '../access/principal.js';
import { LedgerError } from '../domain/errors.js';
import { decodeUtf8 } from '../http/validation/decode-utf8.js';
import { isSignatureOf, signatureOf } from './signature.js';

/** Of the messages in which the service queues what it has accepted; those of other services are `submission.v1`. */
const OWN_TYPE = 'submissions.v1';

/** Who sends a request, as its message says. */
export type Claim =
  /** One whom the service has let in. `at`: when, in milliseconds since 1970. */
  | { readonly principal: Principal; readonly at: number }
  /** A user of the broker, which has checked that. */
  | { readonly user: string };

/** A request that waits to be decided. */
export interface QueuedRequest {
  readonly claim: Claim;
  /** An item of a batch, as JSON. */
  readonly item: string;
}

/** The message, or the request in it, can't be a submission. It is put aside with the reason. */
export class MalformedError extends Error {}

/** A request of a message that was taken from the queue, or why there is none. */
export interface Taken {
  readonly message: ConsumeMessage;
  readonly request: QueuedRequest | MalformedError;
}

/** A bank's shard, as its messages name it. */
export interface ShardSeal {
  readonly bankId: string;
  /** Undefined: it is not known yet. */
  readonly secret: string | undefined;
}

/** What is published. */
export interface SealedMessage {
  readonly body: Buffer;
  readonly type: string;
  readonly headers: { readonly bank: string; readonly signature: string };
}

type WrittenClaim =
  | {
      readonly principal: { readonly id: string; readonly owner?: string; readonly scopes: readonly Scope[] };
      readonly at: number;
    }
  | { readonly user: string };

/** One message for several requests, because its cost hardly depends on its size. Signed, so that only the service can speak for its users. */
export function sealed(
  requests: readonly QueuedRequest[],
  { bankId, secret }: { readonly bankId: string; readonly secret: string },
): SealedMessage {
  const body = Buffer.from(JSON.stringify(requests.map(({ claim, item }) => [written(claim), item])));
  return { body, type: OWN_TYPE, headers: { bank: bankId, signature: signatureOf(secret, 'message', body) } };
}

function written(claim: Claim): WrittenClaim {
  if (!('principal' in claim)) return claim;
  const { id, owner, scopes } = claim.principal;
  return { principal: { id, owner, scopes: [...scopes] }, at: claim.at };
}

export const propertiesOf = (
  type: string,
  headers: SealedMessage['headers'],
  messageId: string,
): Options.Publish => ({
  persistent: true,
  mandatory: true,
  contentType: 'application/json',
  type,
  messageId,
  timestamp: Math.floor(Date.now() / 1000),
  headers,
});

/** Whether a message says that the service itself has sent it. */
export const isOwn = ({ properties }: ConsumeMessage | GetMessage): boolean =>
  properties.headers?.['signature'] !== undefined;

/**
 * The requests of a message.
 *
 * @throws MalformedError; LedgerError DATABASE_FAILED while the secret is not known
 */
export function requestsIn(message: ConsumeMessage, { bankId, secret }: ShardSeal): readonly QueuedRequest[] {
  const { content, properties } = message;
  const { bank, signature } = (properties.headers ?? {}) as Readonly<Record<string, unknown>>;
  if (bank !== bankId) throw new MalformedError(`the header bank must be the bank's id, which is ${bankId}`);
  if (isOwn(message)) {
    // The shard has not been open since the start of the process.
    if (secret === undefined) throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion: null });
    if (typeof signature !== 'string' || !isSignatureOf(signature, secret, 'message', content))
      throw new MalformedError('its signature is not the one of this bank');
    return parseOwn(content);
  }
  // The broker refuses a message whose sender gives another user than their own.
  const user: unknown = properties.userId;
  if (typeof user !== 'string' || user === '')
    throw new MalformedError("the property user_id must be the sender's user of the broker");
  const item = decodeUtf8(content);
  if (item === undefined) throw new MalformedError('body is not valid UTF-8');
  return [{ claim: { user }, item }];
}

/** Reads what {@link sealed} has written. Check first that it was. */
export function parseOwn(body: Buffer): readonly QueuedRequest[] {
  const requests = JSON.parse(body.toString()) as [WrittenClaim, string][];
  return requests.map(([claim, item]) => ({ claim: read(claim), item }));
}

function read(claim: WrittenClaim): Claim {
  if (!('principal' in claim)) return claim;
  const { id, owner, scopes } = claim.principal;
  return { principal: { id, owner, scopes: new Set(scopes) }, at: claim.at };
}

/** When a message was sent, in milliseconds since 1970; undefined: it does not say. */
export function sentAtMs({ properties }: ConsumeMessage | GetMessage): number | undefined {
  const { timestamp } = properties as { readonly timestamp?: unknown };
  return typeof timestamp === 'number' ? timestamp * 1000 : undefined;
}
