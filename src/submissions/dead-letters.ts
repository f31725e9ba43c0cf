import { createHash } from 'node:crypto';
import type { ConfirmChannel, ConsumeMessage, GetMessage, Options } from 'amqplib';
import { readVersion } from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import { parseJsonBody } from '../http/validation/json-body.js';
import { sentAtMs } from './submission-message.js';
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

/** Puts a message aside. */
export function publishDeadLetter(
  channel: ConfirmChannel,
  topology: Topology,
  message: ConsumeMessage,
  { reason, shardIndex, timeoutMs }: { reason: string; shardIndex: number; timeoutMs: number },
): Promise<void> {
  const { content, properties } = message;
  const user: unknown = properties.userId;
  const headers: DeadLetterHeaders = {
    ...properties.headers,
    'x-reason': reason,
    'x-shard': shardIndex,
    ...(typeof user === 'string' && { 'x-user': user }),
  };
  return publishConfirmed(
    channel,
    topology.deadLetters,
    content,
    { ...propertiesToKeep(message), headers },
    timeoutMs,
  );
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
  const { claim, 'x-user': user, 'x-reason': reason, 'x-shard': shard } = headers;
  const digest = createHash('sha256').update(
    JSON.stringify([reason, shard, user, claim, message.properties.timestamp]),
  );
  const sentMs = sentAtMs(message);
  return {
    id: digest.update(message.content).digest('hex').slice(0, ID_DIGITS),
    reason: String(reason),
    shardIndex: Number(shard),
    sender:
      typeof user === 'string' ? `user ${user}` : typeof claim === 'string' ? senderIn(claim) : 'nobody',
    sentAt: sentMs === undefined ? undefined : new Date(sentMs),
    body: message.content.toString(),
    key: headers['bank'] === bankId ? keyIn(message.content.toString()) : undefined,
    message,
  };
}

const ID_DIGITS = 12;

function senderIn(claim: string): string {
  const { user, principal } = JSON.parse(claim) as { user?: string; principal?: { id: string } };
  return user === undefined ? (principal?.id ?? 'nobody') : `user ${user}`;
}

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
