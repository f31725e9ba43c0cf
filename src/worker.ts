import 'reflect-metadata';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { createApp } from './app/create-app.js';
import { loadConfig } from './config/config.js';
import { userMessage } from './app/user-message.js';
import { createLogger } from './observability/logging.js';
import { Metrics } from './observability/metrics.js';
import { serve } from './app/serve.js';
import { die, dieOnDefects, leaveOnSignals } from './app/shutdown.js';
import { PrimaryLink } from './app/workers/primary-link.js';

/** One of several processes that serve a bank behind one port. `main.ts` starts it and has opened the bank. */
async function main(primary: PrimaryLink): Promise<void> {
  const config = loadConfig();
  const logger = createLogger(config.log);
  dieOnDefects(logger);
  leaveOnSignals();
  // The database may be closing already, and nobody would replace or stop this process any more.
  primary.onGone(() => die(logger, new Error('its connection has ended'), 'the primary process is gone'));
  const { bank } = await primary.assignment();
  let app: NestFastifyApplication | undefined;
  try {
    app = await createApp(config, bank, logger);
    const metrics = app.get(Metrics);
    primary.onCollect(() => metrics.registry.getMetricsAsJSON());
    metrics.scrapeBy(() => primary.scrape());
    // With PORT=0 the workers share the port that the first one was given.
    primary.listening({ url: await serve(app, config, logger) });
  } catch (error) {
    await app?.close();
    throw error;
  }
}

const primary = new PrimaryLink();
main(primary).catch(async (error: unknown) => {
  await primary.failed(userMessage(error));
  process.exit(1);
});
