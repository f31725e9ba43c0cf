import { Inject, Module, Optional, type DynamicModule, type OnApplicationShutdown } from '@nestjs/common';
import { TRACING, type Tracing } from './tracing.js';

/** Only the service traces: what a command does has no request. */
@Module({})
export class TracingModule implements OnApplicationShutdown {
  constructor(@Optional() @Inject(TRACING) private readonly tracing?: Tracing) {}

  static register(tracing: Tracing | undefined): DynamicModule {
    const providers = [{ provide: TRACING, useValue: tracing }];
    return { module: TracingModule, global: true, providers, exports: [TRACING] };
  }

  /** Runs after the HTTP server has answered its last request. */
  async onApplicationShutdown(): Promise<void> {
    await this.tracing?.close();
  }
}
