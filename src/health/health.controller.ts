import {
  Controller,
  Get,
  Header,
  Inject,
  Req,
  ServiceUnavailableException,
  type BeforeApplicationShutdown,
} from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { Allow } from '../http/access/access.guard.js';
import type { ApiKeys } from '../access/api-keys.js';
import { API_KEYS } from '../access/access.module.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { RABBITMQ, RELAYS } from '../messaging/messaging.module.js';
import type { EventRelay } from '../messaging/event-relay.js';
import type { RabbitMqConnection } from '../messaging/rabbitmq-connection.js';
import { Answers } from '../http/openapi/answers.js';
import { isForOperators } from '../http/server/management.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import type { RedisConnection } from '../redis/redis-connection.js';
import { REDIS } from '../redis/redis.module.js';
import { LivenessDto, ReadinessDto } from './health.dto.js';
import { Lifecycle } from '../observability/lifecycle.js';
import { DocumentLiveness, DocumentReadiness } from './health.openapi.js';

/** A part of the service and its problem; undefined: it is up. */
type Part = readonly [name: string, problem: string | undefined];

@Controller('health')
export class HealthController implements BeforeApplicationShutdown {
  private shuttingDown = false;

  constructor(
    private readonly reader: LedgerReader,
    private readonly lifecycle: Lifecycle,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(REDIS) private readonly redis: RedisConnection | undefined,
    @Inject(RABBITMQ) private readonly broker: RabbitMqConnection | undefined,
    @Inject(RELAYS) private readonly relays: readonly (readonly EventRelay[])[],
    @Inject(API_KEYS) private readonly keys: ApiKeys | undefined,
  ) {}

  beforeApplicationShutdown(): void {
    this.shuttingDown = true;
  }

  /** The process answers. Ignores the database, which a restart of the service would not repair. */
  @Allow('public')
  @Get('live')
  @Answers(200, LivenessDto)
  @DocumentLiveness()
  live(): LivenessDto {
    return new LivenessDto();
  }

  /**
   * The service can do its work: it is not stopping, and at least one shard answers. If one of several shards is down,
   * the answer shows it, but the accounts of the others must stay in service; the same holds for parts that the service
   * can do without. A shard's events are listed only while they are held up.
   */
  @Allow('public, with more for some')
  @Get('ready')
  @Header('Cache-Control', 'no-cache, no-store, must-revalidate')
  @Answers(200, ReadinessDto)
  @DocumentReadiness()
  async ready(@Req() request: FastifyRequest): Promise<ReadinessDto> {
    const problems = await this.reader.problems();
    const parts: readonly Part[] = [
      ['service', this.lifecycle.stopping ? 'stopping' : undefined],
      ...problems.map((problem, index): Part => [`shard-${index}`, problem]),
      ...this.optional(),
    ];
    const serving = !this.lifecycle.stopping && problems.includes(undefined);
    const status = this.statusOf(parts, serving);
    // Everybody may know whether it serves; which of its parts are down is for operators only.
    const answer = isForOperators(request, this.config) ? { status, ...detailsOf(parts) } : { status };
    if (!serving) throw new ServiceUnavailableException(answer);
    return answer;
  }

  private statusOf(parts: readonly Part[], serving: boolean): string {
    if (this.shuttingDown) return 'shutting_down';
    if (!serving) return 'error';
    return parts.every(([, problem]) => problem === undefined) ? 'ok' : 'degraded';
  }

  private optional(): Part[] {
    const { redis, broker, relays, keys } = this;
    const events = relays.map((ofShard, index): Part => {
      const problems = ofShard.map((relay) => relay.problem());
      return [`events-${index}`, problems.find((problem) => problem !== undefined)];
    });
    return [
      ...(keys ? [['api-keys', keys.unreadable ? "can't be read" : undefined] as const] : []),
      ...(redis ? [['redis', redis.up ? undefined : 'does not answer'] as const] : []),
      ...(broker ? [['rabbitmq', broker.status === 'up' ? undefined : broker.status] as const] : []),
      ...events.filter(([, problem]) => problem !== undefined),
    ];
  }
}

/** In the format of Nest's health checks, which monitoring knows: what is up, what is down, and both. */
function detailsOf(parts: readonly Part[]) {
  const down = parts.filter(([, problem]) => problem !== undefined);
  const up = parts.filter(([, problem]) => problem === undefined);
  const info = Object.fromEntries(up.map(([name]) => [name, { status: 'up' }]));
  const error = Object.fromEntries(down.map(([name, message]) => [name, { message, status: 'down' }]));
  return { info, error, details: { ...info, ...error } };
}
