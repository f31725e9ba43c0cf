import { Module } from '@nestjs/common';
import { TransactionRateModule } from '../http/transaction-rate.module.js';
import { LedgerModule } from '../ledger/ledger.module.js';
import { HoldsController } from './holds.controller.js';
import { HoldsService } from './holds.service.js';

@Module({
  imports: [LedgerModule, TransactionRateModule],
  controllers: [HoldsController],
  providers: [HoldsService],
})
export class HoldsModule {}
