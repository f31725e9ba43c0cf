import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, expect, it } from '@jest/globals';
import { ConfigError, loadConfig, type Config } from './config.js';
import { GONE, variableWarnings } from './former-variables.js';
import { RENAMED, VARIABLES } from './variables.js';

function problemsOf(environment: NodeJS.ProcessEnv): readonly string[] {
  try {
    loadConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

/** The variables that the problems name, each at the start of its line. */
const variablesIn = (problems: readonly string[]) => problems.map((problem) => problem.split(' ')[0]);

const NAMES = Object.keys(VARIABLES);
const INTEGERS = NAMES.filter((name) => /^(PORT|LEDGER_|RATE_LIMIT_|.*_(MS|POOL|ENTRIES)$)/.test(name));

/** What shells, systemd, npm, CI and containers set. */
const USUAL = [
  ...[
    'PATH',
    'HOME',
    'PWD',
    'OLDPWD',
    'HOSTNAME',
    'HOSTTYPE',
    'LOGNAME',
    'USER',
    'SHELL',
    'SHLVL',
    'TERM',
    'LANG',
  ],
  ...['TZ', 'TMPDIR', 'MAIL', 'EDITOR', 'DISPLAY', 'SSH_AUTH_SOCK', 'XAUTHORITY', 'XDG_DATA_DIRS', 'CI'],
  ...[
    'NODE',
    'NODE_OPTIONS',
    'NODE_PATH',
    'NODE_VERSION',
    'npm_config_cache',
    'npm_lifecycle_event',
    'INIT_CWD',
    'COLOR',
  ],
  ...[
    'HTTP_PROXY',
    'http_proxy',
    'NO_PROXY',
    'SSL_CERT_FILE',
    'SSL_CERT_DIR',
    'LOG_FILE',
    'LOGS',
    'GITHUB_TOKEN',
  ],
  ...[
    'KUBERNETES_PORT',
    'REDIS_PORT',
    'REDIS_SERVICE_HOST',
    'DATABASE_PORT',
    'PGHOST',
    'PGPORT',
    'INVOCATION_ID',
  ],
];

const PROVIDER = {
  JWT_ISSUER: 'https://idp.example.com',
  JWT_AUDIENCE: 'bank',
  JWT_JWKS_URL: 'https://idp.example.com/jwks',
};

describe('loadConfig', () => {
  it('needs no variable at all', () => {
    const config = loadConfig({});
    expect(config).toMatchObject({
      http: {
        host: '127.0.0.1',
        port: 3_000,
        tls: undefined,
        trustedProxies: [],
        corsOrigins: [],
        swaggerUi: true,
        headersTimeoutMs: 10_000,
        answerTimeoutMs: 30_000,
      },
      management: undefined,
      jwt: undefined,
      rateLimit: undefined,
      database: { shards: undefined, schema: 'bank', preparedStatements: 'auto' },
      ledger: { batch: 1_000, maxInFlight: 1_000, queue: 10_000, batchWriters: 2, lockWaiters: 4 },
      balanceCache: { servesReads: true },
      redis: undefined,
      rabbitmq: undefined,
      log: { level: 'info', requests: 'problems' },
      operation: { workers: 1, shutdownTimeoutMs: 50_000 },
    });
  });

  it('treats an empty variable as not set', () => {
    const empty = Object.fromEntries(NAMES.map((name) => [name, '']));
    expect(loadConfig(empty)).toEqual(loadConfig({}));
  });

  it('ignores other variables', () => {
    expect(loadConfig({ PATH: '/bin', FOO: 'bar' })).toEqual(loadConfig({}));
  });

  it('reads the variables that are set', () => {
    const config = loadConfig({
      HOST: '0.0.0.0',
      PORT: '0',
      DATABASE_URL: 'postgres://bank@db/bank',
      DATABASE_SCHEMA: 'shard_7',
      LEDGER_BATCH: '50',
      LEDGER_MAX_IN_FLIGHT: '70',
      LOG_LEVEL: 'silent',
      LOG_FORMAT: 'pretty',
      LOG_REQUESTS: 'all',
    });
    expect(config).toMatchObject({
      http: { host: '0.0.0.0', port: 0 },
      database: {
        shards: [{ url: 'postgres://bank@db/bank', schema: 'shard_7' }],
        preparedStatements: 'auto',
      },
      ledger: { batch: 50, maxInFlight: 70, queue: 700 },
      log: { level: 'silent', format: 'pretty', requests: 'all' },
    });
  });

  it('traces only where an endpoint is set, and waits for the last spans when it stops', () => {
    expect(loadConfig({ OTEL_TRACES_SAMPLER: 'always_on' }).tracing).toBeUndefined();
    const { tracing, operation } = loadConfig({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.05',
    });
    expect(tracing).toMatchObject({
      ...{ endpoint: 'http://collector:4318', protocol: 'http/protobuf' },
      ...{ sampler: 'parentbased_traceidratio', ratio: 0.05 },
    });
    expect(operation.shutdownTimeoutMs).toBe(52_000);
  });

  it.each([
    [{}, true],
    [{ DATABASE_URL: 'postgresql://localhost/bank' }, false],
    [{ DATABASE_URL: 'postgresql://localhost/bank', BALANCE_CACHE: 'on' }, true],
    [{ BALANCE_CACHE: 'off' }, false],
    [{ WORKERS: '2' }, false],
    [{ WORKERS: '2', REDIS_URL: 'redis://cache:6379' }, true],
    [{ WORKERS: '2', REDIS_URL: 'redis://cache:6379', BALANCE_CACHE: 'on' }, true],
  ])('with %j lets the cache serve reads: %p', (environment, servesReads) => {
    expect(loadConfig(environment).balanceCache.servesReads).toBe(servesReads);
  });

  it.each([
    [{}, false],
    [{ NODE_ENV: 'development' }, false],
    [{ NODE_ENV: 'production' }, true],
  ])('with %j requires a server that keeps what it commits: %p', (environment, required) => {
    expect(loadConfig(environment).database.requireDurable).toBe(required);
  });

  it('reads the settings of the HTTP servers', () => {
    const config = loadConfig({
      HOST: 'localhost',
      TLS_CERT_FILE: 'cert.pem',
      TLS_KEY_FILE: 'key.pem',
      CORS_ORIGINS: 'https://app.example.com, http://localhost:8080',
      SWAGGER_UI: 'off',
      MANAGEMENT_PORT: '9090',
      MANAGEMENT_HOST: '10.0.0.7',
    });
    expect(config).toMatchObject({
      http: {
        host: '127.0.0.1',
        tls: { certFile: 'cert.pem', keyFile: 'key.pem' },
        corsOrigins: ['https://app.example.com', 'http://localhost:8080'],
        swaggerUi: false,
      },
      management: { host: '10.0.0.7', port: 9090 },
    });
  });

  it('is deeply frozen', () => {
    const config = loadConfig({}) as { -readonly [K in keyof Config]: Config[K] };
    expect(() => (config.redis = { url: '', timeoutMs: 1 })).toThrow(TypeError);
    expect(() => ((config.ledger as { batch: number }).batch = 1)).toThrow(TypeError);
    expect(Object.values(config).every((value) => typeof value !== 'object' || Object.isFrozen(value))).toBe(
      true,
    );
  });
});

const SHARD_LIST = 'postgresql://bank@db-0/bank?schema=bank_0,postgresql://bank@db-1/bank?schema=bank_1';

describe('loadConfig: the parts of the scale-out', () => {
  it('reads shards, each with its connection for migrations', () => {
    const { shards } = loadConfig({
      SHARDS: `${SHARD_LIST.replace(',', ' \n ')}&sslmode=require`,
      MIGRATION_SHARDS: SHARD_LIST.replaceAll('@db', '@direct'),
    }).database;
    expect(shards).toEqual([
      {
        url: 'postgresql://bank@db-0/bank',
        schema: 'bank_0',
        migrationUrl: 'postgresql://bank@direct-0/bank',
      },
      {
        url: 'postgresql://bank@db-1/bank?sslmode=require',
        schema: 'bank_1',
        migrationUrl: 'postgresql://bank@direct-1/bank',
      },
    ]);
  });

  it('turns the cache on when Redis keeps the instances consistent', () => {
    const shared = { DATABASE_URL: 'postgresql://bank@db/bank', REDIS_URL: 'redis://cache:6379' };
    expect(loadConfig(shared).balanceCache.servesReads).toBe(true);
    expect(loadConfig({ ...shared, REDIS_URL: '' }).balanceCache.servesReads).toBe(false);
    expect(loadConfig({ ...shared, BALANCE_CACHE: 'off' }).balanceCache.servesReads).toBe(false);
  });

  it('allows a burst of one second when no burst is set', () => {
    const limit = { RATE_LIMIT_TRANSACTIONS_PER_SECOND: '20' };
    expect(loadConfig(limit).rateLimit).toEqual({ perSecond: 20, burst: 20 });
    expect(loadConfig({ ...limit, RATE_LIMIT_BURST: '50' }).rateLimit).toEqual({ perSecond: 20, burst: 50 });
    expect(loadConfig({ RATE_LIMIT_BURST: '50' }).rateLimit).toBeUndefined();
  });

  it('reads the trusted proxies', () => {
    expect(loadConfig({ TRUSTED_PROXIES: '10.0.0.0/8, ::1 192.0.2.7' }).http.trustedProxies).toEqual([
      '10.0.0.0/8',
      '::1',
      '192.0.2.7',
    ]);
  });
});

describe('loadConfig: workers', () => {
  it('takes a number or auto (one per core), and logs the process id when there are several', () => {
    expect(loadConfig({ WORKERS: '8' })).toMatchObject({
      operation: { workers: 8 },
      log: { showPid: true },
    });
    expect(loadConfig({ WORKERS: 'auto' }).operation.workers).toBe(Math.min(availableParallelism(), 128));
    expect(loadConfig({ WORKERS: '1' }).log.showPid).toBe(false);
  });

  it.each(['0', '-1', '129', '1.5', '1e1', ' 2', 'all', '9999'])('refuses %j', (value) => {
    expect(variablesIn(problemsOf({ WORKERS: value }))).toEqual(['WORKERS']);
  });

  it('needs Redis to count a rate over several workers', () => {
    const limit = { WORKERS: '2', RATE_LIMIT_TRANSACTIONS_PER_SECOND: '5' };
    expect(variablesIn(problemsOf(limit))).toEqual(['RATE_LIMIT_TRANSACTIONS_PER_SECOND']);
    expect(problemsOf({ ...limit, REDIS_URL: 'redis://cache:6379' })).toEqual([]);
    expect(problemsOf({ ...limit, WORKERS: '1' })).toEqual([]);
    expect(problemsOf({ ...limit, RATE_LIMIT_TRANSACTIONS_PER_SECOND: '0' })).toEqual([]);
  });
});

describe('loadConfig: invalid settings', () => {
  it.each(INTEGERS)('rejects a %s that is not a whole number in its range', (name) => {
    for (const value of ['-1', '1.5', '1e3', ' 1', '0x10', 'many', '99999999999', '1000000000000000000000']) {
      expect(variablesIn(problemsOf({ [name]: value }))).toEqual([name]);
    }
  });

  it.each([
    ['PORT', '65536'],
    ['LEDGER_BATCH', '0'],
    ['LEDGER_BATCH_WRITERS', '65'],
    ['DATABASE_SCHEMA', 'Bank'],
    ['DATABASE_SCHEMA', 'bank; drop schema public'],
    ['DATABASE_SCHEMA', '"bank"'],
    ['DATABASE_SCHEMA', 'b'.repeat(64)],
    ['DATABASE_URL', 'db.example'],
    ['DATABASE_URL', 'mysql://bank@db/bank'],
    ['DATABASE_URL', 'postgresql://bank@db'],
    ['DATABASE_URL', 'postgresql://bank@db/'],
    ['BALANCE_CACHE', 'yes'],
    ['LOG_LEVEL', 'INFO'],
    ['LOG_FORMAT', 'xml'],
    ['LOG_REQUESTS', 'none'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318'],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
    ['OTEL_TRACES_SAMPLER', 'jaeger_remote'],
    ['OTEL_TRACES_SAMPLER_ARG', '1.5'],
    ['SHARDS', 'postgresql://bank@db/bank'],
    ['SHARDS', 'postgresql://bank@db/bank?schema=Bank'],
    ['SHARDS', 'postgresql://bank@db/bank?schema=bank_0, db:5432'],
    ['SHARDS', ','],
    ['REDIS_URL', 'http://cache:6379'],
    ['RABBITMQ_URL', 'broker:5672'],
    ['RABBITMQ_EXCHANGE', 'a b'],
    ['TRUSTED_PROXIES', '10.0.0.0/33'],
    ['TRUSTED_PROXIES', 'proxy.example'],
    ['CORS_ORIGINS', '*'],
    ['CORS_ORIGINS', 'null'],
    ['CORS_ORIGINS', 'app.example.com'],
    ['CORS_ORIGINS', 'https://*.example.com/'],
    ['CORS_ORIGINS', 'https://app.example.com/'],
    ['CORS_ORIGINS', 'https://app.example.com, ftp://app.example.com'],
    ['SWAGGER_UI', 'yes'],
    ['MANAGEMENT_PORT', '65536'],
  ])('rejects %s=%s', (name, value) => {
    expect(variablesIn(problemsOf({ [name]: value }))).toEqual([name]);
  });

  it.each([
    ['BALANCE_CACHE', { WORKERS: '2', BALANCE_CACHE: 'on' }],
    ['SHARDS', { SHARDS: SHARD_LIST, DATABASE_URL: 'postgresql://bank@db/bank' }],
    [
      'SHARDS',
      { SHARDS: 'postgresql://bank@db/bank?schema=bank_0, postgres://other@db:5432/bank?schema=bank_0' },
    ],
    ['MIGRATION_DATABASE_URL', { MIGRATION_DATABASE_URL: 'postgresql://bank@db/bank' }],
    ['MIGRATION_SHARDS', { MIGRATION_SHARDS: SHARD_LIST }],
    ['MIGRATION_SHARDS', { SHARDS: SHARD_LIST, MIGRATION_SHARDS: SHARD_LIST.split(',').reverse().join() }],
    ['TLS_CERT_FILE', { TLS_CERT_FILE: 'cert.pem' }],
    ['TLS_KEY_FILE', { TLS_KEY_FILE: 'key.pem' }],
    ['MANAGEMENT_PORT', { PORT: '4000', MANAGEMENT_PORT: '4000' }],
    ['MANAGEMENT_PORT', { MANAGEMENT_PORT: '3000' }],
    ['AUTH', { AUTH: 'off', NODE_ENV: 'production' }],
    ['AUTH', { AUTH: 'off', ...PROVIDER }],
    ['JWT_ISSUER', { ...PROVIDER, JWT_ISSUER: '' }],
    ['JWT_AUDIENCE', { ...PROVIDER, JWT_AUDIENCE: '' }],
    ['JWT_JWKS_URL', { ...PROVIDER, JWT_JWKS_URL: '' }],
  ])('rejects a %s that contradicts another variable', (name, environment) => {
    expect(variablesIn(problemsOf(environment))).toEqual([name]);
  });

  it('lists all invalid variables at once', () => {
    const wrong = NAMES.filter(
      (name) =>
        !/^(NODE_ENV|(MANAGEMENT_)?HOST|DATA_DIR|TLS_(CERT|KEY)_FILE|JWT_(ISSUER|AUDIENCE|SCOPES_CLAIM))$/.test(
          name,
        ),
    );
    const environment = { ...PROVIDER, ...Object.fromEntries(wrong.map((name) => [name, '!'])) };
    const problems = problemsOf(environment);
    expect(variablesIn(problems)).toEqual(wrong);
    const error = new ConfigError(problems);
    for (const name of wrong) expect(error.message).toContain(`- ${name} must be`);
  });

  it('lists contradictions together with the rest', () => {
    const problems = problemsOf({
      PORT: 'none',
      TLS_CERT_FILE: 'cert.pem',
      WORKERS: '2',
      BALANCE_CACHE: 'on',
    });
    expect(variablesIn(problems).sort()).toEqual(['BALANCE_CACHE', 'PORT', 'TLS_CERT_FILE']);
  });

  it('never shows a value, which may be a secret in the wrong place', () => {
    const secret = 'hunter2';
    for (const name of NAMES) {
      for (const value of [secret, `mysql://bank:${secret}@db/bank`, `postgresql://bank:${secret}@db`]) {
        for (const problem of problemsOf({ [name]: value })) expect(problem).not.toContain(secret);
      }
    }
    expect(problemsOf({ DATABASE_URL: `mysql://bank:${secret}@db/bank` })).toHaveLength(1);
  });
});

describe('loadConfig: bounds that depend on others', () => {
  it.each(['10', '600', '1000', '5000', '600000'])(
    'waits for locks within a transaction of %s ms',
    (value) => {
      const { ledger } = loadConfig({ LEDGER_TRANSACTION_TIMEOUT_MS: value });
      expect(ledger.lockTimeoutMs).toBe(Math.min(1_000, Number(value)));
    },
  );

  it('gives the headers a third of the time for a request', () => {
    const { http } = loadConfig({ HTTP_REQUEST_TIMEOUT_MS: '2000' });
    expect(http).toMatchObject({ headersTimeoutMs: 667, answerTimeoutMs: 2_000 });
  });

  it('leaves enough time at shutdown to answer the longest command', () => {
    const { operation } = loadConfig({ LEDGER_COMMAND_TIMEOUT_MS: '60000', SHUTDOWN_DELAY_MS: '7000' });
    expect(operation.shutdownTimeoutMs).toBe(7_000 + 60_000 + 5_000 + 10_000 + 30_000);
  });
});

describe('former variables', () => {
  it.each(Object.entries(RENAMED))('%s is rejected with a message that has the new name', (former, name) => {
    expect(problemsOf({ [former]: '3' })).toEqual([
      `${former} must not be set any more: it is called ${name} now`,
    ]);
    expect(problemsOf({ [former]: '' })).toEqual([]);
    expect(NAMES).toContain(name);
  });

  it('names removed variables in one line, with the values that apply instead', () => {
    const warn = (environment: NodeJS.ProcessEnv) => variableWarnings(loadConfig(environment), environment);
    expect(warn({ LEDGER_LANES: '8', HTTP_HEADERS_TIMEOUT_MS: '', JWT_CLOCK_TOLERANCE_S: '0' })).toEqual([
      'these settings no longer exist and have no effect: LEDGER_LANES (fixed at 4), JWT_CLOCK_TOLERANCE_S',
    ]);
    expect(warn({ LEDGER_QUEUE: '7', LEDGER_MAX_IN_FLIGHT: '5' })).toEqual([
      'these settings no longer exist and have no effect: LEDGER_QUEUE (fixed at 50)',
    ]);
    const all = Object.fromEntries(Object.keys(GONE).map((name) => [name, 'nonsense']));
    const [line, ...others] = warn(all);
    for (const name of Object.keys(GONE)) expect(line).toContain(name);
    expect(others).toEqual([]);
  });

  it.each([
    ['LEDGER_BATCHS', 'LEDGER_BATCH'],
    ['LEDGER_COMAND_TIMEOUT_MS', 'LEDGER_COMMAND_TIMEOUT_MS'],
    ['LEDGER_COMMAND_TIMEOUT', 'LEDGER_COMMAND_TIMEOUT_MS'],
    ['REDIS_ULR', 'REDIS_URL'],
    ['DATABASE_URI', 'DATABASE_URL'],
    ['LEDGR_BATCH', 'LEDGER_BATCH'],
    ['LOG_LEVLE', 'LOG_LEVEL'],
    ['LOGLEVEL', 'LOG_LEVEL'],
    ['DATADIR', 'DATA_DIR'],
    ['AUHT', 'AUTH'],
    ['PROT', 'PORT'],
    ['HOTS', 'HOST'],
    ['port', 'PORT'],
    ['WORKER', 'WORKERS'],
    ['NODE_ENVV', 'NODE_ENV'],
    ['TLS_CERT', 'TLS_CERT_FILE'],
    ['SWAGGER', 'SWAGGER_UI'],
    ['REDIS', 'REDIS_URL'],
  ])('%s is taken for a misspelt %s', (name, meant) => {
    expect(variableWarnings(loadConfig({}), { [name]: 's3cret' })).toEqual([
      `${name} is not a setting and has no effect: is ${meant} meant?`,
    ]);
  });

  it('knows what OpenTelemetry reads by itself, and what it does not', () => {
    const warn = (name: string) => variableWarnings(loadConfig({}), { [name]: 's3cret' }, new Set([name]));
    for (const name of [
      'OTEL_SERVICE_NAME',
      'OTEL_EXPORTER_OTLP_HEADERS',
      'OTEL_EXPORTER_OTLP_TRACES_TIMEOUT',
    ])
      expect(warn(name)).toEqual([]);
    expect(warn('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT')).toEqual([
      'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not a setting and has no effect: is OTEL_EXPORTER_OTLP_ENDPOINT meant?',
    ]);
    expect(warn('OTEL_SDK_DISABLED')).toHaveLength(1);
  });

  it('says nothing about variables of other programs', () => {
    const environment = {
      HTTP_PROXY: 'x',
      REDIS_HOST: 'x',
      LEDGER_PORT: 'x',
      DATABASE_URL_OLD: 'x',
      PORTS: 'x',
      POST: 'x',
      ...Object.fromEntries(USUAL.map((name) => [name, 'x'])),
    };
    expect(variableWarnings(loadConfig({}), environment)).toEqual([]);
    expect(variableWarnings(loadConfig({}), Object.fromEntries(NAMES.map((name) => [name, 'x'])))).toEqual(
      [],
    );
  });
});

describe('variables in .env', () => {
  const warn = (name: string) => variableWarnings(loadConfig({}), { [name]: 's3cret' }, new Set([name]));

  it.each([
    ['PORTS', 'PORT'],
    ['HOSTS', 'HOST'],
    ['SHARD', 'SHARDS'],
    ['LOG', 'LOG_LEVEL'],
    ['Data_Dirs', 'DATA_DIR'],
    ['SWAGGERUI_ON', 'SWAGGER_UI'],
    ['HTTP_CONNECTIONS', 'HTTP_MAX_CONNECTIONS'],
  ])('%s is taken for %s, which it resembles most', (name, meant) => {
    expect(warn(name)).toEqual([`${name} is not a setting and has no effect: is ${meant} meant?`]);
    expect(variableWarnings(loadConfig({}), { [name]: 's3cret' })).toEqual([]);
  });

  it.each(['HOSTNAME', 'PASSWORD', 'A', 'constructor'])('%s is named, although it resembles none', (name) => {
    expect(warn(name)).toEqual([`${name} in .env is not a setting of the service`]);
  });

  it('are no mistake when they are settings, or empty', () => {
    for (const name of NAMES) expect(warn(name)).toEqual([]);
    expect(variableWarnings(loadConfig({}), { PORTS: '' }, new Set(['PORTS']))).toEqual([]);
  });
});

describe('.env.example', () => {
  const lines = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8').split('\n');
  const settings = lines.flatMap((line) => {
    const [, name = '', value = ''] = /^(?:# ?)?([A-Z][A-Z0-9_]*)=(.*)$/.exec(line) ?? [];
    return name === '' ? [] : [[name, value] as const];
  });

  it('lists exactly the variables, once each and in order', () => {
    expect(settings.map(([name]) => name)).toEqual(NAMES);
  });

  it('describes the default configuration', () => {
    expect(loadConfig(Object.fromEntries(settings))).toEqual(loadConfig({}));
  });
});

describe('loadConfig: who needs a credential', () => {
  const DATABASE_URL = 'postgresql://bank@127.0.0.1/bank';
  const needsOne = (environment: Record<string, string>) => loadConfig(environment).auth.enabled;

  it.each<Record<string, string>>([
    {},
    { HOST: 'localhost' },
    { HOST: '::1' },
    { HOST: '127.9.9.9' },
    { HOST: '0.0.0.0', AUTH: 'off' },
    { DATABASE_URL, AUTH: 'off' },
  ])('nobody with %p', (environment) => {
    expect(needsOne(environment)).toBe(false);
  });

  it.each<Record<string, string>>([
    { HOST: '0.0.0.0' },
    { HOST: '::' },
    { HOST: '192.0.2.1' },
    { HOST: 'bank.example.com' },
    { HOST: '127.0.0.1.example.com' },
    { NODE_ENV: 'production' },
    { TRUSTED_PROXIES: '127.0.0.1' },
    { AUTH: 'on' },
    { DATABASE_URL },
    { DATABASE_URL, AUTH: 'auto' },
    { SHARDS: `${DATABASE_URL}?schema=bank_0` },
    PROVIDER,
  ])('everybody with %p', (environment) => {
    expect(needsOne(environment)).toBe(true);
  });

  it.each([
    'http://idp.example.com/jwks',
    'ftp://127.0.0.1/jwks',
    'file:///etc/passwd',
    'https://user:secret@idp.example.com/jwks',
    'jwks',
    'http://127.0.0.1.example.com',
  ])('takes no keys from %s', (url) => {
    expect(() => loadConfig({ ...PROVIDER, JWT_JWKS_URL: url })).toThrow('JWT_JWKS_URL must be');
  });

  it.each(['http://127.0.0.1:9000/jwks', 'http://[::1]/jwks', 'http://localhost/jwks'])(
    'takes keys from %s',
    (url) => {
      expect(loadConfig({ ...PROVIDER, JWT_JWKS_URL: url }).jwt).toMatchObject({ jwksUrl: url });
    },
  );
});
