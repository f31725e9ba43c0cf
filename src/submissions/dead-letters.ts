import { createHash } from 'node:crypto';
import type { ConfirmChannel, ConsumeMessage, GetMessage, Options } from 'amqplib';
import { readVersion } from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import { parseJsonBody } from '../http/validation/json-body.js';
import {
  isOwn,
  MalformedError,
  readSealed,
  sealed,
  sentAtMs,
  type Claim,
  type QueuedRequest,
  type ShardSeal,
  type Taken,
} from './submission-message.js';
import type { Topology } from './topology.js';

/** Why a message was put aside, and where it came from. */
export interface DeadLetterHeaders {
  readonly 'x-reason': string;
  readonly 'x-shard': number;
  /** The user of the broker who sent it. As a property, only that user could give it. */
  readonly 'x-user'?: string;
}

/** Resolves once the broker has it. @throws when it does not take it in time */
export async function publishConfirmed(
  channel: ConfirmChannel,
  queue: string,
  body: Buffer,
  properties: Options.Publish,
  timeoutMs: number,
): Promise<void> {
  const confirmed = Promise.withResolvers<void>();
  const timer = setTimeout(
    () => confirmed.reject(new Error(`RabbitMQ did not confirm in ${timeoutMs} ms`)),
    timeoutMs,
  );
  channel.publish('', queue, body, properties, (error: unknown) => {
    if (error instanceof Error) confirmed.reject(error);
    else confirmed.resolve();
  });
  await confirmed.promise.finally(() => clearTimeout(timer));
}

/** Puts a request aside, in a message of its own. */
export function publishDeadLetter(
  channel: ConfirmChannel,
  topology: Topology,
  taken: Taken,
  { reason, shard, timeoutMs }: { reason: string; shard: ShardSeal & { index: number }; timeoutMs: number },
): Promise<void> {
  const user: unknown = taken.message.properties.userId;
  const { body, type, headers } = messageFor(taken, shard);
  const why: DeadLetterHeaders = {
    'x-reason': reason,
    'x-shard': shard.index,
    ...(typeof user === 'string' && { 'x-user': user }),
  };
  const properties = { ...propertiesToKeep(taken.message), type, headers: { ...headers, ...why } };
  return publishConfirmed(channel, topology.deadLetters, body, properties, timeoutMs);
}

function messageFor({ message, request }: Taken, { bankId, secret }: ShardSeal) {
  if (isOwn(message) && !(request instanceof MalformedError) && secret !== undefined)
    return sealed([request], { bankId, secret });
  const { type, headers } = message.properties as { type?: string; headers?: object };
  return { body: message.content, type, headers };
}

export function propertiesToKeep({ properties }: ConsumeMessage | GetMessage): Options.Publish {
  const { contentType, type, messageId, timestamp } = properties as Options.Publish;
  return { persistent: true, contentType, type, messageId, timestamp };
}

/** A message that was put aside, and is held until the channel closes or it is settled. */
export interface DeadLetter {
  /** The same letter always has the same one. */
  readonly id: string;
  readonly reason: string;
  readonly shardIndex: number;
  /** In words. */
  readonly sender: string;
  readonly sentAt: Date | undefined;
  readonly body: string;
  /** The key that it would spend, where one can be read, and it is meant for this bank. */
  readonly key: { readonly accountId: number; readonly idempotencyKey: string } | undefined;
  readonly message: GetMessage;
}

/** All that is put aside, the oldest first. What is not settled goes back when the channel closes. */
export async function takeDeadLetters(
  channel: ConfirmChannel,
  topology: Topology,
  bankId: string | undefined,
): Promise<DeadLetter[]> {
  await topology.assertDeadLetters(channel);
  const letters: DeadLetter[] = [];
  for (;;) {
    const message = await channel.get(topology.deadLetters);
    if (message === false) return letters;
    letters.push(letterFrom(message, bankId));
  }
}

function letterFrom(message: GetMessage, bankId: string | undefined): DeadLetter {
  const headers = (message.properties.headers ?? {}) as Readonly<Record<string, unknown>>;
  const { 'x-user': user, 'x-reason': reason, 'x-shard': shard } = headers;
  const digest = createHash('sha256').update(
    JSON.stringify([reason, shard, user, message.properties.timestamp]),
  );
  const sentMs = sentAtMs(message);
  const own = isOwn(message) ? ownRequestIn(message.content) : undefined;
  const body = own?.item ?? message.content.toString();
  return {
    id: digest.update(message.content).digest('hex').slice(0, ID_DIGITS),
    reason: String(reason),
    shardIndex: Number(shard),
    sender: own ? senderIn(own.claim) : typeof user === 'string' ? `user ${user}` : 'nobody',
    sentAt: sentMs === undefined ? undefined : new Date(sentMs),
    body,
    key: headers['bank'] === bankId ? keyIn(body) : undefined,
    message,
  };
}

/** Undefined: somebody else has signed it. */
function ownRequestIn(content: Buffer): QueuedRequest | undefined {
  try {
    return readSealed(content)[0];
  } catch {
    return undefined;
  }
}

const ID_DIGITS = 12;

const senderIn = (claim: Claim): string => ('user' in claim ? `user ${claim.user}` : claim.principal.id);

/** Reads as little as it takes: the rest may be what is wrong with it. */
function keyIn(text: string): DeadLetter['key'] {
  let item: Readonly<Record<string, unknown>>;
  try {
    item = Object(parseJsonBody(text)) as typeof item;
  } catch {
    return undefined;
  }
  const legs = (Array.isArray(item['legs']) ? item['legs'] : []) as { type?: unknown; accountId?: unknown }[];
  const payer = legs.find(({ type }) => typeof type === 'string' && /^(withdraw|debit)$/i.test(type));
  const accountId = readVersion(item['accountId'] ?? item['from'] ?? payer?.accountId);
  const { idempotencyKey: given } = item;
  const idempotencyKey = typeof given === 'string' ? readIdempotencyKey(given) : undefined;
  return accountId === undefined || idempotencyKey === undefined ? undefined : { accountId, idempotencyKey };
}
