import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { AccountsModule } from './accounts/accounts.module.js';
import { AuthModule } from './auth/auth.module.js';
import { ConfigModule } from './config.module.js';
import type { Config } from './config.js';
import type { BankShards } from './database/bank-shards.js';
import { DatabaseModule } from './database/database.module.js';
import { EventsModule } from './events/events.module.js';
import { GlobalExceptionFilter } from './http/exception.filter.js';
import { LedgerModule } from './ledger/ledger.module.js';
import { MetricsModule } from './observability/metrics.module.js';
import { ObservabilityModule } from './observability/observability.module.js';
import { TransactionsModule } from './transactions/transactions.module.js';

/** The ledger without HTTP: what the command line needs. */
@Module({})
export class CoreModule {
  static register(config: Config, bank: BankShards): DynamicModule {
    const database = DatabaseModule.register(config, bank);
    return {
      module: CoreModule,
      imports: [ConfigModule.register(config), MetricsModule, { ...database, global: true }, LedgerModule],
      exports: [LedgerModule],
    };
  }
}

/**
 * The whole service. A request passes: the hooks of `http/fastify.ts`, the guard of its route (`auth/access.ts`), the idempotency interceptor (where money moves),
 * the pipes, the controller (where money moves it asks the rate limit first); the exception filter answers for whatever was thrown.
 */
@Module({})
export class AppModule {
  static register(config: Config, bank: BankShards): DynamicModule {
    return {
      module: AppModule,
      imports: [
        CoreModule.register(config, bank),
        EventsModule,
        AuthModule,
        AccountsModule,
        TransactionsModule,
        ObservabilityModule,
      ],
      providers: [{ provide: APP_FILTER, useClass: GlobalExceptionFilter }],
    };
  }
}
