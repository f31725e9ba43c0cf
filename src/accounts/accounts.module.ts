import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { RateLimitModule } from '../rate-limit/rate-limit.module.js';
import { AccountsController } from './accounts.controller.js';
import { AccountsService } from './accounts.service.js';

@Module({
  imports: [LedgerModule, RateLimitModule],
  controllers: [AccountsController],
  providers: [AccountsService],
})
export class AccountsModule {}
