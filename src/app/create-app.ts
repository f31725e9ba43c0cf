import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import { guardRoutes } from '../http/access/access.guard.js';
import { AUTHENTICATOR } from '../access/access.module.js';
import type { Authenticator } from '../access/authenticator.js';
import { AppModule } from './app.module.js';
import type { Config } from '../config/config.js';
import type { BankShards } from '../sharding/bootstrap-shards.js';
import { Ledger } from '../domain/ports.js';
import { admitBatches, admitPostings, MAX_BATCHES_HELD } from '../http/admission.js';
import { createFastifyAdapter, installFastifyHooks } from '../http/fastify.js';
import { acceptSubmissions, type Acceptance } from '../submissions/accept-submissions.js';
import { ACCEPTANCE } from '../submissions/submissions.module.js';
import { serveOpenApi } from '../http/openapi/document.js';
import { runInterceptorsDirectly } from '../http/server/interceptors.js';
import { servePages } from '../http/server/pages.js';
import { securityHeaders } from '../http/server/security-headers.js';
import { halfOf, AdaptiveConcurrencyLimiter } from '../concurrency/adaptive-concurrency-limiter.js';
import { Lifecycle } from '../observability/lifecycle.js';
import { NestLogger } from '../observability/logging.js';
import { Metrics } from '../observability/metrics.js';
import { openTracing } from '../observability/open-tracing.js';

/** Builds the service on a bank's shards, ready to listen. */
export async function createApp(
  config: Config,
  bank: BankShards,
  logger: Logger,
): Promise<NestFastifyApplication> {
  const security = await securityHeaders(config.http.tls !== undefined);
  const tracing = await openTracing(config.tracing, logger);
  runInterceptorsDirectly();
  const app = await NestFactory.create<NestFastifyApplication>(
    AppModule.register(config, bank, tracing),
    createFastifyAdapter(config, security),
    { logger: new NestLogger(logger), bodyParser: false, abortOnError: false },
  );
  const fastify = app.getHttpAdapter().getInstance();
  const authenticator = app.get<Authenticator | undefined>(AUTHENTICATOR, { strict: false });
  if (authenticator) guardRoutes(fastify, authenticator);
  admitPostings(fastify, app.get(Ledger, { strict: false }));
  const acceptance = app.get<Acceptance | undefined>(ACCEPTANCE, { strict: false });
  if (acceptance) acceptSubmissions(fastify, acceptance);
  admitBatches(fastify, batchPlaces(config));
  const metrics = app.get(Metrics);
  const lifecycle = app.get(Lifecycle, { strict: false });
  installFastifyHooks(app, { config, security, metrics, lifecycle, logger, tracing });
  if (config.http.swaggerUi) {
    serveOpenApi(app);
    servePages(fastify);
  }
  return app;
}

function batchPlaces({ http, ledger }: Config): AdaptiveConcurrencyLimiter {
  return new AdaptiveConcurrencyLimiter({
    maxInFlight: http.maxBatches,
    maxPerUser: halfOf(http.maxBatches),
    queue: MAX_BATCHES_HELD,
    maxWaitMs: ledger.commandTimeoutMs / 2,
  });
}
