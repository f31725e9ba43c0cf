import { Controller, Get, Header } from '@nestjs/common';
import { Metrics } from './metrics.js';
import { DocumentMetrics } from './observability.openapi.js';

@Controller('metrics')
export class MetricsController {
  constructor(private readonly metrics: Metrics) {}

  @Get()
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  @DocumentMetrics()
  scrape(): Promise<string> {
    return this.metrics.scrape();
  }
}
