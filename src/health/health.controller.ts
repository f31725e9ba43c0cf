import { Controller, Get, Inject, Req, ServiceUnavailableException } from '@nestjs/common';
import {
  HealthCheck,
  HealthCheckService,
  HealthIndicatorService,
  type HealthIndicatorResult,
} from '@nestjs/terminus';
import type { FastifyRequest } from 'fastify';
import { Allow } from '../http/access/access.guard.js';
import type { ApiKeys } from '../access/api-keys.js';
import { API_KEYS } from '../access/access.module.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { RABBITMQ, RELAYS } from '../messaging/messaging.module.js';
import type { OutboxRelay } from '../messaging/outbox-relay.js';
import type { RabbitMqConnection } from '../messaging/rabbitmq-connection.js';
import { isForOperators } from '../http/server/management.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import type { RedisConnection } from '../redis/redis-connection.js';
import { REDIS } from '../redis/redis.module.js';
import { Lifecycle } from '../observability/lifecycle.js';
import { DocumentLiveness, DocumentReadiness } from './health.openapi.js';

@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly reader: LedgerReader,
    private readonly lifecycle: Lifecycle,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(REDIS) private readonly redis: RedisConnection | undefined,
    @Inject(RABBITMQ) private readonly broker: RabbitMqConnection | undefined,
    @Inject(RELAYS) private readonly relays: readonly OutboxRelay[],
    @Inject(API_KEYS) private readonly keys: ApiKeys | undefined,
  ) {}

  /** The process answers; says nothing of the database, for whose trouble a restart is no cure. */
  @Allow('public')
  @Get('live')
  @DocumentLiveness()
  live() {
    return { status: 'ok' };
  }

  /**
   * The service can do its work: it is not stopping, and at least one shard answers. One shard of several that is down
   * shows, but must not take the accounts of all others out of service; nor must what the service can do without. A
   * shard's events show only while they are held up.
   */
  @Allow('public, with more for some')
  @Get('ready')
  @HealthCheck({ noCache: true, swaggerDocumentation: false })
  @DocumentReadiness()
  async ready(@Req() request: FastifyRequest) {
    const detailed = isForOperators(request, this.config);
    try {
      const report = await this.report();
      return detailed ? report : bare(report);
    } catch (error) {
      if (detailed || !(error instanceof ServiceUnavailableException)) throw error;
      throw new ServiceUnavailableException(bare(error.getResponse()));
    }
  }

  private async report(): Promise<object> {
    const problems = await this.reader.problems();
    const serving = !this.lifecycle.stopping && problems.includes(undefined);
    const shards = problems.map((problem, index) => () => this.indicator(`shard-${index}`, problem));
    return this.health
      .check([() => this.service(), ...shards, ...this.optional()])
      .catch((error: unknown) => {
        if (!serving || !(error instanceof ServiceUnavailableException)) throw error;
        return { ...(error.getResponse() as object), status: 'degraded' };
      });
  }

  private service(): HealthIndicatorResult {
    return this.indicator('service', this.lifecycle.stopping ? 'stopping' : undefined);
  }

  private optional(): (() => HealthIndicatorResult)[] {
    const { redis, broker, relays, keys } = this;
    return [
      ...(keys ? [() => this.indicator('api-keys', keys.unreadable ? "can't be read" : undefined)] : []),
      ...(redis ? [() => this.indicator('redis', redis.up ? undefined : 'does not answer')] : []),
      ...(broker
        ? [() => this.indicator('rabbitmq', broker.status === 'up' ? undefined : broker.status)]
        : []),
      ...relays.flatMap((relay, index) => {
        const problem = relay.problem();
        return problem === undefined ? [] : [() => this.indicator(`events-${index}`, problem)];
      }),
    ];
  }

  private indicator(name: string, problem: string | undefined): HealthIndicatorResult {
    const session = this.indicators.check(name);
    return problem === undefined ? session.up() : session.down(problem);
  }
}

/** Whether it serves is for whoever asks; which of its parts are down, for operators. */
function bare(report: object | string): object {
  return { status: (report as { status: string }).status };
}
