import { Module } from '@nestjs/common';
import { EndpointsModule } from '../messaging/webhooks/endpoints.module.js';
import { WebhooksController } from './webhooks.controller.js';
import { WebhooksService } from './webhooks.service.js';

@Module({
  imports: [EndpointsModule],
  controllers: [WebhooksController],
  providers: [WebhooksService],
})
export class WebhooksModule {}
