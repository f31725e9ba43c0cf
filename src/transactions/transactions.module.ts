import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { RateLimitModule } from '../rate-limit/rate-limit.module.js';
import { BatchController } from './batch.controller.js';
import { BatchService } from './batch.service.js';
import { TransactionsController } from './transactions.controller.js';
import { TransactionsService } from './transactions.service.js';

@Module({
  imports: [LedgerModule, RateLimitModule],
  controllers: [TransactionsController, BatchController],
  providers: [TransactionsService, BatchService],
})
export class TransactionsModule {}
