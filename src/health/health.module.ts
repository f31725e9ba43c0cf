import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { AccessModule } from '../access/access.module.js';
import { MessagingModule } from '../messaging/messaging.module.js';
import { LedgerModule } from '../ledger/ledger.module.js';
import { RedisModule } from '../redis/redis.module.js';
import { HealthController } from './health.controller.js';
import { Lifecycle } from '../observability/lifecycle.js';
import { MetricsController } from './metrics.controller.js';

@Module({
  imports: [
    TerminusModule.forRoot({ logger: false }),
    LedgerModule,
    AccessModule,
    MessagingModule,
    RedisModule,
  ],
  controllers: [HealthController, MetricsController],
  providers: [Lifecycle],
})
export class HealthModule {}
