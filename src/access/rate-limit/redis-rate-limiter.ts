import DataLoader from 'dataloader';
import type { RedisConnection, RedisScript } from '../../redis/redis-connection.js';
import type { RateDecision, RatePolicy } from './gcra.js';
import type { LocalRateLimiter } from './local-rate-limiter.js';
import { RateLimiter } from './rate-limiter.js';

/** Transactions of a user that are admitted together or not at all. */
interface Sending {
  readonly user: string;
  readonly transactions: number;
}

/** Decisions in one run of the script. */
const AT_ONCE = 500;

/**
 * `decideRate` of gcra.ts for each key, by Redis's clock, so that all instances count alike. ARGV: burst, interval in
 * microseconds, and for each key the number of transactions. Answers for each key: 1 if admitted, remaining, retry after, reset.
 */
const DECIDE = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[2])
local longest = ARGV[1] * interval
local decisions = {}
for i, key in ipairs(KEYS) do
  local kept = tonumber(redis.call('GET', key))
  local soonest = math.min(math.max(kept or now, now), now + longest)
  local next = soonest + interval * ARGV[i + 2]
  local left = now + longest - next
  if left < 0 then
    decisions[i] = {0, 0, -left, soonest - now}
    next = soonest
  else
    decisions[i] = {1, math.floor(left / interval), 0, next - now}
  end
  if next ~= kept then
    redis.call('SET', key, string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
  end
end
return decisions`;

type Answer = [admitted: number, remaining: number, retryAfterMicros: number, resetMicros: number][];

/** Counts in Redis for all instances; while Redis can't be used, each instance counts for itself. */
export class RedisRateLimiter extends RateLimiter {
  private readonly decide: RedisScript<Answer>;
  private readonly loader: DataLoader<Sending, RateDecision>;

  /** @param bankId keeps the users of two banks on one Redis apart */
  constructor(
    redis: RedisConnection,
    private readonly bankId: string,
    private readonly policy: RatePolicy,
    private readonly fallback: LocalRateLimiter,
    private readonly onDecision: (admitted: boolean) => void,
  ) {
    super();
    this.decide = redis.script('decideRates', DECIDE);
    // The transactions of one turn of the event loop are counted together.
    this.loader = new DataLoader((sent) => this.decideAll(sent), {
      cache: false,
      maxBatchSize: AT_ONCE,
      batchScheduleFn: (callback) => setImmediate(callback),
    });
  }

  take(user: string, transactions = 1): Promise<RateDecision> {
    return this.loader.load({ user, transactions });
  }

  private async decideAll(sent: readonly Sending[]): Promise<RateDecision[]> {
    const { burst, intervalMicros } = this.policy;
    const keys = sent.map(({ user }) => `bank:${this.bankId}:rate:${user}`);
    const counts = sent.map(({ transactions }) => transactions);
    const answers = await this.decide(keys, [burst, intervalMicros, ...counts]);
    if (!answers) return sent.map(({ user, transactions }) => this.fallback.take(user, transactions));
    return answers.map(([admitted, remaining, retryAfterMicros, resetMicros]) => {
      this.onDecision(admitted === 1);
      return { admitted: admitted === 1, remaining, retryAfterMicros, resetMicros };
    });
  }
}
