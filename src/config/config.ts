import { availableParallelism } from 'node:os';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import {
  describeShard,
  isPostgresUrl,
  parseShardList,
  SCHEMA_NAME,
  SHARD_URL_FORM,
  type ShardAddress,
} from './shard-address.js';
import { UserError } from '../domain/user-error.js';

/** The identity provider whose tokens are believed, and how they are to look. */
export interface TokenSettings {
  readonly issuer: string;
  readonly audience: string;
  /** Where its public keys are (RFC 7517). */
  readonly jwksUrl: string;
  /** The claim that holds the scopes: a text with spaces between them, or a list. */
  readonly scopesClaim: string;
  /** How far its clock may be off. */
  readonly clockToleranceS: number;
}

/** The service's settings: read once, validated, frozen. Durations are in milliseconds. */
export interface Config {
  readonly host: string;
  readonly port: number;
  /** Processes that serve requests behind the one port. 1: this one. */
  readonly workers: number;
  readonly http: {
    readonly maxConnections: number;
    /** Requests of one connection that wait for their answers. */
    readonly maxPipelined: number;
    /** Batches whose bodies are read or whose transactions are at work. */
    readonly maxBatches: number;
    readonly headersTimeoutMs: number;
    /** Of the whole request, headers included. */
    readonly requestTimeoutMs: number;
    readonly keepAliveTimeoutMs: number;
    readonly answerTimeoutMs: number;
    /** Files in PEM. Undefined: HTTP without TLS. */
    readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
    /** Of web pages whose scripts may read answers. */
    readonly corsOrigins: readonly string[];
    readonly swaggerUi: boolean;
  };
  readonly auth: {
    /** Requests need a credential. */
    readonly enabled: boolean;
    /** They need none because only this machine can send them; AUTH=off is not set. */
    readonly onlyThisMachine: boolean;
    /** Malformed credentials that one address may send. */
    readonly failuresPerMinute: number;
    /** How long after its last read an API key is believed while keys can't be read. */
    readonly keysStaleMs: number;
    /** Undefined: there is no identity provider. */
    readonly jwt: TokenSettings | undefined;
  };
  /** Undefined: the metrics and the detail of health are served on the one port there is. */
  readonly management: { readonly host: string; readonly port: number } | undefined;
  /** In the bank's order. Undefined: one shard, on the embedded PostgreSQL. */
  readonly shards: readonly ShardAddress[] | undefined;
  /** The schema on the embedded PostgreSQL, and the one of DATABASE_URL. */
  readonly databaseSchema: string;
  /** Whether statements are prepared once per connection; auto: where connections are direct. */
  readonly preparedStatements: boolean | 'auto';
  /** Refuse a database server that may lose what it has committed. */
  readonly requireDurable: boolean;
  readonly databaseConnectTimeoutMs: number;
  readonly databaseReadPool: number;
  readonly databaseStartTimeoutMs: number;
  readonly dataDir: string;
  readonly ledger: {
    readonly batch: number;
    readonly maxInFlight: number;
    readonly queue: number;
    readonly batchWriters: number;
    readonly lockWaiters: number;
    readonly atomicBatches: number;
    readonly commandTimeoutMs: number;
    readonly transactionTimeoutMs: number;
    readonly lockTimeoutMs: number;
    readonly resolveTimeoutMs: number;
    readonly attempts: number;
  };
  readonly readTimeoutMs: number;
  readonly balanceCache: { readonly servesReads: boolean; readonly entries: number; readonly ttlMs: number };
  /** Undefined: no Redis. */
  readonly redis: { readonly url: string; readonly timeoutMs: number } | undefined;
  readonly outboxPollMs: number;
  /** Undefined: no broker; events stay in this process. */
  readonly rabbitmq:
    { readonly url: string; readonly exchange: string; readonly confirmTimeoutMs: number } | undefined;
  /** Undefined: no limit. */
  readonly rateLimit: { readonly perSecond: number; readonly burst: number } | undefined;
  /** Addresses and networks whose X-Forwarded-For is believed. */
  readonly trustedProxies: readonly string[];
  readonly log: {
    readonly level: LogLevel;
    readonly format: 'json' | 'pretty';
    readonly requests: 'problems' | 'all';
    /** Where several processes write one log. */
    readonly showPid: boolean;
  };
  readonly slowRequestMs: number;
  readonly shutdownDelayMs: number;
  readonly shutdownTimeoutMs: number;
}

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

/** The environment does not describe a service that can run. Lists every problem; never shows a value. */
export class ConfigError extends UserError {
  constructor(readonly problems: readonly string[]) {
    super(
      `The configuration has ${problems.length} problem(s):\n${problems.map((line) => `  - ${line}`).join('\n')}`,
    );
    this.name = 'ConfigError';
  }
}

const integer = (fallback: number, min: number, max: number) =>
  z
    .string()
    .default(String(fallback))
    .refine((text) => /^\d{1,15}$/.test(text) && Number(text) >= min && Number(text) <= max, {
      message: `must be a whole number from ${min} to ${max}`,
    })
    .transform(Number);

const MAX_WORKERS = 128;

const workerCount = z
  .string()
  .default('1')
  .refine(
    (text) => text === 'auto' || (/^\d{1,3}$/.test(text) && Number(text) >= 1 && Number(text) <= MAX_WORKERS),
    {
      message: `must be a whole number from 1 to ${MAX_WORKERS}, or auto`,
    },
  )
  .transform((text) => (text === 'auto' ? Math.min(availableParallelism(), MAX_WORKERS) : Number(text)));

const choice = <const T extends readonly [string, ...string[]]>(values: T, fallback: T[number]) =>
  z.enum(values, { message: `must be one of: ${values.join(', ')}` }).default(fallback as never);

const postgresUrl = z
  .string()
  .refine(isPostgresUrl, { message: 'must be a URL like postgresql://user:password@host:5432/database' })
  .optional();

const shardList = z
  .string()
  .transform((text, context) => {
    const shards = parseShardList(text);
    if (shards) return shards;
    context.addIssue({
      code: 'custom',
      message: `must be database URLs with a schema, apart by commas or spaces, each like ${SHARD_URL_FORM}`,
    });
    return z.NEVER;
  })
  .optional();

const serverUrl = (protocols: readonly string[], example: string) =>
  z
    .string()
    .refine((text) => URL.canParse(text) && protocols.includes(new URL(text).protocol), {
      message: `must be a URL like ${example}`,
    })
    .optional();

/** Exact ones alone: a pattern lets in more than its author meant, and `*` everybody. */
const originList = z
  .string()
  .default('')
  .transform((text) => text.split(/[\s,]+/).filter((entry) => entry !== ''))
  .refine((entries) => entries.every(isOrigin), {
    message: 'must be origins like https://app.example.com, without a path, apart by commas or spaces',
  });

const networkList = z
  .string()
  .default('')
  .transform((text) => text.split(/[\s,]+/).filter((entry) => entry !== ''))
  .refine((entries) => entries.every(isNetwork), {
    message: 'must be IP addresses or networks like 10.0.0.0/8, apart by commas or spaces',
  });

const ENVIRONMENT = z.object({
  NODE_ENV: z.string().optional(),
  HOST: z.string().default('127.0.0.1'),
  PORT: integer(3000, 0, 65_535),
  WORKERS: workerCount,
  HTTP_MAX_CONNECTIONS: integer(15_000, 1, 1_000_000),
  HTTP_MAX_PIPELINED: integer(16, 1, 10_000),
  HTTP_MAX_BATCHES: integer(4, 1, 1_000),
  HTTP_HEADERS_TIMEOUT_MS: integer(10_000, 100, 600_000),
  HTTP_REQUEST_TIMEOUT_MS: integer(30_000, 100, 600_000),
  HTTP_KEEP_ALIVE_TIMEOUT_MS: integer(72_000, 100, 3_600_000),
  HTTP_ANSWER_TIMEOUT_MS: integer(30_000, 100, 600_000),
  TLS_CERT_FILE: z.string().optional(),
  TLS_KEY_FILE: z.string().optional(),
  CORS_ORIGINS: originList,
  SWAGGER_UI: choice(['on', 'off'], 'on'),
  MANAGEMENT_HOST: z.string().default('127.0.0.1'),
  MANAGEMENT_PORT: integer(0, 0, 65_535),
  DATABASE_URL: postgresUrl,
  MIGRATION_DATABASE_URL: postgresUrl,
  DATABASE_SCHEMA: z
    .string()
    .regex(SCHEMA_NAME, { message: 'must be a lower-case SQL identifier of at most 63 characters' })
    .default('bank'),
  SHARDS: shardList,
  MIGRATION_SHARDS: shardList,
  PREPARED_STATEMENTS: choice(['auto', 'on', 'off'], 'auto'),
  DATABASE_CONNECT_TIMEOUT_MS: integer(2_000, 10, 60_000),
  DATABASE_READ_POOL: integer(8, 1, 1_000),
  DATABASE_START_TIMEOUT_MS: integer(30_000, 0, 3_600_000),
  DATA_DIR: z.string().default('.data'),
  LEDGER_BATCH: integer(1_000, 1, 10_000),
  LEDGER_AT_WORK: integer(1_000, 1, 1_000_000),
  LEDGER_QUEUE: integer(10_000, 1, 1_000_000),
  LEDGER_FLUSHERS: integer(2, 1, 64),
  LEDGER_LANES: integer(4, 1, 64),
  LEDGER_ATOMIC_BATCHES: integer(2, 1, 64),
  LEDGER_COMMAND_TIMEOUT_MS: integer(5_000, 10, 600_000),
  LEDGER_TRANSACTION_TIMEOUT_MS: integer(5_000, 10, 600_000),
  LEDGER_LOCK_TIMEOUT_MS: integer(1_000, 1, 600_000),
  LEDGER_RESOLVE_TIMEOUT_MS: integer(10_000, 10, 600_000),
  LEDGER_ATTEMPTS: integer(5, 1, 100),
  READ_TIMEOUT_MS: integer(5_000, 10, 600_000),
  BALANCE_CACHE: choice(['auto', 'on', 'off'], 'auto'),
  BALANCE_CACHE_ENTRIES: integer(100_000, 1, 10_000_000),
  BALANCE_CACHE_TTL_MS: integer(30_000, 1, 3_600_000),
  REDIS_URL: serverUrl(['redis:', 'rediss:'], 'redis://:password@host:6379'),
  REDIS_TIMEOUT_MS: integer(50, 1, 1_000),
  OUTBOX_POLL_MS: integer(500, 10, 60_000),
  RABBITMQ_URL: serverUrl(['amqp:', 'amqps:'], 'amqp://user:password@host:5672'),
  RABBITMQ_EXCHANGE: z
    .string()
    .regex(/^[\w.:-]{1,127}$/, { message: 'must be 1 to 127 letters, digits and . : _ -' })
    .default('bank'),
  RABBITMQ_CONFIRM_TIMEOUT_MS: integer(10_000, 100, 600_000),
  RATE_LIMIT_TRANSACTIONS_PER_SECOND: integer(0, 0, 1_000_000),
  RATE_LIMIT_BURST: integer(0, 0, 1_000_000),
  TRUSTED_PROXIES: networkList,
  AUTH: choice(['auto', 'on', 'off'], 'auto'),
  AUTH_FAILURES_PER_MINUTE: integer(60, 1, 1_000_000),
  AUTH_KEYS_STALE_MS: integer(900_000, 0, 86_400_000),
  JWT_ISSUER: z.string().optional(),
  JWT_AUDIENCE: z.string().optional(),
  JWT_JWKS_URL: z
    .string()
    .refine(isSafeUrl, {
      message: 'must be a URL like https://idp.example.com/jwks; http on a loopback address only',
    })
    .optional(),
  JWT_SCOPES_CLAIM: z.string().default('scope'),
  JWT_CLOCK_TOLERANCE_S: integer(5, 0, 60),
  LOG_LEVEL: choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], 'info'),
  LOG_FORMAT: choice(['auto', 'json', 'pretty'], 'auto'),
  LOG_REQUESTS: choice(['problems', 'all'], 'problems'),
  SLOW_REQUEST_MS: integer(1_000, 1, 600_000),
  SHUTDOWN_DELAY_MS: integer(0, 0, 600_000),
  SHUTDOWN_TIMEOUT_MS: integer(50_000, 100, 3_600_000),
});

/** The variables that the service knows, for the check that `.env.example` names them all. */
export const VARIABLES: readonly string[] = Object.keys(ENVIRONMENT.shape);

/** @throws ConfigError naming every variable that is wrong */
export function loadConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  // A variable that is set to nothing, as an env file does, counts as not set.
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = ENVIRONMENT.safeParse(given);
  const problems = parsed.error?.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`) ?? [];
  problems.push(...contradictions(given));
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  return deepFreeze(fromVariables(parsed.data));
}

/** Connections to the first shard for API keys: one reads them, one records their use. */
export const KEY_CONNECTIONS = 2;

/** Connections of one process to the databases of this many shards, at most. */
export function connectionsTo(shards: number, { ledger, databaseReadPool, auth }: Config): number {
  const perShard = ledger.batchWriters + ledger.lockWaiters + ledger.atomicBatches + databaseReadPool;
  return shards * perShard + (auth.enabled ? KEY_CONNECTIONS : 0);
}

type Variables = z.output<typeof ENVIRONMENT>;

function fromVariables(env: Variables): Config {
  const terminal = process.stdout.isTTY ? 'pretty' : 'json';
  return {
    // Fastify would open a second server for ::1, which no limit would watch.
    host: env.HOST === 'localhost' ? '127.0.0.1' : env.HOST,
    port: env.PORT,
    workers: env.WORKERS,
    http: httpOf(env),
    auth: {
      enabled: env.AUTH === 'on' || (env.AUTH === 'auto' && !isOnlyForThisMachine(env)),
      onlyThisMachine: env.AUTH === 'auto' && isOnlyForThisMachine(env),
      failuresPerMinute: env.AUTH_FAILURES_PER_MINUTE,
      keysStaleMs: env.AUTH_KEYS_STALE_MS,
      jwt: jwtOf(env),
    },
    management:
      env.MANAGEMENT_PORT === 0 ? undefined : { host: env.MANAGEMENT_HOST, port: env.MANAGEMENT_PORT },
    shards: shardsOf(env),
    databaseSchema: env.DATABASE_SCHEMA,
    preparedStatements: env.PREPARED_STATEMENTS === 'auto' ? 'auto' : env.PREPARED_STATEMENTS === 'on',
    requireDurable: env.NODE_ENV === 'production',
    databaseConnectTimeoutMs: env.DATABASE_CONNECT_TIMEOUT_MS,
    databaseReadPool: env.DATABASE_READ_POOL,
    databaseStartTimeoutMs: env.DATABASE_START_TIMEOUT_MS,
    dataDir: env.DATA_DIR,
    ledger: {
      batch: env.LEDGER_BATCH,
      maxInFlight: env.LEDGER_AT_WORK,
      queue: env.LEDGER_QUEUE,
      batchWriters: env.LEDGER_FLUSHERS,
      lockWaiters: env.LEDGER_LANES,
      atomicBatches: env.LEDGER_ATOMIC_BATCHES,
      commandTimeoutMs: env.LEDGER_COMMAND_TIMEOUT_MS,
      transactionTimeoutMs: env.LEDGER_TRANSACTION_TIMEOUT_MS,
      lockTimeoutMs: env.LEDGER_LOCK_TIMEOUT_MS,
      resolveTimeoutMs: env.LEDGER_RESOLVE_TIMEOUT_MS,
      attempts: env.LEDGER_ATTEMPTS,
    },
    readTimeoutMs: env.READ_TIMEOUT_MS,
    balanceCache: {
      // The embedded server belongs to one instance, so with one worker nobody else writes; an outside one may have
      // several. They see each other's writes through Redis alone.
      servesReads:
        env.BALANCE_CACHE === 'auto'
          ? (isEmbedded(env) && env.WORKERS === 1) || env.REDIS_URL !== undefined
          : env.BALANCE_CACHE === 'on',
      entries: env.BALANCE_CACHE_ENTRIES,
      ttlMs: env.BALANCE_CACHE_TTL_MS,
    },
    redis: env.REDIS_URL === undefined ? undefined : { url: env.REDIS_URL, timeoutMs: env.REDIS_TIMEOUT_MS },
    outboxPollMs: env.OUTBOX_POLL_MS,
    rabbitmq:
      env.RABBITMQ_URL === undefined
        ? undefined
        : {
            url: env.RABBITMQ_URL,
            exchange: env.RABBITMQ_EXCHANGE,
            confirmTimeoutMs: env.RABBITMQ_CONFIRM_TIMEOUT_MS,
          },
    rateLimit: rateLimitOf(env),
    trustedProxies: env.TRUSTED_PROXIES,
    log: {
      level: env.LOG_LEVEL,
      format: env.LOG_FORMAT === 'auto' ? terminal : env.LOG_FORMAT,
      requests: env.LOG_REQUESTS,
      showPid: env.WORKERS > 1,
    },
    slowRequestMs: env.SLOW_REQUEST_MS,
    shutdownDelayMs: env.SHUTDOWN_DELAY_MS,
    shutdownTimeoutMs: env.SHUTDOWN_TIMEOUT_MS,
  };
}

function shardsOf(env: Variables): ShardAddress[] | undefined {
  if (env.DATABASE_URL !== undefined) {
    return [{ url: env.DATABASE_URL, schema: env.DATABASE_SCHEMA, migrationUrl: env.MIGRATION_DATABASE_URL }];
  }
  return env.SHARDS?.map((shard, index) => ({ ...shard, migrationUrl: env.MIGRATION_SHARDS?.[index]?.url }));
}

function httpOf(env: Variables): Config['http'] {
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile } = env;
  return {
    maxConnections: env.HTTP_MAX_CONNECTIONS,
    maxPipelined: env.HTTP_MAX_PIPELINED,
    maxBatches: env.HTTP_MAX_BATCHES,
    headersTimeoutMs: env.HTTP_HEADERS_TIMEOUT_MS,
    requestTimeoutMs: env.HTTP_REQUEST_TIMEOUT_MS,
    keepAliveTimeoutMs: env.HTTP_KEEP_ALIVE_TIMEOUT_MS,
    answerTimeoutMs: env.HTTP_ANSWER_TIMEOUT_MS,
    tls: certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile },
    corsOrigins: env.CORS_ORIGINS,
    swaggerUi: env.SWAGGER_UI === 'on',
  };
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

function jwtOf(env: Variables): TokenSettings | undefined {
  const { JWT_ISSUER: issuer, JWT_AUDIENCE: audience, JWT_JWKS_URL: jwksUrl } = env;
  if (issuer === undefined || audience === undefined || jwksUrl === undefined) return undefined;
  return {
    ...{ issuer, audience, jwksUrl },
    scopesClaim: env.JWT_SCOPES_CLAIM,
    clockToleranceS: env.JWT_CLOCK_TOLERANCE_S,
  };
}

/** Without a burst of its own a user may send a second's worth at once. */
function rateLimitOf(env: Variables): Config['rateLimit'] {
  const perSecond = env.RATE_LIMIT_TRANSACTIONS_PER_SECOND;
  return perSecond === 0 ? undefined : { perSecond, burst: env.RATE_LIMIT_BURST || perSecond };
}

/** Relations between bounds that must hold for them to mean anything: the first is at most the second. */
const AT_MOST = [
  ['HTTP_HEADERS_TIMEOUT_MS', 'HTTP_REQUEST_TIMEOUT_MS'],
  ['LEDGER_LOCK_TIMEOUT_MS', 'LEDGER_TRANSACTION_TIMEOUT_MS'],
  ['LEDGER_BATCH', 'LEDGER_QUEUE'],
] as const;

function contradictions(given: NodeJS.ProcessEnv): string[] {
  const problems = AT_MOST.flatMap(([smaller, larger]) => {
    const low = ENVIRONMENT.shape[smaller].safeParse(given[smaller]);
    const high = ENVIRONMENT.shape[larger].safeParse(given[larger]);
    const broken = low.success && high.success && low.data > high.data;
    return broken ? [`${smaller} must not be larger than ${larger}`] : [];
  });
  return [
    ...problems,
    ...listenerContradictions(given),
    ...authContradictions(given),
    ...workerContradictions(given),
    ...shardContradictions(given),
  ];
}

function listenerContradictions(given: NodeJS.ProcessEnv): string[] {
  const problems: string[] = [];
  if ((given.TLS_CERT_FILE === undefined) !== (given.TLS_KEY_FILE === undefined)) {
    const [set, missing] =
      given.TLS_KEY_FILE === undefined
        ? ['TLS_CERT_FILE', 'TLS_KEY_FILE']
        : ['TLS_KEY_FILE', 'TLS_CERT_FILE'];
    problems.push(`${set} must not be set without ${missing}: TLS needs both`);
  }
  const port = ENVIRONMENT.shape.PORT.safeParse(given.PORT).data;
  const management = ENVIRONMENT.shape.MANAGEMENT_PORT.safeParse(given.MANAGEMENT_PORT).data;
  if (management !== undefined && management !== 0 && management === port) {
    problems.push('MANAGEMENT_PORT must not be PORT: it is a second one');
  }
  return problems;
}

function authContradictions(given: NodeJS.ProcessEnv): string[] {
  const problems: string[] = [];
  const provider = ['JWT_ISSUER', 'JWT_AUDIENCE', 'JWT_JWKS_URL'];
  const missing = provider.filter((name) => given[name] === undefined);
  if (missing.length > 0 && missing.length < provider.length) {
    problems.push(`${missing.join(' and ')} must be set, too: tokens need ${provider.join(', ')}`);
  }
  if (given.AUTH === 'off' && missing.length < provider.length) {
    problems.push('AUTH must not be off with an identity provider: its tokens would not be looked at');
  }
  if (given.AUTH === 'off' && given.NODE_ENV === 'production') {
    problems.push('AUTH must not be off with NODE_ENV=production: everybody could do everything');
  }
  return problems;
}

/** Workers are to a client what one process is, so what each would know or count for itself needs Redis. */
function workerContradictions(given: NodeJS.ProcessEnv): string[] {
  const problems: string[] = [];
  const workers = ENVIRONMENT.shape.WORKERS.safeParse(given.WORKERS).data ?? 1;
  if (workers > 1 && given.REDIS_URL === undefined) {
    if (given.BALANCE_CACHE === 'on') {
      problems.push(
        'BALANCE_CACHE must not be on with several WORKERS without REDIS_URL: none sees what the others write',
      );
    }
    const rate = ENVIRONMENT.shape.RATE_LIMIT_TRANSACTIONS_PER_SECOND.safeParse(
      given.RATE_LIMIT_TRANSACTIONS_PER_SECOND,
    );
    if (rate.success && rate.data > 0) {
      problems.push(
        'RATE_LIMIT_TRANSACTIONS_PER_SECOND must not be set with several WORKERS without REDIS_URL: each would count ' +
          'for itself',
      );
    }
  }
  return problems;
}

function shardContradictions(given: NodeJS.ProcessEnv): string[] {
  const problems: string[] = [];
  if (
    parseShardList(given.SHARDS ?? '') &&
    given.DATABASE_URL !== undefined &&
    isPostgresUrl(given.DATABASE_URL)
  ) {
    problems.push('SHARDS must not be set beside DATABASE_URL: each names the bank');
  }
  if (given.MIGRATION_DATABASE_URL !== undefined && given.DATABASE_URL === undefined) {
    problems.push('MIGRATION_DATABASE_URL must not be set without DATABASE_URL');
  }
  const places = parseShardList(given.SHARDS ?? '')?.map(describeShard) ?? [];
  if (new Set(places).size < places.length) problems.push('SHARDS must not name a shard twice');
  const schemas = (list: string | undefined) => parseShardList(list ?? '')?.map(({ schema }) => schema);
  const [shards, direct] = [schemas(given.SHARDS), schemas(given.MIGRATION_SHARDS)];
  if (given.MIGRATION_SHARDS !== undefined && given.SHARDS === undefined) {
    problems.push('MIGRATION_SHARDS must not be set without SHARDS');
  } else if (shards && direct && shards.join() !== direct.join()) {
    problems.push('MIGRATION_SHARDS must name the same schemas as SHARDS, in the same order');
  }
  return problems;
}

function isOrigin(text: string): boolean {
  return /^https?:/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}

/** Whether nobody but this machine can send to an address of it. */
export function isThisMachine(host: string): boolean {
  return host === 'localhost' || isLoopback(host);
}

function isLoopback(text: string): boolean {
  return ipaddr.isValid(text) && ipaddr.process(text).range() === 'loopback';
}

/** Whoever can change the keys on their way can make tokens. */
function isSafeUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  // It is fetched without them, which the provider would refuse.
  if (username !== '' || password !== '') return false;
  const here = isThisMachine(hostname.replace(/^\[|\]$/g, ''));
  return protocol === 'https:' || (protocol === 'http:' && here);
}

function isNetwork(text: string): boolean {
  return ipaddr.isValid(text) || ipaddr.isValidCIDR(text);
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value)) {
    if (typeof member === 'object' && member !== null) deepFreeze(member as object);
  }
  return Object.freeze(value);
}
