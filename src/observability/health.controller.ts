import { Controller, Get } from '@nestjs/common';
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

  /** The service can do its work: it is not stopping, and every shard answers. */
  @Get('ready')
  @HealthCheck({ noCache: true, swaggerDocumentation: false })
  @DocumentReadiness()
  ready() {
    const shards = this.reader.shardIndexes.map((index) => () => this.shard(index));
    return this.health.check([() => this.service(), ...shards]);
  }

  private service(): HealthIndicatorResult {
    const session = this.indicators.check('service');
    return this.lifecycle.stopping ? session.down('stopping') : session.up();
  }

  private async shard(index: number): Promise<HealthIndicatorResult> {
    const session = this.indicators.check(`shard-${index}`);
    return (await this.reader.answers(index)) ? session.up() : session.down('the database does not answer');
  }
}
