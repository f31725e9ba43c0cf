import type { z } from 'zod';
import { SCHEMA_NAME } from './shard-address.js';
import {
  choice,
  currency,
  integer,
  keysUrl,
  matching,
  networkList,
  originList,
  postgresUrl,
  secretKeyList,
  ratio,
  serverUrl,
  shardList,
  text,
  workerCount,
} from './values.js';

/**
 * Every environment variable of the service, with its default, bounds and form, in the order of `.env.example`, which
 * explains them. Durations are in milliseconds.
 */
export const VARIABLES = {
  NODE_ENV: text(),
  HOST: text().default('127.0.0.1'),
  PORT: integer(3_000, 0, 65_535),
  WORKERS: workerCount(),

  // Connections
  HTTP_MAX_CONNECTIONS: integer(15_000, 1, 1_000_000),
  HTTP_REQUEST_TIMEOUT_MS: integer(30_000, 100, 600_000),
  HTTP_KEEP_ALIVE_TIMEOUT_MS: integer(72_000, 100, 3_600_000),
  TLS_CERT_FILE: text(),
  TLS_KEY_FILE: text(),
  TRUSTED_PROXIES: networkList(),
  CORS_ORIGINS: originList(),
  SWAGGER_UI: choice(['on', 'off'], 'on'),
  MANAGEMENT_PORT: integer(0, 0, 65_535),
  MANAGEMENT_HOST: text().default('127.0.0.1'),

  // Access
  AUTH: choice(['auto', 'on', 'off'], 'auto'),
  AUTH_KEYS_STALE_MS: integer(900_000, 0, 86_400_000),
  JWT_ISSUER: text(),
  JWT_AUDIENCE: text(),
  JWT_JWKS_URL: keysUrl(),
  JWT_SCOPES_CLAIM: text().default('scope'),
  RATE_LIMIT_TRANSACTIONS_PER_SECOND: integer(0, 0, 1_000_000),
  RATE_LIMIT_BURST: integer(0, 0, 1_000_000),

  // Database
  DATABASE_URL: postgresUrl(),
  DATABASE_SCHEMA: matching(
    SCHEMA_NAME,
    'bank',
    'must be a lower-case SQL identifier of at most 63 characters',
  ),
  MIGRATION_DATABASE_URL: postgresUrl(),
  SHARDS: shardList(),
  MIGRATION_SHARDS: shardList(),
  DATA_DIR: text().default('.data'),
  CURRENCY: currency('USD'),
  DEMO: choice(['account', 'alive'], 'account'),
  PREPARED_STATEMENTS: choice(['auto', 'on', 'off'], 'auto'),
  DATABASE_READ_POOL: integer(8, 1, 1_000),
  DATABASE_CONNECT_TIMEOUT_MS: integer(2_000, 10, 60_000),
  DATABASE_START_TIMEOUT_MS: integer(30_000, 0, 3_600_000),

  // Ledger
  LEDGER_MAX_IN_FLIGHT: integer(1_000, 1, 1_000_000),
  LEDGER_BATCH: integer(1_000, 1, 10_000),
  LEDGER_BATCH_WRITERS: integer(2, 1, 64),
  LEDGER_COMMAND_TIMEOUT_MS: integer(5_000, 10, 600_000),
  LEDGER_TRANSACTION_TIMEOUT_MS: integer(5_000, 10, 600_000),

  // Cached balances and Redis
  BALANCE_CACHE: choice(['auto', 'on', 'off'], 'auto'),
  BALANCE_CACHE_TTL_MS: integer(30_000, 1, 3_600_000),
  REDIS_URL: serverUrl(['redis:', 'rediss:'], 'redis://:password@host:6379'),
  REDIS_TIMEOUT_MS: integer(50, 1, 1_000),

  // Events
  RABBITMQ_URL: serverUrl(['amqp:', 'amqps:'], 'amqp://user:password@host:5672'),
  RABBITMQ_EXCHANGE: matching(/^[\w.:-]{1,127}$/, 'bank', 'must be 1 to 127 letters, digits and . : _ -'),
  EVENT_RETENTION_DAYS: integer(30, 1, 3_650),
  WEBHOOK_KEYS: secretKeyList(),
  WEBHOOK_PRIVATE_ADDRESSES: choice(['auto', 'on', 'off'], 'auto'),

  // Traces
  OTEL_EXPORTER_OTLP_ENDPOINT: serverUrl(['http:', 'https:'], 'http://host:4318'),
  OTEL_EXPORTER_OTLP_PROTOCOL: choice(['http/protobuf', 'http/json'], 'http/protobuf'),
  OTEL_TRACES_SAMPLER: choice(
    [
      ...(['always_on', 'always_off', 'traceidratio'] as const),
      ...(['parentbased_always_on', 'parentbased_always_off', 'parentbased_traceidratio'] as const),
    ],
    'parentbased_always_on',
  ),
  OTEL_TRACES_SAMPLER_ARG: ratio(1),

  // Operation
  LOG_LEVEL: choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], 'info'),
  LOG_FORMAT: choice(['auto', 'json', 'pretty'], 'auto'),
  LOG_REQUESTS: choice(['problems', 'all'], 'problems'),
  SLOW_REQUEST_MS: integer(1_000, 1, 600_000),
  SHUTDOWN_DELAY_MS: integer(0, 0, 600_000),
};

/** Variables of OpenTelemetry that its exporter and its resource read by themselves. */
export const READ_BY_OPEN_TELEMETRY =
  /^OTEL_(SERVICE_NAME|RESOURCE_ATTRIBUTES|EXPORTER_OTLP_(TRACES_)?(HEADERS|TIMEOUT|COMPRESSION|CERTIFICATE|CLIENT_CERTIFICATE|CLIENT_KEY))$/;

/**
 * Former names of variables. A setting under such a name would silently have no effect, so the service does not start.
 */
export const RENAMED = {
  LEDGER_AT_WORK: 'LEDGER_MAX_IN_FLIGHT',
  LEDGER_FLUSHERS: 'LEDGER_BATCH_WRITERS',
} as const;

/** The values of the variables, once they are read. */
export type Variables = { readonly [Name in keyof typeof VARIABLES]: z.output<(typeof VARIABLES)[Name]> };
