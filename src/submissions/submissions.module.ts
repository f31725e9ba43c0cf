import { Inject, Logger, Module, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { ApiKeyStore } from '../access/api-key-store.js';
import { BatchPreparation } from '../batches/batch-preparation.js';
import { BatchesModule } from '../batches/batches.module.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { Ledger } from '../domain/ports.js';
import { TRANSACTION_RATE, TransactionRateModule } from '../http/transaction-rate.module.js';
import type { TransactionRate } from '../http/transaction-rate.js';
import { LedgerModule } from '../ledger/ledger.module.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { MessagingModule, RABBITMQ } from '../messaging/messaging.module.js';
import type { RabbitMqConnection } from '../messaging/rabbitmq-connection.js';
import { Metrics } from '../observability/metrics.js';
import { SHARDS } from '../sharding/sharding.module.js';
import type { Shard } from '../sharding/shard.js';
import type { Acceptance } from './accept-submissions.js';
import { Senders } from './senders.js';
import { SubmissionConsumer } from './submission-consumer.js';
import { SubmissionPoster } from './submission-poster.js';
import { SubmissionPublisher } from './submission-publisher.js';
import { SubmissionsController } from './submissions.controller.js';
import { SubmissionsService } from './submissions.service.js';
import { Topology } from './topology.js';

/** The injection token of the {@link Acceptance}; undefined: there is no broker, so nothing is queued. */
export const ACCEPTANCE = Symbol('ACCEPTANCE');
const CONSUMERS = Symbol('CONSUMERS');

/** Postings that are accepted before they are decided: one queue and one consumer per shard. */
@Module({
  imports: [LedgerModule, MessagingModule, BatchesModule, TransactionRateModule],
  controllers: [SubmissionsController],
  providers: [
    SubmissionsService,
    {
      provide: ACCEPTANCE,
      inject: [CONFIG, SHARDS, RABBITMQ, Ledger, TRANSACTION_RATE, Metrics],
      useFactory: createAcceptance,
    },
    {
      provide: CONSUMERS,
      inject: [CONFIG, SHARDS, RABBITMQ, Ledger, AccountOwners, BatchPreparation, Metrics],
      useFactory: createConsumers,
    },
  ],
})
export class SubmissionsModule implements OnModuleInit, OnModuleDestroy {
  constructor(@Inject(CONSUMERS) private readonly consumers: SubmissionConsumer[]) {}

  onModuleInit(): void {
    for (const consumer of this.consumers) consumer.start();
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.consumers.map((consumer) => consumer.stop()));
  }
}

function createAcceptance(
  { rabbitmq, submissions }: Config,
  shards: readonly Shard[],
  broker: RabbitMqConnection | undefined,
  ledger: Ledger,
  rate: TransactionRate | undefined,
  metrics: Metrics,
): Acceptance | undefined {
  if (!broker || !rabbitmq) return undefined;
  const topology = new Topology(rabbitmq.exchange, submissions.maxQueued);
  const parts = shards.map((shard) => ({
    get submissionSecret() {
      return shard.submissionSecret;
    },
    publisher: new SubmissionPublisher(
      ...([broker, topology, shard.identity.bankId] as const),
      { ...submissions, shardIndex: shard.index },
      metrics.forSubmissions(shard.index),
    ),
  }));
  return { ledger, rate, shards: parts };
}

function createConsumers(
  { rabbitmq, submissions, auth }: Config,
  shards: readonly Shard[],
  broker: RabbitMqConnection | undefined,
  ledger: Ledger,
  owners: AccountOwners,
  preparation: BatchPreparation,
  metrics: Metrics,
): SubmissionConsumer[] {
  const [first] = shards;
  if (!broker || !rabbitmq || !first) return [];
  const logger = new Logger('Submissions');
  const topology = new Topology(rabbitmq.exchange, submissions.maxQueued);
  const store = first.keys && new ApiKeyStore(first.keys, first.address.schema);
  const senders = new Senders(store, auth.keysStaleMs);
  return shards.map((shard) => {
    const { index } = shard;
    const seal = {
      ...{ bankId: shard.identity.bankId, index },
      get secret() {
        return shard.submissionSecret;
      },
    };
    const poster = new SubmissionPoster(ledger, owners, preparation, senders, index);
    return new SubmissionConsumer(
      ...([broker, topology, poster, seal, submissions.confirmTimeoutMs] as const),
      metrics.forSubmissions(index),
      {
        failing: (error) =>
          logger.warn({ msg: `shard ${index}: submissions wait and are tried again`, err: error }),
        recovered: () => logger.log(`shard ${index}: submissions are posted again`),
        deadLettered: (reason, error) =>
          logger.warn({ msg: `shard ${index}: a submission was put aside: ${reason}`, err: error }),
      },
    );
  });
}
