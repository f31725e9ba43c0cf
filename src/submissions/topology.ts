import type { Channel, Options } from 'amqplib';

/** Where the submissions of a bank are on the broker. All names begin with that of the exchange for events. */
export class Topology {
  /** Takes the submissions of other services. The routing key is the number of the shard. */
  readonly exchange: string;
  /** What can't be read, with the reason. */
  readonly deadLetters: string;

  /** @param maxQueued the most submissions of one shard that wait */
  constructor(
    eventExchange: string,
    private readonly maxQueued: number,
  ) {
    this.exchange = `${eventExchange}.submissions`;
    this.deadLetters = `${this.exchange}.dead`;
  }

  queueOf(shardIndex: number): string {
    return `${this.exchange}.${shardIndex}`;
  }

  /** Makes what is missing. */
  async assert(channel: Channel, shardIndex: number): Promise<void> {
    const queue = this.queueOf(shardIndex);
    await channel.assertExchange(this.exchange, 'direct', { durable: true });
    await channel.assertQueue(queue, {
      ...DURABLE,
      arguments: {
        ...QUORUM,
        // Two at a time would take an account's submissions out of order.
        'x-single-active-consumer': true,
        'x-max-length': this.maxQueued,
        'x-overflow': 'reject-publish',
      },
    });
    await channel.bindQueue(queue, this.exchange, String(shardIndex));
    await this.assertDeadLetters(channel);
  }

  async assertDeadLetters(channel: Channel): Promise<void> {
    // The oldest ones go when there are too many: a sender of nonsense must not hold up the others, nor fill the disk.
    const limits = { 'x-max-length': this.maxQueued, 'x-overflow': 'drop-head' };
    await channel.assertQueue(this.deadLetters, { ...DURABLE, arguments: { ...QUORUM, ...limits } });
  }
}

const DURABLE: Options.AssertQueue = { durable: true };

/**
 * The limit is never reached: RabbitMQ 4 would drop a message that consumers have left behind 20 times. It also makes the
 * broker put what comes back to the front of the queue, not to its end.
 */
const QUORUM = { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000_000 };
