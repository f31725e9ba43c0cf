import { Inject, Logger, Module, type OnApplicationShutdown } from '@nestjs/common';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { Metrics } from '../observability/metrics.js';
import { RedisConnection } from './redis-connection.js';

/** The injection token of the {@link RedisConnection}; undefined where there is no Redis. */
export const REDIS = Symbol('REDIS');

/** The connection that the balance cache and the rate limit share. */
@Module({
  providers: [{ provide: REDIS, inject: [CONFIG, Metrics], useFactory: openConnection }],
  exports: [REDIS],
})
export class RedisModule implements OnApplicationShutdown {
  constructor(@Inject(REDIS) private readonly connection: RedisConnection | undefined) {}

  /** Modules stop before those they import: by now the ledger has recorded its last batch in the cache. */
  onApplicationShutdown(): void {
    this.connection?.close();
  }
}

async function openConnection({ redis }: Config, metrics: Metrics): Promise<RedisConnection | undefined> {
  if (!redis) return undefined;
  const logger = new Logger('Redis');
  const connection = await RedisConnection.open(redis, {
    lost: (problem) => logger.warn(`can't be used, so the service goes on without it: ${problem}`),
    back: () => logger.log('can be used again'),
    failed: (failure) => metrics.redisFailed(failure),
  });
  metrics.watchRedis(() => connection.up);
  return connection;
}
