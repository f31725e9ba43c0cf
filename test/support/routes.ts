import 'reflect-metadata';
import { createApp } from '../../src/app/create-app.js';
import { loadConfig } from '../../src/config/config.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { createLogger } from '../../src/observability/logging.js';

/** The routes of the application's own controllers, like `GET /accounts/{accountId}`. */
export async function routesOf(databaseUrl: string): Promise<string[]> {
  const config = loadConfig({ DATABASE_URL: databaseUrl, LOG_LEVEL: 'silent' });
  const bank = await bootstrapShards(config.database.shards ?? []);
  const app = await createApp(config, bank, createLogger(config.log));
  const routes: string[] = [];
  const fastify = app.getHttpAdapter().getInstance();
  // Swagger UI's routes exist already; controllers add theirs when the application is initialised.
  fastify.addHook('onRoute', ({ method, url }) => {
    // Fastify adds a HEAD to each GET, which needs no description of its own.
    const isOfSwaggerUi = url.startsWith('/docs');
    if (method !== 'HEAD' && !isOfSwaggerUi)
      routes.push(`${String(method)} ${url.replaceAll(/:(\w+)/g, '{$1}')}`);
  });
  await app.init();
  await fastify.ready();
  await app.close();
  return routes;
}
