import { z } from 'zod';

/** The service's settings: read once, validated, frozen. Durations are in milliseconds. */
export interface Config {
  readonly host: string;
  readonly port: number;
  /** Undefined: the embedded PostgreSQL. */
  readonly databaseUrl: string | undefined;
  readonly databaseSchema: string;
  readonly databaseConnectTimeoutMs: number;
  readonly databaseReadPool: number;
  readonly databaseStartTimeoutMs: number;
  readonly dataDir: string;
  readonly ledger: {
    readonly batch: number;
    readonly queue: number;
    readonly flushers: number;
    readonly lanes: number;
    readonly commandTimeoutMs: number;
    readonly transactionTimeoutMs: number;
    readonly lockTimeoutMs: number;
    readonly resolveTimeoutMs: number;
    readonly attempts: number;
  };
  readonly readTimeoutMs: number;
  readonly balanceCache: { readonly servesReads: boolean; readonly entries: number; readonly ttlMs: number };
  readonly outboxPollMs: number;
  readonly log: {
    readonly level: LogLevel;
    readonly format: 'json' | 'pretty';
    readonly requests: 'problems' | 'all';
  };
  readonly slowRequestMs: number;
  readonly shutdownDelayMs: number;
  readonly shutdownTimeoutMs: number;
}

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

/** The environment does not describe a service that can run. Lists every problem; never shows a value. */
export class ConfigError extends Error {
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

const choice = <const T extends readonly [string, ...string[]]>(values: T, fallback: T[number]) =>
  z.enum(values, { message: `must be one of: ${values.join(', ')}` }).default(fallback as never);

const ENVIRONMENT = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: integer(3000, 0, 65_535),
  DATABASE_URL: z
    .string()
    .refine(isPostgresUrl, { message: 'must be a URL like postgresql://user:password@host:5432/database' })
    .optional(),
  DATABASE_SCHEMA: z
    .string()
    .regex(/^[a-z_][a-z0-9_]{0,62}$/, {
      message: 'must be a lower-case SQL identifier of at most 63 characters',
    })
    .default('bank'),
  DATABASE_CONNECT_TIMEOUT_MS: integer(2_000, 10, 60_000),
  DATABASE_READ_POOL: integer(8, 1, 1_000),
  DATABASE_START_TIMEOUT_MS: integer(30_000, 0, 3_600_000),
  DATA_DIR: z.string().default('.data'),
  LEDGER_BATCH: integer(1_000, 1, 10_000),
  LEDGER_QUEUE: integer(10_000, 1, 1_000_000),
  LEDGER_FLUSHERS: integer(2, 1, 64),
  LEDGER_LANES: integer(4, 1, 64),
  LEDGER_COMMAND_TIMEOUT_MS: integer(5_000, 10, 600_000),
  LEDGER_TRANSACTION_TIMEOUT_MS: integer(5_000, 10, 600_000),
  LEDGER_LOCK_TIMEOUT_MS: integer(1_000, 1, 600_000),
  LEDGER_RESOLVE_TIMEOUT_MS: integer(10_000, 10, 600_000),
  LEDGER_ATTEMPTS: integer(5, 1, 100),
  READ_TIMEOUT_MS: integer(5_000, 10, 600_000),
  BALANCE_CACHE: choice(['auto', 'on', 'off'], 'auto'),
  BALANCE_CACHE_ENTRIES: integer(100_000, 1, 10_000_000),
  BALANCE_CACHE_TTL_MS: integer(30_000, 1, 3_600_000),
  OUTBOX_POLL_MS: integer(500, 10, 60_000),
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

function fromVariables(env: z.output<typeof ENVIRONMENT>): Config {
  const terminal = process.stdout.isTTY ? 'pretty' : 'json';
  return {
    host: env.HOST,
    port: env.PORT,
    databaseUrl: env.DATABASE_URL,
    databaseSchema: env.DATABASE_SCHEMA,
    databaseConnectTimeoutMs: env.DATABASE_CONNECT_TIMEOUT_MS,
    databaseReadPool: env.DATABASE_READ_POOL,
    databaseStartTimeoutMs: env.DATABASE_START_TIMEOUT_MS,
    dataDir: env.DATA_DIR,
    ledger: {
      batch: env.LEDGER_BATCH,
      queue: env.LEDGER_QUEUE,
      flushers: env.LEDGER_FLUSHERS,
      lanes: env.LEDGER_LANES,
      commandTimeoutMs: env.LEDGER_COMMAND_TIMEOUT_MS,
      transactionTimeoutMs: env.LEDGER_TRANSACTION_TIMEOUT_MS,
      lockTimeoutMs: env.LEDGER_LOCK_TIMEOUT_MS,
      resolveTimeoutMs: env.LEDGER_RESOLVE_TIMEOUT_MS,
      attempts: env.LEDGER_ATTEMPTS,
    },
    readTimeoutMs: env.READ_TIMEOUT_MS,
    balanceCache: {
      // The embedded server belongs to one instance, so nobody else writes; an outside one may have several.
      servesReads:
        env.BALANCE_CACHE === 'on' || (env.BALANCE_CACHE === 'auto' && env.DATABASE_URL === undefined),
      entries: env.BALANCE_CACHE_ENTRIES,
      ttlMs: env.BALANCE_CACHE_TTL_MS,
    },
    outboxPollMs: env.OUTBOX_POLL_MS,
    log: {
      level: env.LOG_LEVEL,
      format: env.LOG_FORMAT === 'auto' ? terminal : env.LOG_FORMAT,
      requests: env.LOG_REQUESTS,
    },
    slowRequestMs: env.SLOW_REQUEST_MS,
    shutdownDelayMs: env.SHUTDOWN_DELAY_MS,
    shutdownTimeoutMs: env.SHUTDOWN_TIMEOUT_MS,
  };
}

/** Relations between bounds that must hold for them to mean anything: the first is at most the second. */
const AT_MOST = [
  ['LEDGER_LOCK_TIMEOUT_MS', 'LEDGER_TRANSACTION_TIMEOUT_MS'],
  ['LEDGER_BATCH', 'LEDGER_QUEUE'],
] as const;

function contradictions(given: NodeJS.ProcessEnv): string[] {
  return AT_MOST.flatMap(([smaller, larger]) => {
    const low = ENVIRONMENT.shape[smaller].safeParse(given[smaller]);
    const high = ENVIRONMENT.shape[larger].safeParse(given[larger]);
    const broken = low.success && high.success && low.data > high.data;
    return broken ? [`${smaller} must not be larger than ${larger}`] : [];
  });
}

function isPostgresUrl(text: string): boolean {
  try {
    const url = new URL(text);
    return /^postgres(ql)?:$/.test(url.protocol) && url.pathname.length > 1;
  } catch {
    return false;
  }
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value)) {
    if (typeof member === 'object' && member !== null) deepFreeze(member as object);
  }
  return Object.freeze(value);
}
