import DataLoader from 'dataloader';
import { LRUCache } from 'lru-cache';
import type { Account } from '../domain/account.js';
import { BalanceCache } from '../domain/ports.js';
import type { Metrics } from '../observability/metrics.js';
import type { RedisConnection, RedisScript } from '../redis/redis-connection.js';
import { jittered } from './jitter.js';

export interface RedisBalanceCacheSettings {
  /** Separates the balances of two banks on one Redis. */
  readonly bankId: string;
  /** Accounts whose newest version this process remembers; the least recently used goes first. */
  readonly entries: number;
  /** How long an entry answers readers at most. */
  readonly ttlMs: number;
  /** False: only the other instances' readers are served. */
  readonly servesReads: boolean;
}

/** Balances in one MGET, and in one run of the script, which blocks Redis for some milliseconds. */
const AT_ONCE = 1_000;

/**
 * Version and minor units, as in `12:35000` or `13:-500`; and the decimals, unless they are two, as in `12:350:0`.
 * Anything else was written by somebody else.
 */
const ENTRY = /^([1-9]\d*):(-?\d{1,20})(?::([0134]))?$/;

/**
 * KEYS: the balances. ARGV: the longest time to live; then for each key its version, its entry, and when it expires by
 * Redis's clock. All in milliseconds. Answers Redis's time, and how many entries could not be kept.
 *
 * An entry that can't be kept (Redis is full, or it came too late) still removes the older one.
 */
const REPLACE_OLDER = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost = 0
for i, key in ipairs(KEYS) do
  local version, entry, expires = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local found = redis.pcall('GET', key)
  local text = type(found) == 'string' and found or ''
  local held = tonumber(string.match(text, '^(%d+):%-?%d+$') or string.match(text, '^(%d+):%-?%d+:[0134]$')) or 0
  if held > 2 ^ 53 then held = 0 end
  local ttl = math.floor(math.min(expires - now, tonumber(ARGV[1])))
  if tonumber(version) > held or tonumber(version) == held and ttl > 0 then
    if ttl < 1 then
      redis.pcall('DEL', key)
    elseif redis.pcall('SET', key, entry, 'PX', ttl).err then
      redis.pcall('DEL', key)
      lost = lost + 1
    end
  end
end
return {now, lost}`;

/**
 * Balances in Redis, which all instances share. The writer replaces them before it acknowledges, so no reader gets a
 * balance older than an acknowledged one, unless Redis lost that write: then until the entry expires.
 *
 * This process remembers the versions it has seen and treats an older entry as a miss, so it never answers older than
 * what it acknowledged itself, whatever happens to Redis.
 */
export class RedisBalanceCache extends BalanceCache {
  private readonly newest: LRUCache<number, number>;
  private readonly loader: DataLoader<number, Account | undefined>;
  private readonly replaceOlder: RedisScript<[now: number, lost: number]>;
  /**
   * Redis's clock less this process's; never too large, so that no entry expires too late. An entry carries the time
   * at which it expires, for a Redis that was stopped for a while runs what it was sent before.
   */
  private clockOffsetMs = -Infinity;

  private constructor(
    private readonly redis: RedisConnection,
    private readonly settings: RedisBalanceCacheSettings,
    private readonly metrics: Metrics,
  ) {
    super();
    this.newest = new LRUCache({ max: settings.entries });
    this.replaceOlder = redis.script('replaceOlderBalances', REPLACE_OLDER);
    // The look-ups of one turn of the event loop go out together.
    this.loader = new DataLoader((accountIds) => this.load(accountIds), {
      cache: false,
      maxBatchSize: AT_ONCE,
      batchScheduleFn: (callback) => setImmediate(callback),
    });
  }

  /** Asks Redis for its time first. */
  static async open(
    redis: RedisConnection,
    settings: RedisBalanceCacheSettings,
    metrics: Metrics,
  ): Promise<RedisBalanceCache> {
    const cache = new RedisBalanceCache(redis, settings, metrics);
    await cache.replace([], performance.now());
    return cache;
  }

  get(accountId: number): Promise<Account | undefined> | undefined {
    return this.settings.servesReads ? this.loader.load(accountId) : undefined;
  }

  record(accounts: readonly Account[], asOfMs: number): Promise<void> | undefined {
    for (const { accountId, version } of accounts) this.remember(accountId, version);
    if (accounts.length <= AT_ONCE) return this.replace(accounts, asOfMs);
    const chunks = Array.from({ length: Math.ceil(accounts.length / AT_ONCE) }, (_, index) =>
      accounts.slice(index * AT_ONCE, (index + 1) * AT_ONCE),
    );
    return Promise.all(chunks.map((chunk) => this.replace(chunk, asOfMs))).then(() => undefined);
  }

  lastKnownVersion(accountId: number): number | undefined {
    return this.newest.peek(accountId);
  }

  private async load(accountIds: readonly number[]): Promise<(Account | undefined)[]> {
    const entries = await this.redis.mget(accountIds.map((accountId) => this.keyOf(accountId)));
    if (!entries) {
      this.metrics.balancesLookedUp('unavailable', accountIds.length);
      return accountIds.map(() => undefined);
    }
    const accounts = accountIds.map((accountId, index) => this.accept(accountId, entries[index]));
    const hits = accounts.filter((account) => account !== undefined).length;
    this.metrics.balancesLookedUp('hit', hits);
    this.metrics.balancesLookedUp('miss', accounts.length - hits);
    return accounts;
  }

  private accept(accountId: number, entry: string | null | undefined): Account | undefined {
    const [, version, balance, decimals = '2'] = ENTRY.exec(entry ?? '') ?? [];
    if (balance === undefined || !Number.isSafeInteger(Number(version))) return undefined;
    const account = {
      accountId,
      version: Number(version),
      balance: BigInt(balance),
      decimals: Number(decimals),
    };
    return account.version >= this.remember(accountId, account.version) ? account : undefined;
  }

  /** Returns the newest version of the account that this process has seen. */
  private remember(accountId: number, version: number): number {
    const known = this.newest.get(accountId) ?? 0;
    if (known >= version) return known;
    this.newest.set(accountId, version);
    return version;
  }

  private async replace(accounts: readonly Account[], asOfMs: number): Promise<void> {
    const { ttlMs } = this.settings;
    const args: (string | number)[] = [ttlMs];
    for (const { version, balance, decimals } of accounts) {
      const expiresMs = Math.max(0, Math.floor(asOfMs + this.clockOffsetMs + jittered(ttlMs)));
      args.push(version, `${version}:${balance}${decimals === 2 ? '' : `:${decimals}`}`, expiresMs);
    }
    const answer = await this.replaceOlder(
      accounts.map(({ accountId }) => this.keyOf(accountId)),
      args,
    );
    // Redis's time as of the answer, though that took some time to arrive.
    if (answer) this.clockOffsetMs = answer[0] - performance.now();
    const lost = answer ? answer[1] : accounts.length;
    if (lost > 0) this.metrics.balancesLost(lost);
  }

  private keyOf(accountId: number): string {
    return `bank:${this.settings.bankId}:balance:${accountId}`;
  }
}
