import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { TransactionRateModule } from '../http/transaction-rate.module.js';
import { BatchController } from './batch.controller.js';
import { BatchService } from './batch.service.js';
import { TransactionsController } from './transactions.controller.js';
import { TransactionsService } from './transactions.service.js';

@Module({
  imports: [LedgerModule, TransactionRateModule],
  controllers: [TransactionsController, BatchController],
  providers: [TransactionsService, BatchService],
})
export class TransactionsModule {}
