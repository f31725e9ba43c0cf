import type { ConsumeMessage, GetMessage, Options } from 'amqplib';
import type { Principal, Scope } from '../access/principal.js';
import { isSignatureOf, signatureOf } from './signature.js';

const TYPE = 'submission.v1';

/** Who sends a message, as it says itself. */
export type Claim =
  /** One whom the service has let in. `at`: when, in milliseconds since 1970. */
  | { readonly principal: Principal; readonly at: number }
  /** A user of the broker, which has checked that. */
  | { readonly user: string };

/** The message can't be a submission. It is put aside with the reason. */
export class MalformedError extends Error {}

/** A bank's shard, as its messages name it. */
export interface ShardSeal {
  readonly bankId: string;
  /** Undefined: it is not known yet. */
  readonly secret: string | undefined;
}

/** What the service adds to a message of its own. */
export interface OwnHeaders {
  bank: string;
  claim: string;
  signature: string;
}

interface WrittenPrincipal {
  readonly id: string;
  readonly owner?: string;
  readonly scopes: readonly Scope[];
}

/** Signed, so that only the service can send in the name of its users. */
export function ownHeaders(
  claim: Claim,
  body: Buffer,
  { bankId, secret }: { readonly bankId: string; readonly secret: string },
): OwnHeaders {
  const text = JSON.stringify(
    'principal' in claim ? { ...claim, principal: written(claim.principal) } : claim,
  );
  return { bank: bankId, claim: text, signature: signatureOf(secret, 'message', text, body) };
}

export const propertiesOf = (headers: OwnHeaders, messageId?: string): Options.Publish => ({
  persistent: true,
  mandatory: true,
  contentType: 'application/json',
  type: TYPE,
  messageId,
  timestamp: Math.floor(Date.now() / 1000),
  headers,
});

const written = ({ id, owner, scopes }: Principal): WrittenPrincipal => ({ id, owner, scopes: [...scopes] });

/**
 * Who sends a message.
 *
 * @throws MalformedError
 */
export function readClaim({ content, properties }: ConsumeMessage, { bankId, secret }: ShardSeal): Claim {
  const headers = (properties.headers ?? {}) as Readonly<Record<string, unknown>>;
  if (headers['bank'] !== bankId)
    throw new MalformedError(`the header bank must be the bank's id, which is ${bankId}`);
  const { claim, signature } = headers;
  if (signature !== undefined) {
    const signed =
      typeof claim === 'string' &&
      typeof signature === 'string' &&
      secret !== undefined &&
      isSignatureOf(signature, secret, 'message', claim, content);
    if (!signed) throw new MalformedError('its signature is not the one of this bank');
    return claimFrom(claim);
  }
  // The broker refuses a message whose sender gives another user than their own.
  const user: unknown = properties.userId;
  if (typeof user !== 'string' || user === '')
    throw new MalformedError("the property user_id must be the sender's user of the broker");
  return { user };
}

function claimFrom(text: string): Claim {
  const claim = JSON.parse(text) as { principal: WrittenPrincipal; at: number } | { user: string };
  if ('user' in claim) return claim;
  const { principal, at } = claim;
  return { principal: { id: principal.id, owner: principal.owner, scopes: new Set(principal.scopes) }, at };
}

/** When a message was sent, in milliseconds since 1970; undefined: it does not say. */
export function sentAtMs({ properties }: ConsumeMessage | GetMessage): number | undefined {
  const { timestamp } = properties as { readonly timestamp?: unknown };
  return typeof timestamp === 'number' ? timestamp * 1000 : undefined;
}
