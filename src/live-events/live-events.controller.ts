import { Controller, Get, Inject, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { requireScope } from '../access/access-errors.js';
import type { Principal } from '../access/principal.js';
import { senderOf, userOf } from '../access/user.js';
import type { Config } from '../config/config.js';
import { CONFIG } from '../config/config.module.js';
import { Allow, principalNow } from '../http/access/access.guard.js';
import { EVENT_STREAM_MEDIA_TYPE, EventStream } from '../http/server/event-stream.js';
import { Incoming } from '../http/validation/incoming.js';
import { EventStreams } from './event-streams.js';
import { accountEventsOf, bankEventsOf, type AccountEventsRequest } from './live-events.dto.js';
import { DocumentAccountEvents, DocumentBankEvents } from './live-events.openapi.js';
import { LiveEventsService, type Listening } from './live-events.service.js';

/** A request for events, and its answer, which the controller sends by itself: it is a stream. */
interface Exchange {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  /** Whether its sender may still get events. @throws why not */
  readonly check: (principal: Principal) => Promise<void> | void;
}

@Controller()
export class LiveEventsController {
  constructor(
    private readonly events: LiveEventsService,
    private readonly streams: EventStreams,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  @Allow('transactions:read')
  @Get('accounts/:accountId/events')
  @DocumentAccountEvents()
  ofAccount(
    @Incoming(accountEventsOf) wanted: AccountEventsRequest,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const sender = senderOf(request);
    const check = (principal: Principal) => {
      requireScope(principal, 'transactions:read');
      return this.events.checkOwner(wanted.accountId, sender);
    };
    return this.answer(() => this.events.ofAccount(wanted, sender), { request, reply, check });
  }

  @Allow('admin')
  @Get('events')
  @DocumentBankEvents()
  ofBank(
    @Incoming(bankEventsOf) lastId: string | undefined,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const check = (principal: Principal) => requireScope(principal, 'admin');
    return this.answer(() => this.events.ofBank(lastId, userOf(request)), { request, reply, check });
  }

  private async answer(open: () => Promise<Listening>, { request, reply, check }: Exchange): Promise<void> {
    const free = this.streams.take(userOf(request));
    try {
      const listening = await open();
      // It went away while it waited.
      if (request.raw.socket.destroyed) return void reply.send();
      if (request.method === 'HEAD') return void reply.type(EVENT_STREAM_MEDIA_TYPE).send();
      const stream = new EventStream(this.config.http.answerTimeoutMs);
      stream.begin(reply, this.config.events.retryMs, listening.id);
      await this.streams.fill(
        stream,
        () => listening.listen(stream),
        async () => check(await principalNow(request)),
      );
    } finally {
      free();
    }
  }
}
