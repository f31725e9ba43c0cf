import { Module } from '@nestjs/common';
import { TransactionRateModule } from '../http/transaction-rate.module.js';
import { LedgerModule } from '../ledger/ledger.module.js';
import { TransfersController } from './transfers.controller.js';
import { TransfersService } from './transfers.service.js';

@Module({
  imports: [LedgerModule, TransactionRateModule],
  controllers: [TransfersController],
  providers: [TransfersService],
})
export class TransfersModule {}
