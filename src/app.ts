import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import { AppModule } from './app.module.js';
import type { Config } from './config.js';
import type { ShardAddress } from './database/shard-address.js';
import { createFastifyAdapter, installFastifyHooks } from './http/fastify.js';
import { serveOpenApi } from './http/openapi.js';
import { Lifecycle } from './observability/lifecycle.js';
import { NestLogger } from './observability/logging.js';
import { Metrics } from './observability/metrics.js';

/** Builds the service on migrated shards, ready to listen. */
export async function createApp(
  config: Config,
  shards: readonly ShardAddress[],
  logger: Logger,
): Promise<NestFastifyApplication> {
  const app = await NestFactory.create<NestFastifyApplication>(
    AppModule.register(config, shards),
    createFastifyAdapter(),
    { logger: new NestLogger(logger), bodyParser: false, abortOnError: false },
  );
  installFastifyHooks(app, config, app.get(Metrics), app.get(Lifecycle, { strict: false }), logger);
  serveOpenApi(app);
  return app;
}
