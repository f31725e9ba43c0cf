import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { StatementsController } from './statements.controller.js';
import { StatementsService } from './statements.service.js';

@Module({
  imports: [LedgerModule],
  controllers: [StatementsController],
  providers: [StatementsService],
})
export class StatementsModule {}
