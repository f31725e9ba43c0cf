import { Controller, Get, ServiceUnavailableException } from '@nestjs/common';
import {
  HealthCheck,
  HealthCheckService,
  HealthIndicatorService,
  type HealthIndicatorResult,
} from '@nestjs/terminus';
import { LedgerReader } from '../ledger/ledger-reader.js';
import { Lifecycle } from './lifecycle.js';
import { DocumentLiveness, DocumentReadiness } from './observability.openapi.js';

@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly reader: LedgerReader,
    private readonly lifecycle: Lifecycle,
  ) {}

  /** The process answers; says nothing of the database, for whose trouble a restart is no cure. */
  @Get('live')
  @DocumentLiveness()
  live() {
    return { status: 'ok' };
  }

  /**
   * The service can do its work: it is not stopping, and at least one shard answers. One shard of several that is down
   * shows, but must not take the accounts of all others out of service.
   */
  @Get('ready')
  @HealthCheck({ noCache: true, swaggerDocumentation: false })
  @DocumentReadiness()
  async ready() {
    const problems = await this.reader.problems();
    const serving = !this.lifecycle.stopping && problems.includes(undefined);
    const shards = problems.map((problem, index) => () => this.shard(index, problem));
    return this.health.check([() => this.service(), ...shards]).catch((error: unknown) => {
      if (!serving || !(error instanceof ServiceUnavailableException)) throw error;
      return { ...(error.getResponse() as object), status: 'degraded' };
    });
  }

  private service(): HealthIndicatorResult {
    const session = this.indicators.check('service');
    return this.lifecycle.stopping ? session.down('stopping') : session.up();
  }

  private shard(index: number, problem: string | undefined): HealthIndicatorResult {
    const session = this.indicators.check(`shard-${index}`);
    return problem === undefined ? session.up() : session.down(problem);
  }
}
