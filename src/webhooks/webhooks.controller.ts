import { Controller, Delete, Get, HttpCode, Patch, Post, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { senderOf } from '../access/user.js';
import { Allow } from '../http/access/access.guard.js';
import { Answers, located } from '../http/openapi/answers.js';
import { Incoming } from '../http/validation/incoming.js';
import {
  changeOf,
  creationOf,
  DeliveriesDto,
  DeliveryDetailsDto,
  deliveryListingOf,
  deliveryNameOf,
  RedeliveryDto,
  redeliveryOf,
  rotationOf,
  WebhookDto,
  webhookIdOf,
  webhookListingOf,
  WebhookPageDto,
  WebhookWithSecretDto,
  type DeliveryListing,
  type DeliveryName,
  type Redelivery,
  type Rotation,
  type WebhookChange,
  type WebhookListing,
  type WebhookRequest,
} from './webhooks.dto.js';
import {
  DocumentCreation,
  DocumentDeliveries,
  DocumentDelivery,
  DocumentRedelivery,
  DocumentRemoval,
  DocumentRotation,
  DocumentWebhook,
  DocumentWebhookChange,
  DocumentWebhooks,
} from './webhooks.openapi.js';
import { WebhooksService } from './webhooks.service.js';

@Controller('webhooks')
export class WebhooksController {
  constructor(private readonly webhooks: WebhooksService) {}

  @Allow('webhooks:write')
  @Post()
  @Answers(201, WebhookWithSecretDto)
  @DocumentCreation()
  async create(
    @Incoming(creationOf) wanted: WebhookRequest,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const webhook = await this.webhooks.create(wanted, senderOf(request));
    return located(reply, `/webhooks/${webhook.id}`, webhook);
  }

  @Allow('webhooks:write')
  @Get()
  @Answers(200, WebhookPageDto)
  @DocumentWebhooks()
  list(@Incoming(webhookListingOf) listing: WebhookListing, @Req() request: FastifyRequest) {
    return this.webhooks.list(listing, senderOf(request));
  }

  @Allow('webhooks:write')
  @Get(':webhookId')
  @Answers(200, WebhookDto)
  @DocumentWebhook()
  get(@Incoming(webhookIdOf) webhookId: number, @Req() request: FastifyRequest) {
    return this.webhooks.get(webhookId, senderOf(request));
  }

  @Allow('webhooks:write')
  @Patch(':webhookId')
  @Answers(200, WebhookDto)
  @DocumentWebhookChange()
  change(@Incoming(changeOf) change: WebhookChange, @Req() request: FastifyRequest) {
    return this.webhooks.change(change, senderOf(request));
  }

  @Allow('webhooks:write')
  @Delete(':webhookId')
  @HttpCode(204)
  @DocumentRemoval()
  remove(@Incoming(webhookIdOf) webhookId: number, @Req() request: FastifyRequest) {
    return this.webhooks.remove(webhookId, senderOf(request));
  }

  @Allow('webhooks:write')
  @Post(':webhookId/secret')
  @HttpCode(200)
  @Answers(200, WebhookWithSecretDto)
  @DocumentRotation()
  rotate(@Incoming(rotationOf) rotation: Rotation, @Req() request: FastifyRequest) {
    return this.webhooks.rotate(rotation, senderOf(request));
  }

  @Allow('webhooks:write')
  @Get(':webhookId/deliveries')
  @Answers(200, DeliveriesDto)
  @DocumentDeliveries()
  deliveries(@Incoming(deliveryListingOf) listing: DeliveryListing, @Req() request: FastifyRequest) {
    return this.webhooks.deliveries(listing, senderOf(request));
  }

  @Allow('webhooks:write')
  @Get(':webhookId/deliveries/:eventId')
  @Answers(200, DeliveryDetailsDto)
  @DocumentDelivery()
  inspect(@Incoming(deliveryNameOf) name: DeliveryName, @Req() request: FastifyRequest) {
    return this.webhooks.inspect(name, senderOf(request));
  }

  @Allow('webhooks:write')
  @Post(':webhookId/redeliveries')
  @HttpCode(202)
  @Answers(202, RedeliveryDto)
  @DocumentRedelivery()
  redeliver(@Incoming(redeliveryOf) redelivery: Redelivery, @Req() request: FastifyRequest) {
    return this.webhooks.redeliver(redelivery, senderOf(request));
  }
}
