import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { AccountsModule } from '../accounts/accounts.module.js';
import { AccessModule } from '../access/access.module.js';
import { ConfigModule } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import type { BankShards } from '../sharding/bootstrap-shards.js';
import { ShardingModule } from '../sharding/sharding.module.js';
import { MessagingModule } from '../messaging/messaging.module.js';
import { BatchesModule } from '../batches/batches.module.js';
import { GlobalExceptionFilter } from '../http/exception.filter.js';
import { HoldsModule } from '../holds/holds.module.js';
import { LedgerModule } from '../ledger/ledger.module.js';
import { PendingTransfersModule } from '../ledger/pending-transfers.module.js';
import { SummaryModule } from '../ledger/summary.module.js';
import { SweeperModule } from '../ledger/sweeper.module.js';
import { MetricsModule } from '../observability/metrics.module.js';
import type { Tracing } from '../observability/tracing.js';
import { TracingModule } from '../observability/tracing.module.js';
import { HealthModule } from '../health/health.module.js';
import { LiveEventsModule } from '../live-events/live-events.module.js';
import { SubmissionsModule } from '../submissions/submissions.module.js';
import { StatementsModule } from '../statements/statements.module.js';
import { SummariesModule } from '../summaries/summaries.module.js';
import { TransactionsModule } from '../transactions/transactions.module.js';
import { TransfersModule } from '../transfers/transfers.module.js';
import { DeliveryModule } from '../messaging/webhooks/delivery.module.js';
import { WebhooksModule } from '../webhooks/webhooks.module.js';

/** The ledger without HTTP, as the command line needs it. */
@Module({})
export class CoreModule {
  static register(config: Config, bank: BankShards): DynamicModule {
    const database = ShardingModule.register(config, bank);
    return {
      module: CoreModule,
      imports: [ConfigModule.register(config), MetricsModule, { ...database, global: true }, LedgerModule],
      exports: [LedgerModule],
    };
  }
}

/**
 * The whole service. A request passes the hooks of `http/fastify.ts`, the guard of its route, the idempotency
 * interceptor, validation and the controller. The exception filter answers whatever was thrown.
 */
@Module({})
export class AppModule {
  static register(config: Config, bank: BankShards, tracing?: Tracing): DynamicModule {
    return {
      module: AppModule,
      imports: [
        TracingModule.register(tracing),
        CoreModule.register(config, bank),
        MessagingModule,
        SweeperModule,
        PendingTransfersModule,
        SummaryModule,
        AccessModule,
        AccountsModule,
        TransactionsModule,
        StatementsModule,
        SummariesModule,
        TransfersModule,
        HoldsModule,
        LiveEventsModule,
        BatchesModule,
        SubmissionsModule,
        DeliveryModule,
        WebhooksModule,
        HealthModule,
      ],
      providers: [{ provide: APP_FILTER, useClass: GlobalExceptionFilter }],
    };
  }
}
