import { UserError } from '../domain/user-error.js';
import { contradictions } from './contradictions.js';
import type { ShardAddress } from './shard-address.js';
import { isThisMachine } from './values.js';
import { VARIABLES, type Variables } from './variables.js';

/** The service's settings: read once, checked, frozen. Durations are in milliseconds, unless a name says otherwise. */
export type Config = Frozen<ReturnType<typeof configOf>>;

type Frozen<T> = T extends object ? { readonly [Key in keyof T]: Frozen<T[Key]> } : T;

/** The identity provider whose tokens are believed, and what they must look like. */
export type TokenSettings = NonNullable<Config['jwt']>;

/** The environment does not describe a service that can run. Lists every problem; never shows a value. */
export class ConfigError extends UserError {
  constructor(readonly problems: readonly string[]) {
    super(
      `The configuration has ${problems.length} problem(s):\n${problems.map((line) => `  - ${line}`).join('\n')}`,
    );
    this.name = 'ConfigError';
  }
}

/**
 * @param defaults for variables that are not set, where a program wants others than the service
 * @throws ConfigError naming every variable that is wrong
 */
export function loadConfig(
  environment: NodeJS.ProcessEnv = process.env,
  defaults: Partial<Record<keyof Variables, string>> = {},
): Config {
  // A variable that is set to nothing, as an env file does, counts as not set.
  const set = Object.entries(environment).filter(([, value]) => value !== '');
  const given: NodeJS.ProcessEnv = { ...defaults, ...Object.fromEntries(set) };
  const read = Object.entries(VARIABLES).map(([name, kind]) => [name, kind.safeParse(given[name])] as const);
  const env = Object.fromEntries(read.map(([name, { data }]) => [name, data])) as Variables;
  const problems = [
    ...read.flatMap(([name, { error }]) => error?.issues.map(({ message }) => `${name} ${message}`) ?? []),
    ...contradictions(env, (name) => given[name] !== undefined),
  ];
  if (problems.length > 0) throw new ConfigError(problems);
  return deepFreeze(configOf(env));
}

/** What the settings are, in sections. Those without a variable are the same for everybody: nobody needs to change them. */
function configOf(env: Variables) {
  const http = httpOf(env);
  const ledger = ledgerOf(env);
  return {
    http,
    /** Undefined: the metrics and the detail of health are served on the one port there is. */
    management:
      env.MANAGEMENT_PORT === 0 ? undefined : { host: env.MANAGEMENT_HOST, port: env.MANAGEMENT_PORT },
    auth: {
      /** Requests need a credential. */
      enabled: env.AUTH === 'on' || (env.AUTH === 'auto' && !isOnlyForThisMachine(env)),
      /** They need none because only this machine can send them; AUTH=off is not set. */
      onlyThisMachine: env.AUTH === 'auto' && isOnlyForThisMachine(env),
      /** Malformed credentials that one address may send. */
      failuresPerMinute: 60,
      /** How long after its last read an API key is believed while keys can't be read. */
      keysStaleMs: env.AUTH_KEYS_STALE_MS,
    },
    jwt: jwtOf(env),
    rateLimit: rateLimitOf(env),
    database: databaseOf(env),
    ledger,
    balanceCache: {
      servesReads: servesReads(env),
      /** Accounts that it holds or, beside Redis, whose newest version it remembers. */
      entries: 100_000,
      ttlMs: env.BALANCE_CACHE_TTL_MS,
    },
    /** Undefined: no Redis. */
    redis: env.REDIS_URL === undefined ? undefined : { url: env.REDIS_URL, timeoutMs: env.REDIS_TIMEOUT_MS },
    /** How often it is looked at for events to publish. */
    outbox: { pollMs: 500 },
    /** Undefined: no broker; events stay in this process. */
    rabbitmq:
      env.RABBITMQ_URL === undefined
        ? undefined
        : { url: env.RABBITMQ_URL, exchange: env.RABBITMQ_EXCHANGE, confirmTimeoutMs: 10_000 },
    log: {
      level: env.LOG_LEVEL,
      /** auto: readable on a terminal, JSON lines elsewhere. */
      format: env.LOG_FORMAT,
      /** Which requests have a line. */
      requests: env.LOG_REQUESTS,
      slowRequestMs: env.SLOW_REQUEST_MS,
      /** Where several processes write one log. */
      showPid: env.WORKERS > 1,
    },
    operation: {
      /** Processes that serve requests behind the one port. 1: this one. */
      workers: env.WORKERS,
      shutdownDelayMs: env.SHUTDOWN_DELAY_MS,
      /** Until the last command has waited, run and been resolved, and its answer has been taken or cut. */
      shutdownTimeoutMs:
        env.SHUTDOWN_DELAY_MS +
        ledger.commandTimeoutMs +
        ledger.transactionTimeoutMs +
        ledger.resolveTimeoutMs +
        http.answerTimeoutMs,
    },
  };
}

function httpOf(env: Variables) {
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, HTTP_REQUEST_TIMEOUT_MS: requestTimeoutMs } = env;
  return {
    // Fastify would open a second server for ::1, which no limit would watch.
    host: env.HOST === 'localhost' ? '127.0.0.1' : env.HOST,
    port: env.PORT,
    maxConnections: env.HTTP_MAX_CONNECTIONS,
    /** Requests of one connection that wait for their answers. */
    maxPipelined: 16,
    /** Batches whose bodies are read or whose transactions are at work. */
    maxBatches: 4,
    /** Of the whole request, headers included. */
    requestTimeoutMs,
    headersTimeoutMs: Math.ceil(requestTimeoutMs / 3),
    /** How long a client may leave an answer unread. */
    answerTimeoutMs: requestTimeoutMs,
    keepAliveTimeoutMs: env.HTTP_KEEP_ALIVE_TIMEOUT_MS,
    /** Files in PEM. Undefined: HTTP without TLS. */
    tls: certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile },
    /** Addresses and networks whose X-Forwarded-For is believed. */
    trustedProxies: env.TRUSTED_PROXIES,
    /** Of web pages whose scripts may read answers. */
    corsOrigins: env.CORS_ORIGINS,
    swaggerUi: env.SWAGGER_UI === 'on',
  };
}

function databaseOf(env: Variables) {
  return {
    /** In the bank's order. Undefined: one shard, on the embedded PostgreSQL. */
    shards: shardsOf(env),
    /** The schema on the embedded PostgreSQL, and the one of DATABASE_URL. */
    schema: env.DATABASE_SCHEMA,
    dataDir: env.DATA_DIR,
    /** Whether statements are prepared once per connection; auto: where connections are direct. */
    preparedStatements:
      env.PREPARED_STATEMENTS === 'auto' ? ('auto' as const) : env.PREPARED_STATEMENTS === 'on',
    /** Refuse a database server that may lose what it has committed. */
    requireDurable: env.NODE_ENV === 'production',
    readPool: env.DATABASE_READ_POOL,
    connectTimeoutMs: env.DATABASE_CONNECT_TIMEOUT_MS,
    readTimeoutMs: 5_000,
    startTimeoutMs: env.DATABASE_START_TIMEOUT_MS,
  };
}

function ledgerOf(env: Variables) {
  const { LEDGER_MAX_IN_FLIGHT: maxInFlight, LEDGER_TRANSACTION_TIMEOUT_MS: transactionTimeoutMs } = env;
  return {
    /** Commands in one database transaction. */
    batch: env.LEDGER_BATCH,
    /** Requests of one shard that are at work at the same time; fewer where the database is slow. */
    maxInFlight,
    /** Requests of one shard that wait; one more is refused. */
    queue: 10 * maxInFlight,
    /** Batches that run at the same time, over all shards of one server. */
    batchWriters: env.LEDGER_BATCH_WRITERS,
    /** Accounts of one shard whose rows other sessions hold and which are waited for at the same time. */
    lockWaiters: 4,
    /** Atomic batches of one shard that run at the same time. */
    atomicBatches: 2,
    /** How long a command may wait for its batch. */
    commandTimeoutMs: env.LEDGER_COMMAND_TIMEOUT_MS,
    transactionTimeoutMs,
    /** How long a statement may wait for a lock. */
    lockTimeoutMs: Math.min(1_000, transactionTimeoutMs),
    /** How long to look for the outcome of a lost COMMIT. */
    resolveTimeoutMs: 10_000,
    /** Tries of a transaction that fails with a serialization failure or a deadlock. */
    attempts: 5,
  };
}

function shardsOf(env: Variables): ShardAddress[] | undefined {
  if (env.DATABASE_URL !== undefined) {
    return [{ url: env.DATABASE_URL, schema: env.DATABASE_SCHEMA, migrationUrl: env.MIGRATION_DATABASE_URL }];
  }
  return env.SHARDS?.map((shard, index) => ({ ...shard, migrationUrl: env.MIGRATION_SHARDS?.[index]?.url }));
}

/** Undefined: there is no identity provider. */
function jwtOf(env: Variables) {
  const { JWT_ISSUER: issuer, JWT_AUDIENCE: audience, JWT_JWKS_URL: jwksUrl } = env;
  if (issuer === undefined || audience === undefined || jwksUrl === undefined) return undefined;
  return {
    issuer,
    audience,
    /** Where its public keys are (RFC 7517). */
    jwksUrl,
    /** The claim that holds the scopes: a text with spaces between them, or a list. */
    scopesClaim: env.JWT_SCOPES_CLAIM,
    /** How far its clock may be off. */
    clockToleranceS: 5,
  };
}

/** Without a burst of its own a user may send a second's worth at once. Undefined: no limit. */
function rateLimitOf(env: Variables) {
  const perSecond = env.RATE_LIMIT_TRANSACTIONS_PER_SECOND;
  return perSecond === 0 ? undefined : { perSecond, burst: env.RATE_LIMIT_BURST || perSecond };
}

/**
 * The embedded server belongs to one instance, so with one worker nobody else writes; an outside one may have several.
 * They see each other's writes through Redis alone.
 */
function servesReads(env: Variables): boolean {
  if (env.BALANCE_CACHE !== 'auto') return env.BALANCE_CACHE === 'on';
  return (isEmbedded(env) && env.WORKERS === 1) || env.REDIS_URL !== undefined;
}

/**
 * A bank for trying things out, which no other machine can reach: only there may credentials be left out without
 * AUTH=off.
 */
function isOnlyForThisMachine(env: Variables): boolean {
  const behindProxy = env.TRUSTED_PROXIES.length > 0;
  const inUse = env.NODE_ENV === 'production' || behindProxy || env.JWT_ISSUER !== undefined;
  return isEmbedded(env) && isThisMachine(env.HOST) && !inUse;
}

function isEmbedded(env: Variables): boolean {
  return env.DATABASE_URL === undefined && env.SHARDS === undefined;
}

/** Connections to the first shard for API keys: one reads them, one records their use. */
export const KEY_CONNECTIONS = 2;

/** Connections of a shard's ledger: each batch writer, lock waiter and atomic batch has one. */
export function ledgerConnections({ batchWriters, lockWaiters, atomicBatches }: Config['ledger']): number {
  return batchWriters + lockWaiters + atomicBatches;
}

/** Connections of one process to the databases of this many shards, at most. */
export function connectionsTo(shards: number, { ledger, database, auth }: Config): number {
  const perShard = ledgerConnections(ledger) + database.readPool;
  return shards * perShard + (auth.enabled ? KEY_CONNECTIONS : 0);
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value)) {
    if (typeof member === 'object' && member !== null) deepFreeze(member as object);
  }
  return Object.freeze(value);
}
