import { createHash } from 'node:crypto';
import type { ConfirmChannel, ConsumeMessage, GetMessage, Options } from 'amqplib';
import { readVersion } from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import { parseJsonBody } from '../http/validation/json-body.js';
import {
  isOwn,
  MalformedError,
  parseOwn,
  sealed,
  sentAtMs,
  type Claim,
  type ShardSeal,
  type Taken,
} from './submission-message.js';
import type { Topology } from './topology.js';

/** What the service says of a message that it puts aside. Nothing else that its sender said in headers is kept. */
interface DeadLetterHeaders {
  readonly 'x-reason': string;
  readonly 'x-shard': number;
  /** The user of the broker who sent it. As a property, only that user could give it. */
  readonly 'x-user'?: string;
  /** As the sender said. */
  readonly bank?: string;
  /** Only where the service itself has sent it, which was checked. */
  readonly signature?: string;
}

/**
 * Resolves once the broker has it. Use a channel on which nothing else is being published.
 *
 * @throws when the queue is missing, or the broker does not take it in time
 */
export async function publishConfirmed(
  channel: ConfirmChannel,
  queue: string,
  body: Buffer,
  properties: Options.Publish,
  timeoutMs: number,
): Promise<void> {
  const confirmed = Promise.withResolvers<void>();
  const fail = (why: string) => confirmed.reject(new Error(`RabbitMQ ${why}`));
  const timer = setTimeout(() => fail(`did not confirm in ${timeoutMs} ms`), timeoutMs);
  // A return precedes the confirm of the same message.
  const onReturn = () => fail(`has no queue ${queue}`);
  channel.on('return', onReturn);
  try {
    channel.publish('', queue, body, { ...properties, mandatory: true }, (error: unknown) => {
      if (error instanceof Error) confirmed.reject(error);
      else confirmed.resolve();
    });
    await confirmed.promise;
  } finally {
    clearTimeout(timer);
    channel.off('return', onReturn);
  }
}

/** Puts a request aside, in a message of its own. */
export function publishDeadLetter(
  channel: ConfirmChannel,
  topology: Topology,
  taken: Taken,
  { reason, shard, timeoutMs }: { reason: string; shard: ShardSeal & { index: number }; timeoutMs: number },
): Promise<void> {
  const user: unknown = taken.message.properties.userId;
  const { body, type, headers: kept } = messageFor(taken, shard);
  const headers: DeadLetterHeaders = {
    ...{ ...kept, 'x-reason': reason, 'x-shard': shard.index },
    ...(typeof user === 'string' && { 'x-user': user }),
  };
  const properties = { ...propertiesToKeep(taken.message), type, headers };
  return publishConfirmed(channel, topology.deadLetters, body, properties, timeoutMs);
}

function messageFor({ message, request }: Taken, { bankId, secret }: ShardSeal) {
  if (isOwn(message) && !(request instanceof MalformedError) && secret !== undefined)
    return sealed([request], { bankId, secret });
  const { type, headers } = message.properties as { type?: string; headers?: { bank?: unknown } };
  const bank = headers?.bank;
  return { body: message.content, type, headers: typeof bank === 'string' ? { bank } : {} };
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
  /** The key that discarding it spends. Undefined unless the service had accepted it: other senders could name any account. */
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
  const own = isOwn(message) ? parseOwn(message.content)[0] : undefined;
  return {
    id: digest.update(message.content).digest('hex').slice(0, ID_DIGITS),
    reason: String(reason),
    shardIndex: Number(shard),
    sender: own ? senderIn(own.claim) : typeof user === 'string' ? `user ${user}` : 'nobody',
    sentAt: sentMs === undefined ? undefined : new Date(sentMs),
    body: own?.item ?? message.content.toString(),
    key: own && 'principal' in own.claim && headers['bank'] === bankId ? keyIn(own.item) : undefined,
    message,
  };
}

const ID_DIGITS = 12;

const senderIn = (claim: Claim): string => ('user' in claim ? `user ${claim.user}` : claim.principal.id);

/** Reads as little as it takes: the rest may be what is wrong with it. */
function keyIn(text: string): DeadLetter['key'] {
  const item = parseJsonBody(text) as Readonly<Record<string, unknown>>;
  const legs = (item['legs'] ?? []) as readonly { type: string; accountId: unknown }[];
  const payer = legs.find(({ type }) => /^(withdraw|debit)$/i.test(type));
  const accountId = readVersion(item['accountId'] ?? item['from'] ?? payer?.accountId);
  const idempotencyKey = readIdempotencyKey(String(item['idempotencyKey']));
  return accountId === undefined || idempotencyKey === undefined ? undefined : { accountId, idempotencyKey };
}
