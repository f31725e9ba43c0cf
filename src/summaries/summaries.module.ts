import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { SummariesController } from './summaries.controller.js';

@Module({ imports: [LedgerModule], controllers: [SummariesController] })
export class SummariesModule {}
