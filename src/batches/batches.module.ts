import { Module } from '@nestjs/common';
import { TransactionRateModule } from '../http/transaction-rate.module.js';
import { LedgerModule } from '../ledger/ledger.module.js';
import { BatchPreparation } from './batch-preparation.js';
import { BatchController } from './batch.controller.js';
import { BatchService } from './batch.service.js';

@Module({
  imports: [LedgerModule, TransactionRateModule],
  controllers: [BatchController],
  providers: [BatchService, BatchPreparation],
  exports: [BatchPreparation],
})
export class BatchesModule {}
