import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import { guardRoutes } from './auth/access.js';
import { AUTHENTICATOR } from './auth/auth.module.js';
import type { Authenticator } from './auth/authenticator.js';
import { AppModule } from './app.module.js';
import type { Config } from './config.js';
import type { BankShards } from './database/bank-shards.js';
import { Ledger } from './domain/ports.js';
import { admitBatches, admitPostings, MAX_BATCHES_HELD } from './http/admission.js';
import { createFastifyAdapter, installFastifyHooks } from './http/fastify.js';
import { serveOpenApi } from './http/openapi.js';
import { securityHeaders } from './http/security-headers.js';
import { halfOf, Turnstile } from './ledger/turnstile.js';
import { Lifecycle } from './observability/lifecycle.js';
import { NestLogger } from './observability/logging.js';
import { Metrics } from './observability/metrics.js';

/** Builds the service on a bank's shards, ready to listen. */
export async function createApp(
  config: Config,
  bank: BankShards,
  logger: Logger,
): Promise<NestFastifyApplication> {
  const security = await securityHeaders(config.http.tls !== undefined);
  const app = await NestFactory.create<NestFastifyApplication>(
    AppModule.register(config, bank),
    createFastifyAdapter(config, security),
    { logger: new NestLogger(logger), bodyParser: false, abortOnError: false },
  );
  const fastify = app.getHttpAdapter().getInstance();
  const authenticator = app.get<Authenticator | undefined>(AUTHENTICATOR, { strict: false });
  if (authenticator) guardRoutes(fastify, authenticator);
  admitPostings(fastify, app.get(Ledger, { strict: false }));
  admitBatches(fastify, batchPlaces(config));
  const metrics = app.get(Metrics);
  const lifecycle = app.get(Lifecycle, { strict: false });
  installFastifyHooks(app, { config, security, metrics, lifecycle, logger });
  if (config.http.swaggerUi) serveOpenApi(app);
  return app;
}

function batchPlaces({ http, ledger }: Config): Turnstile {
  return new Turnstile({
    atWork: http.maxBatches,
    perUser: halfOf(http.maxBatches),
    queue: MAX_BATCHES_HELD,
    holdMs: ledger.commandTimeoutMs / 2,
  });
}
