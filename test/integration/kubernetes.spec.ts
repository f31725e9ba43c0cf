import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { load, YAML11_SCHEMA } from 'js-yaml';
import { loadConfig } from '../../src/config/config.js';
import { VARIABLES } from '../../src/config/variables.js';

// There is no cluster where tests run. This checks what the manifests say of the service, and of each other.

const FOLDER = 'docker/kubernetes';

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
  readonly periodSeconds: number;
  readonly failureThreshold: number;
}
interface Container {
  readonly image: string;
  readonly command?: readonly string[];
  readonly envFrom: readonly {
    readonly configMapRef?: { name: string };
    readonly secretRef?: { name: string };
  }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe: Probe;
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
  readonly securityContext: object;
}
interface Pod {
  readonly terminationGracePeriodSeconds: number;
  readonly automountServiceAccountToken: boolean;
  readonly securityContext: object;
  readonly containers: readonly [Container];
}
interface Manifest {
  readonly kind: string;
  readonly spec: {
    readonly template: { readonly metadata?: { readonly labels: object }; readonly spec: Pod };
  };
}
interface Kustomization {
  readonly images: readonly { readonly name: string }[];
  readonly resources: readonly string[];
  readonly configMapGenerator: readonly [{ readonly name: string; readonly literals: readonly string[] }];
}

const read = <T>(file: string) =>
  load(readFileSync(`${FOLDER}/${file}`, 'utf8'), { schema: YAML11_SCHEMA }) as T;

const kustomization = read<Kustomization>('kustomization.yaml');
const deployment = read<Manifest>('deployment.yaml');
const migration = read<Manifest>('migration/job.yaml');
const pod = deployment.spec.template.spec;
const [container] = pod.containers;
const [settings] = kustomization.configMapGenerator;
const environment = Object.fromEntries(settings.literals.map((literal) => literal.split('=', 2))) as Record<
  string,
  string
>;
const config = loadConfig({ ...environment, DATABASE_URL: 'postgresql://db/bank' });

/** All values of a member, however deep. */
function valuesOf(name: string, within: unknown): unknown[] {
  if (typeof within !== 'object' || within === null) return [];
  return Object.entries(within).flatMap(([key, value]) => [
    ...(key === name ? [value as unknown] : []),
    ...valuesOf(name, value),
  ]);
}

describe(FOLDER, () => {
  it.each(['', 'migration/'])('%skustomization.yaml has all files of its folder', (folder) => {
    const files = globSync(`${FOLDER}/${folder}*.yaml`).map((file) => basename(file));
    const { resources, images } = read<Kustomization>(`${folder}kustomization.yaml`);
    expect([...resources, 'kustomization.yaml'].sort()).toEqual(files.sort());
    expect(images.map(({ name }) => name)).toEqual([container.image]);
  });

  it('sets variables that the service has', () => {
    expect(Object.keys(VARIABLES)).toEqual(expect.arrayContaining(Object.keys(environment)));
    expect(config.auth.enabled).toBe(true);
    expect(container.envFrom[0]).toEqual({ configMapRef: { name: settings.name } });
  });

  it('opens the ports on which the service listens', () => {
    expect(container.ports).toEqual([
      { name: 'http', containerPort: config.http.port },
      { name: 'management', containerPort: config.management?.port },
    ]);
    expect([config.http.host, config.management?.host]).toEqual(['0.0.0.0', '0.0.0.0']);
  });

  it('asks for health where the service tells it', () => {
    const { paths } = JSON.parse(readFileSync('openapi.json', 'utf8')) as { paths: object };
    const probes = {
      startup: container.startupProbe,
      live: container.livenessProbe,
      ready: container.readinessProbe,
    };
    const asked = Object.values(probes).map(({ httpGet }) => httpGet);
    expect(asked).toEqual(
      ['live', 'live', 'ready'].map((what) => ({ path: `/health/${what}`, port: 'management' })),
    );
    for (const { path } of asked) expect(paths).toHaveProperty([path]);
  });

  it('gives a start and a stop the time that they take', () => {
    const seconds = ({ periodSeconds, failureThreshold }: Probe) => periodSeconds * failureThreshold;
    const { shutdownDelayMs, shutdownTimeoutMs } = config.operation;
    expect(seconds(container.startupProbe) * 1000).toBeGreaterThan(config.database.startTimeoutMs);
    expect(seconds(container.readinessProbe) * 1000).toBeLessThan(shutdownDelayMs);
    expect(pod.terminationGracePeriodSeconds * 1000).toBeGreaterThan(shutdownTimeoutMs);
  });

  it('selects the pods, and their ports by name', () => {
    const files = [...kustomization.resources, 'monitoring/pod-monitor.yaml'].map((file) =>
      read<Manifest>(file),
    );
    const labels = deployment.spec.template.metadata?.labels ?? {};
    const isOfBank = (found: unknown) => JSON.stringify(found).includes('app.kubernetes.io/name');
    const selectors = [...valuesOf('matchLabels', files), ...valuesOf('selector', read('service.yaml'))];
    expect(selectors.filter(isOfBank)).toEqual(new Array<unknown>(7).fill(labels));
    const ports = [...valuesOf('targetPort', files), ...valuesOf('port', files)];
    const named = ports.filter((port) => typeof port === 'string');
    expect(new Set(named)).toEqual(new Set(container.ports?.map(({ name }) => name)));
  });

  it.each([
    ['the service', pod],
    ['the migration', migration.spec.template.spec],
  ])(
    'lets %s do no more than it must',
    (_, { securityContext, automountServiceAccountToken, containers }) => {
      expect(securityContext).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(automountServiceAccountToken).toBe(false);
      expect(containers.map((each) => each.securityContext)).toEqual([
        { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
      ]);
    },
  );

  it('needs only secrets that its document says how to make; the owner of the tables is for migrations', () => {
    const secretsOf = ({ envFrom }: Container) => envFrom.flatMap(({ secretRef }) => secretRef?.name ?? []);
    const [migrate] = migration.spec.template.spec.containers;
    expect(secretsOf(container)).toEqual(['bank-service']);
    expect(secretsOf(migrate)).toEqual(['bank-service', 'bank-migration']);
    const made = readFileSync('docs/operations.md', 'utf8').matchAll(/create secret generic (\S+)/g);
    expect([...made].map(([, name]) => name)).toEqual(secretsOf(migrate));
    expect(migrate.command?.slice(0, 2)).toEqual(['node', 'dist/src/cli.js']);
  });
});
