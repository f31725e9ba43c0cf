import { Module } from '@nestjs/common';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { SHARDS } from '../sharding/sharding.module.js';
import type { Shard } from '../sharding/shard.js';
import { BalanceCache } from '../domain/ports.js';
import { Metrics } from '../observability/metrics.js';
import type { RedisConnection } from '../redis/redis-connection.js';
import { REDIS, RedisModule } from '../redis/redis.module.js';
import { LocalBalanceCache } from './local-balance-cache.js';
import { RedisBalanceCache } from './redis-balance-cache.js';

/** Balances in Redis where there is one, else in this process. */
@Module({
  imports: [RedisModule],
  providers: [{ provide: BalanceCache, inject: [CONFIG, REDIS, SHARDS, Metrics], useFactory: createCache }],
  exports: [BalanceCache],
})
export class CacheModule {}

function createCache(
  { balanceCache }: Config,
  redis: RedisConnection | undefined,
  [shard]: readonly Shard[],
  metrics: Metrics,
): BalanceCache | Promise<BalanceCache> {
  if (!redis || !shard) return new LocalBalanceCache(balanceCache);
  return RedisBalanceCache.open(redis, { ...balanceCache, bankId: shard.identity.bankId }, metrics);
}
