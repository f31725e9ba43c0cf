import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { load, YAML11_SCHEMA } from 'js-yaml';
import { loadConfig, type Config } from '../../src/config/config.js';
import { VARIABLES } from '../../src/config/variables.js';
import { startReplica, type Replica } from '../../tools/stack/servers/replica.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { PAGES } from '../../src/http/server/pages.js';

// Docker is not available everywhere that tests run, so this checks what would otherwise break unnoticed.

interface Service {
  readonly image: string;
  readonly profiles?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly healthcheck?: object;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
}

const read = (path: string) => readFileSync(join(process.cwd(), path), 'utf8');

const composeText = read('docker/compose.yml');
const { services } = load(composeText, { schema: YAML11_SCHEMA }) as {
  readonly services: Readonly<Record<string, Service>>;
};
const instances = Object.entries(services).filter(([name]) => name.startsWith('api-'));
const dockerfile = read('docker/Dockerfile').replaceAll('\\\n', ' ').split('\n');
const ofDockerfile = (instruction: string) =>
  dockerfile
    .filter((line) => line.startsWith(`${instruction} `))
    .map((line) => line.slice(instruction.length + 1));

/** As compose puts the user's variables in. */
function interpolated(environment: Readonly<Record<string, string>> = {}): Record<string, string> {
  const entries = Object.entries(environment).map(([name, value]) => [
    name,
    value.replaceAll(/\$\{(\w+)(?::([-?])([^}]*))?\}/g, (_, variable: string, kind, text: string) =>
      kind === '-' ? text : `the${variable.replaceAll('_', '')}`,
    ),
  ]);
  return Object.fromEntries(entries) as Record<string, string>;
}

function configOf(instance: Service): Config {
  const image = Object.fromEntries(
    ofDockerfile('ENV').flatMap((line) => line.split(' ').map((one) => one.split('='))),
  );
  return loadConfig({ ...(image as Record<string, string>), ...interpolated(instance.environment) });
}

describe('docker/compose.yml', () => {
  it('has the topology of the stack', () => {
    const parts = ['api-1', 'api-2', 'events', 'pgbouncer', 'postgres-a', 'postgres-b', 'rabbitmq', 'redis'];
    const ofProfiles = Object.entries(services).filter(([, { profiles }]) => profiles);
    expect(ofProfiles.map(([name, { profiles }]) => [name, profiles])).toEqual([
      ['prometheus', ['monitoring']],
      ['grafana', ['monitoring']],
    ]);
    expect(Object.keys(services).sort()).toEqual([...parts, 'grafana', 'prometheus'].sort());
    const published = instances.map(([, { ports }]) => ports);
    expect(published).toEqual([['127.0.0.1:3000:3000'], ['127.0.0.1:3001:3000']]);
    const { grafana, ...others } = services;
    expect(grafana?.ports).toEqual(['127.0.0.1:3002:3000']);
    for (const [name, { ports }] of Object.entries(others)) {
      if (!name.startsWith('api-')) expect(ports).toBeUndefined();
    }
  });

  it('gives both instances the same settings, all of which the service accepts', () => {
    const [first, second] = instances.map(([, instance]) => instance.environment);
    expect(second).toEqual(first);
    expect(Object.keys(VARIABLES)).toEqual(expect.arrayContaining(Object.keys(first ?? {})));
    const config = configOf(instances[0]?.[1] as Service);
    expect(config.database.shards?.map(({ schema }) => schema)).toEqual([
      'bank_0',
      'bank_1',
      'bank_2',
      'bank_3',
    ]);
    expect(config.redis?.url).toBe('redis://:theREDISPASSWORD@redis:6379');
    expect(config.rabbitmq?.url).toBe('amqp://bank:theRABBITMQPASSWORD@rabbitmq:5672');
    expect(config.rateLimit).toBeUndefined();
  });

  it('connects each shard through PgBouncer to the database of its migrations', () => {
    const ini = read('docker/pgbouncer/pgbouncer.ini');
    const port = /^listen_port = (\d+)$/m.exec(ini)?.[1];
    const databases = new Map(
      [...ini.matchAll(/^(\w+) = host=(\S+) port=(\d+) dbname=(\w+)$/gm)].map(
        ([, name, host, serverPort, database]) => [name, `${host}:${serverPort}/${database}`],
      ),
    );
    expect([...databases.values()]).toEqual(['postgres-a:5432/bank', 'postgres-b:5432/bank']);
    for (const shard of configOf(instances[0]?.[1] as Service).database.shards ?? []) {
      const [pooled, direct] = [new URL(shard.url), new URL(shard.migrationUrl ?? '')];
      expect(pooled.host).toBe(`pgbouncer:${port}`);
      expect(databases.get(pooled.pathname.slice(1))).toBe(`${direct.host}${direct.pathname}`);
      // The service's own role, which can't rewrite history; migrations are the owner's.
      expect([pooled.username, pooled.password]).toEqual(['bank_service', 'theSERVICEPASSWORD']);
      expect([direct.username, direct.password]).toEqual(['bank', 'thePOSTGRESPASSWORD']);
    }
    expect(services['pgbouncer']?.volumes).toEqual([
      './pgbouncer/pgbouncer.ini:/etc/pgbouncer/pgbouncer.ini:ro',
    ]);
    expect(ini).toMatch(/^pool_mode = transaction$/m);
  });

  it('lets Prometheus scrape each instance, and Grafana show what it has', () => {
    const { management } = configOf(instances[0]?.[1] as Service);
    const { scrape_configs: jobs } = load(read('docker/prometheus/prometheus.yml')) as {
      scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[];
    };
    const targets = instances.map(([name]) => `${name}:${management?.port}`);
    expect(management?.host).toBe('0.0.0.0');
    expect(jobs).toEqual([{ job_name: 'bank', static_configs: [{ targets }] }]);
    const folder = '/var/lib/grafana/dashboards';
    expect(services['grafana']?.volumes).toContain(`./grafana/dashboard.json:${folder}/bank.json:ro`);
    expect(read('docker/grafana/provisioning/dashboards/bank.yml')).toContain(`path: ${folder} `);
    expect(read('docker/grafana/provisioning/datasources/prometheus.yml')).toContain(
      'http://prometheus:9090',
    );
    for (const mount of Object.values(services).flatMap(({ volumes = [] }) => volumes)) {
      if (mount.startsWith('./')) expect(existsSync(join('docker', mount.split(':')[0] ?? ''))).toBe(true);
    }
  });

  it('starts each part when those that it needs are healthy', () => {
    for (const service of Object.values(services)) {
      for (const [needed, { condition }] of Object.entries(service.depends_on ?? {})) {
        expect(condition).toBe('service_healthy');
        expect(services[needed]?.healthcheck).toBeDefined();
      }
    }
    const needs = Object.keys(instances[0]?.[1].depends_on ?? {});
    expect(needs.sort()).toEqual(['pgbouncer', 'postgres-a', 'postgres-b', 'rabbitmq', 'redis']);
  });

  it('contains no password', () => {
    const secrets = [...composeText.matchAll(/\$\{(\w*PASSWORD)(:\?)?/g)];
    const required = new Set(secrets.filter(([, , sign]) => sign).map(([, name]) => name));
    expect(required).toEqual(
      new Set(['POSTGRES_PASSWORD', 'SERVICE_PASSWORD', 'REDIS_PASSWORD', 'RABBITMQ_PASSWORD']),
    );
    expect(new Set(secrets.map(([, name]) => name))).toEqual(required);
    for (const line of composeText.split('\n').filter((text) => /PASS(WORD)?: /.test(text))) {
      expect(line).toMatch(/: \$\{/);
    }
  });
});

describe('docker/Dockerfile', () => {
  it('copies existing files, which are exactly those that .dockerignore allows', () => {
    const copies = ofDockerfile('COPY').filter((line) => !line.startsWith('--from'));
    const sources = new Set(
      copies.flatMap((line) => line.split(' ').slice(0, -1)).map((path) => path.replace('./', '')),
    );
    for (const source of sources) expect(existsSync(source)).toBe(true);
    const passed = read('.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'));
    expect(new Set(passed.map((line) => line.slice(1)))).toEqual(sources);
  });

  it('runs as an unprivileged user, with a health check', () => {
    expect(ofDockerfile('USER')).toEqual(['node']);
    expect(ofDockerfile('EXPOSE')).toEqual(['3000']);
    expect(ofDockerfile('HEALTHCHECK')[0]).toContain('/health/ready');
    expect(ofDockerfile('CMD')).toEqual(['["node", "--max-semi-space-size=16", "dist/src/main.js"]']);
  });
});

describe('the files of the image', () => {
  let folder: string;
  let database: TestDatabase;
  let instance: Replica | undefined;

  beforeAll(async () => {
    database = await createTestDatabase('docker');
    folder = await mkdtemp(join(tmpdir(), 'bank-image-'));
    const documents = ofDockerfile('COPY').flatMap((line) => line.match(/(?<!\S)docs\/\S+/g) ?? []);
    for (const part of ['dist/src', 'dist/migrations', 'package.json', ...documents]) {
      await cp(part, join(folder, part), { recursive: true });
    }
    for (const [path, own] of productionPackages()) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await symlink(join(own === undefined ? process.cwd() : folder, own ?? path), join(folder, path));
      if (own === undefined) continue;
      for (const part of ['dist', 'package.json']) {
        await cp(join(own, part), join(folder, own, part), { recursive: true });
      }
    }
  });

  afterAll(async () => {
    await instance?.stop();
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });

  /** What `npm ci --omit=dev --omit=optional` leaves at the top; of a package of the workspace, its folder, too. */
  function productionPackages(): [path: string, own: string | undefined][] {
    const { packages } = JSON.parse(read('package-lock.json')) as {
      packages: Record<
        string,
        { dev?: true; optional?: true; devOptional?: true; link?: true; resolved?: string }
      >;
    };
    const { dependencies } = JSON.parse(read('package.json')) as { dependencies: object };
    return Object.entries(packages)
      .filter(([path, { dev, optional, devOptional, link }]) => {
        // Of the workspace the service needs only what it names.
        if (link && !(path.slice('node_modules/'.length) in dependencies)) return false;
        const top = path.startsWith('node_modules/') && path.lastIndexOf('node_modules/') === 0;
        return top && !dev && !optional && !devOptional;
      })
      .map(([path, { link, resolved }]) => [path, link && resolved]);
  }

  it('are sufficient for the service', async () => {
    instance = await startReplica({ settings: { DATABASE_URL: database.url, AUTH: 'off' }, root: folder });
    for (const page of ['', ...Array.from(PAGES.keys(), (name) => `/${name}`)]) {
      expect([page, (await fetch(`${instance.url}/docs${page}`)).status]).toEqual([page, 200]);
    }
    expect((await fetch(`${instance.url}/accounts`)).status).toBe(200);
  }, 60_000);
});
