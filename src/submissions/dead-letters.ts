import type { ConfirmChannel, ConsumeMessage, GetMessage, Options } from 'amqplib';
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
