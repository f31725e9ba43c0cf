import { Module } from '@nestjs/common';
import { AccessModule } from '../access/access.module.js';
import { MessagingModule } from '../messaging/messaging.module.js';
import { LedgerModule } from '../ledger/ledger.module.js';
import { RedisModule } from '../redis/redis.module.js';
import { HealthController } from './health.controller.js';
import { Lifecycle } from '../observability/lifecycle.js';
import { MetricsController } from './metrics.controller.js';

@Module({
  imports: [LedgerModule, AccessModule, MessagingModule, RedisModule],
  controllers: [HealthController, MetricsController],
  providers: [Lifecycle],
})
export class HealthModule {}
