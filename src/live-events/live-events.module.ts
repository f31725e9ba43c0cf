import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { MessagingModule } from '../messaging/messaging.module.js';
import { EventStreams } from './event-streams.js';
import { LiveEventsController } from './live-events.controller.js';
import { LiveEventsService } from './live-events.service.js';

@Module({
  imports: [LedgerModule, MessagingModule],
  controllers: [LiveEventsController],
  providers: [LiveEventsService, EventStreams],
})
export class LiveEventsModule {}
