import { Module } from '@nestjs/common';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { SHARDS } from '../sharding/sharding.module.js';
import type { Shard } from '../sharding/shard.js';
import { Metrics, type RateCounter } from '../observability/metrics.js';
import type { RedisConnection } from '../redis/redis-connection.js';
import { REDIS, RedisModule } from '../redis/redis.module.js';
import { ratePolicy } from '../access/rate-limit/gcra.js';
import { LocalRateLimiter } from '../access/rate-limit/local-rate-limiter.js';
import { RedisRateLimiter } from '../access/rate-limit/redis-rate-limiter.js';
import { TransactionRate } from './transaction-rate.js';

/** The injection token of the {@link TransactionRate}; its value is undefined without a limit. */
export const TRANSACTION_RATE = Symbol('TRANSACTION_RATE');

@Module({
  imports: [RedisModule],
  providers: [
    {
      provide: TRANSACTION_RATE,
      inject: [CONFIG, REDIS, SHARDS, Metrics],
      useFactory: createTransactionRate,
    },
  ],
  exports: [TRANSACTION_RATE],
})
export class TransactionRateModule {}

function createTransactionRate(
  { rateLimit }: Config,
  redis: RedisConnection | undefined,
  [shard]: readonly Shard[],
  metrics: Metrics,
): TransactionRate | undefined {
  if (!rateLimit) return undefined;
  const policy = ratePolicy(rateLimit);
  const countedBy = (counter: RateCounter) => (admitted: boolean) => metrics.rateDecided(counter, admitted);
  const local = new LocalRateLimiter(policy, countedBy('local'));
  if (!redis || !shard) return new TransactionRate(local, policy);
  const { bankId } = shard.identity;
  return new TransactionRate(new RedisRateLimiter(redis, bankId, policy, local, countedBy('redis')), policy);
}
