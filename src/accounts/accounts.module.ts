import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { TransactionRateModule } from '../http/transaction-rate.module.js';
import { AccountsController } from './accounts.controller.js';
import { AccountsService } from './accounts.service.js';

@Module({
  imports: [LedgerModule, TransactionRateModule],
  controllers: [AccountsController],
  providers: [AccountsService],
})
export class AccountsModule {}
