import { Controller, Get, Header, Inject, NotFoundException, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { Allow } from '../http/access/access.guard.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { isForOperators } from '../http/server/management.js';
import { Metrics } from '../observability/metrics.js';
import { DocumentMetrics } from './health.openapi.js';

@Controller('metrics')
export class MetricsController {
  constructor(
    private readonly metrics: Metrics,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  @Allow('admin')
  @Get()
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  @DocumentMetrics()
  async scrape(@Req() request: FastifyRequest): Promise<string> {
    if (!isForOperators(request, this.config)) throw new NotFoundException();
    return this.metrics.scrape();
  }
}
