import { Controller, Get, Header, Inject, NotFoundException, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { Allow } from '../auth/access.js';
import { CONFIG } from '../config.module.js';
import type { Config } from '../config.js';
import { isForOperators } from '../http/management.js';
import { Metrics } from './metrics.js';
import { DocumentMetrics } from './observability.openapi.js';

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
