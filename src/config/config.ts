import { join } from 'node:path';
import { UserError } from '../domain/user-error.js';
import { contradictions } from './contradictions.js';
import type { ShardAddress } from './shard-address.js';
import { isThisMachine } from './values.js';
import { VARIABLES, type Variables } from './variables.js';

/**
 * The service's settings: read once, checked and frozen. Durations are in milliseconds unless the name says otherwise.
 */
export type Config = Frozen<ReturnType<typeof configOf>>;

type Frozen<T> = T extends object ? { readonly [Key in keyof T]: Frozen<T[Key]> } : T;

/** The identity provider whose tokens are trusted, and what they must contain. */
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
 * @param defaults for variables that are not set, in programs whose defaults differ from those of the service
 * @throws ConfigError naming every variable that is wrong
 */
export function loadConfig(
  environment: NodeJS.ProcessEnv = process.env,
  defaults: Partial<Record<keyof Variables, string>> = {},
): Config {
  // An empty variable, which an env file may contain, counts as not set.
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

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** The settings, in sections. Those without a variable are constants that nobody needs to change. */
function configOf(env: Variables) {
  const http = httpOf(env);
  const ledger = ledgerOf(env);
  const tracing = tracingOf(env);
  return {
    http,
    /** That of every account that is opened without one. A bank's never changes. */
    currency: env.CURRENCY,
    /** Undefined: metrics and health details are served on the main port. */
    management:
      env.MANAGEMENT_PORT === 0 ? undefined : { host: env.MANAGEMENT_HOST, port: env.MANAGEMENT_PORT },
    auth: {
      /** Whether requests need a credential. */
      enabled: env.AUTH === 'on' || (env.AUTH === 'auto' && !isOnlyForThisMachine(env)),
      /** True: they need none because only this machine can send them, not because of AUTH=off. */
      onlyThisMachine: env.AUTH === 'auto' && isOnlyForThisMachine(env),
      /** How many malformed credentials one address may send. */
      failuresPerMinute: 60,
      /** How long after its last read an API key is trusted while keys can't be read. */
      keysStaleMs: env.AUTH_KEYS_STALE_MS,
    },
    jwt: jwtOf(env),
    rateLimit: rateLimitOf(env),
    database: databaseOf(env),
    ledger,
    balanceCache: {
      servesReads: servesReads(env),
      /** The most accounts that it holds or, with Redis, whose newest version it remembers. */
      entries: 100_000,
      ttlMs: env.BALANCE_CACHE_TTL_MS,
    },
    /** Undefined: no Redis. */
    redis: env.REDIS_URL === undefined ? undefined : { url: env.REDIS_URL, timeoutMs: env.REDIS_TIMEOUT_MS },
    /** How often the outbox is checked for events to move to the log, and the log for some to publish. */
    outbox: { pollMs: 200 },
    events: {
      /** How long the log keeps them. */
      retentionMs: env.EVENT_RETENTION_DAYS * DAY_MS,
      /** The most open streams of live events. Each takes a connection, so others are left half of them. */
      maxStreams: Math.min(5_000, Math.ceil(http.maxConnections / 2)),
      maxStreamsPerUser: Math.min(2_500, Math.ceil(http.maxConnections / 4)),
      /** How long a stream may be silent: proxies cut idle connections, many after a minute. */
      heartbeatMs: 15_000,
      /** How often it is checked whether the client of a stream may still get events. */
      checkMs: 1_000,
      /** How long a client is asked to wait before it comes back. */
      retryMs: 1_000,
    },
    webhooks: webhooksOf(env),
    /** How often expired holds are looked for. */
    sweeper: { pollMs: 1_000 },
    // A process that dies keeps the lease of its work until that runs out.
    transfers: { pollMs: 500, dueAfterMs: 2_000, leaseMs: 2_000 },
    /** How old the summary of the ledger becomes, and how long one statement for it may take. */
    summary: { intervalMs: 60_000, statementTimeoutMs: 20_000 },
    /** Undefined: no broker; events stay in this process. */
    rabbitmq:
      env.RABBITMQ_URL === undefined
        ? undefined
        : { url: env.RABBITMQ_URL, exchange: env.RABBITMQ_EXCHANGE, confirmTimeoutMs: 10_000 },
    /** Postings that are accepted before they are decided; only with a broker. */
    submissions: {
      /** The most that wait in the queue of a shard; one more is rejected. A queue keeps what it was made with. */
      maxQueued: 100_000,
      /** The most of one shard whose arrival in the queue this process waits for. */
      maxUnconfirmed: 2_000,
      /** How long the broker may take to confirm one. */
      confirmTimeoutMs: 5_000,
    },
    tracing,
    log: {
      level: env.LOG_LEVEL,
      /** auto: readable on a terminal, JSON lines elsewhere. */
      format: env.LOG_FORMAT,
      /** Which requests are logged. */
      requests: env.LOG_REQUESTS,
      slowRequestMs: env.SLOW_REQUEST_MS,
      /** True when several processes write to one log. */
      showPid: env.WORKERS > 1,
    },
    operation: {
      /** Processes that serve requests on one port. 1: this process alone. */
      workers: env.WORKERS,
      /** What the first start puts into an empty embedded bank. */
      demo: env.DEMO,
      shutdownDelayMs: env.SHUTDOWN_DELAY_MS,
      /** Long enough for the last command to wait, run and be resolved, and for its answer to be read or cut. */
      shutdownTimeoutMs:
        env.SHUTDOWN_DELAY_MS +
        ledger.commandTimeoutMs +
        ledger.transactionTimeoutMs +
        ledger.resolveTimeoutMs +
        http.answerTimeoutMs +
        (tracing?.closeTimeoutMs ?? 0),
    },
  };
}

function webhooksOf(env: Variables) {
  return {
    /** Encrypt the secrets of endpoints, in base64: the first one encrypts, all decrypt. */
    keys: env.WEBHOOK_KEYS,
    /** Where the embedded bank keeps a key of its own, outside of the database and its backups. */
    keyFile: isEmbedded(env) ? join(env.DATA_DIR, 'webhook-key') : undefined,
    /** Whether endpoints may be on this machine or a private network, and without TLS. */
    privateAddresses: allowsPrivateAddresses(env),
    /** How often a shard's log is looked at. */
    pollMs: 200,
    /** For one request, until the last byte of its answer. */
    timeoutMs: 10_000,
    retries: {
      /** The pause after the first failure; it doubles with each further one. */
      firstRetryMs: 1_000,
      /** The longest pause while later events of the account wait. */
      longestRetryMs: 5 * MINUTE_MS,
      /** The longest pause after that. */
      longestLateRetryMs: HOUR_MS,
      /** The longest that an endpoint can ask for. */
      longestRetryAfterMs: HOUR_MS,
      /** How long later events of the account wait for one that is not accepted. */
      giveUpAfterMs: HOUR_MS,
      /** How long it is tried in all. */
      dropAfterMs: 3 * DAY_MS,
      /** How long an endpoint may accept nothing before it is switched off. */
      switchOffAfterMs: 3 * DAY_MS,
    },
  };
}

function httpOf(env: Variables) {
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, HTTP_REQUEST_TIMEOUT_MS: requestTimeoutMs } = env;
  return {
    // For localhost, Fastify would open a second server on ::1, to which no limit would apply.
    host: env.HOST === 'localhost' ? '127.0.0.1' : env.HOST,
    port: env.PORT,
    maxConnections: env.HTTP_MAX_CONNECTIONS,
    /** The most requests of one connection that wait for their answers. */
    maxPipelined: 16,
    /** The most batches whose bodies are being read or whose transactions are in flight. */
    maxBatches: 4,
    /** For receiving the whole request, headers included. */
    requestTimeoutMs,
    headersTimeoutMs: Math.ceil(requestTimeoutMs / 3),
    /** How long a client may leave an answer unread. */
    answerTimeoutMs: requestTimeoutMs,
    keepAliveTimeoutMs: env.HTTP_KEEP_ALIVE_TIMEOUT_MS,
    /** PEM files. Undefined: HTTP without TLS. */
    tls: certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile },
    /** Addresses and networks whose X-Forwarded-For is trusted. */
    trustedProxies: env.TRUSTED_PROXIES,
    /** The origins of web pages whose scripts may read answers. */
    corsOrigins: env.CORS_ORIGINS,
    swaggerUi: env.SWAGGER_UI === 'on',
  };
}

function databaseOf(env: Variables) {
  return {
    /** The shards in the bank's order. Undefined: one shard on the embedded PostgreSQL. */
    shards: shardsOf(env),
    /** The schema on the embedded PostgreSQL, and the one of DATABASE_URL. */
    schema: env.DATABASE_SCHEMA,
    dataDir: env.DATA_DIR,
    /** Whether statements are prepared once per connection; auto: only on direct connections. */
    preparedStatements:
      env.PREPARED_STATEMENTS === 'auto' ? ('auto' as const) : env.PREPARED_STATEMENTS === 'on',
    /** True: fail on a database server that may lose committed transactions; false: only warn. */
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
    /** The most commands in one database transaction. */
    batch: env.LEDGER_BATCH,
    /** The most requests of one shard in flight; fewer when the database is slow. */
    maxInFlight,
    /** The most requests of one shard that wait; one more is rejected. */
    queue: 10 * maxInFlight,
    /** The most batches in flight, over all shards of one server. */
    batchWriters: env.LEDGER_BATCH_WRITERS,
    /** The most accounts of one shard whose locked rows are waited for at the same time. */
    lockWaiters: 4,
    /** The most atomic batches of one shard in flight. */
    atomicBatches: 2,
    /** How long a command may wait for its batch. */
    commandTimeoutMs: env.LEDGER_COMMAND_TIMEOUT_MS,
    transactionTimeoutMs,
    /** How long a statement may wait for a lock. */
    lockTimeoutMs: Math.min(1_000, transactionTimeoutMs),
    /** How long to look for the outcome of a lost COMMIT. */
    resolveTimeoutMs: 10_000,
    /** How often to try a transaction that the server rolls back, as after a deadlock. */
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
    /** The URL of the provider's public keys (RFC 7517). */
    jwksUrl,
    /** The claim that holds the scopes: a text separated by spaces, or a list. */
    scopesClaim: env.JWT_SCOPES_CLAIM,
    /** How far the provider's clock may differ from this one. */
    clockToleranceS: 5,
  };
}

/** Without a burst setting, a user may send a second's worth at once. Undefined: no limit. */
function rateLimitOf(env: Variables) {
  const perSecond = env.RATE_LIMIT_TRANSACTIONS_PER_SECOND;
  return perSecond === 0 ? undefined : { perSecond, burst: env.RATE_LIMIT_BURST || perSecond };
}

/** Undefined: nothing is traced. */
function tracingOf(env: Variables) {
  if (env.OTEL_EXPORTER_OTLP_ENDPOINT === undefined) return undefined;
  return {
    endpoint: env.OTEL_EXPORTER_OTLP_ENDPOINT,
    protocol: env.OTEL_EXPORTER_OTLP_PROTOCOL,
    sampler: env.OTEL_TRACES_SAMPLER,
    /** The share of traces that a sampler by ratio records. */
    ratio: env.OTEL_TRACES_SAMPLER_ARG,
    /** How long a stop waits for the last spans to be exported. */
    closeTimeoutMs: 2_000,
  };
}

/**
 * Whether the cache may answer reads. The embedded server belongs to one instance, so with one worker nobody else
 * writes. Another server may have several instances, which see each other's writes only through Redis.
 */
function servesReads(env: Variables): boolean {
  if (env.BALANCE_CACHE !== 'auto') return env.BALANCE_CACHE === 'on';
  return (isEmbedded(env) && env.WORKERS === 1) || env.REDIS_URL !== undefined;
}

/**
 * A bank for trying things out, which no other machine can reach. Only then are credentials optional without AUTH=off.
 */
function isOnlyForThisMachine(env: Variables): boolean {
  const behindProxy = env.TRUSTED_PROXIES.length > 0;
  const inUse = env.NODE_ENV === 'production' || behindProxy || env.JWT_ISSUER !== undefined;
  return isEmbedded(env) && isThisMachine(env.HOST) && !inUse;
}

/**
 * Who can only send from this machine can reach its private addresses anyway. Anybody else would reach them through the
 * service.
 */
function allowsPrivateAddresses(env: Variables): boolean {
  const { WEBHOOK_PRIVATE_ADDRESSES: chosen } = env;
  return chosen === 'auto' ? env.AUTH === 'auto' && isOnlyForThisMachine(env) : chosen === 'on';
}

function isEmbedded(env: Variables): boolean {
  return env.DATABASE_URL === undefined && env.SHARDS === undefined;
}

/** Connections to the first shard for API keys: one reads them, one records their use. */
export const KEY_CONNECTIONS = 2;

/** Connections for a shard's ledger: each batch writer, lock waiter and atomic batch has one. */
export function ledgerConnections({ batchWriters, lockWaiters, atomicBatches }: Config['ledger']): number {
  return batchWriters + lockWaiters + atomicBatches;
}

/** The most connections of one process to this many shards. */
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
