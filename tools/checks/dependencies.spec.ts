import { describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAllowed, licencesOf, lockfileProblems, readProject, type Project } from './dependencies.mjs';

/** The project with one thing changed. */
function changed(change: (project: Project) => void): Project {
  const project = structuredClone(readProject());
  change(project);
  return project;
}

const FASTIFY = 'node_modules/fastify';
const OWN = 'packages/embedded-postgres';

describe('package-lock.json', () => {
  it('pins exactly what is installed, all of it from the registry', () => {
    expect(lockfileProblems(readProject())).toEqual([]);
  });

  it.each<[string, RegExp, Record<string, unknown>]>([
    ['no hash', /fastify has no SHA-512/, { integrity: undefined }],
    ['a weak hash', /fastify has no SHA-512/, { integrity: 'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=' }],
    [
      'a tarball of another host',
      /fastify does not come from/,
      { resolved: 'https://host.example/fastify.tgz' },
    ],
    [
      'a git repository',
      /fastify does not come from/,
      { resolved: 'git+ssh://git@host.example/fastify.git#1' },
    ],
    ['a file', /fastify does not come from/, { resolved: 'file:../fastify' }],
    ['a folder', /fastify is a link/, { link: true }],
    ['another version', /fastify must be a version, and the one that is locked/, { version: '5.0.0' }],
    ['an install script', /fastify runs a script/, { hasInstallScript: true }],
  ])('is refused with %s', (_, problem, entry) => {
    const problems = lockfileProblems(
      changed(({ lockfile }) => Object.assign(lockfile.packages[FASTIFY] ?? {}, entry)),
    );
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(problem);
  });

  it('is rejected when package.json has another version', () => {
    const dependencies = (project: Project) => project.manifest.dependencies as Record<string, string>;
    for (const change of [
      (project: Project) => (dependencies(project).fastify = '5.0.0'),
      (project: Project) => (dependencies(project).unlocked = '1.0.0'),
      (project: Project) => delete dependencies(project).fastify,
      (project: Project) => (project.manifest.version = '9.9.9'),
      (project: Project) => (dependencies(project)['@scalable-banking/embedded-postgres'] = '9.9.9'),
      (project: Project) => ((project.workspaces[OWN]?.dependencies as { pg: string }).pg = '5.0.0'),
      (project: Project) => (project.lockfile.lockfileVersion = 2),
    ]) {
      expect(lockfileProblems(changed(change))).toHaveLength(1);
    }
  });

  it('links to the packages of the workspace, and to no other folder', () => {
    const link = 'node_modules/@scalable-banking/embedded-postgres';
    expect(readProject().lockfile.packages[link]).toEqual({ resolved: OWN, link: true });
    for (const change of [
      ({ lockfile }: Project) => Object.assign(lockfile.packages[link] ?? {}, { resolved: '../elsewhere' }),
      ({ lockfile }: Project) => (lockfile.packages['node_modules/other'] = { resolved: OWN, link: true }),
    ]) {
      expect(lockfileProblems(changed(change))).toContainEqual(
        expect.stringMatching(/is a link to a folder/),
      );
    }
  });

  it('is rejected with a version range, even if both files have it', () => {
    const range = changed(({ manifest, lockfile }) => {
      (manifest.dependencies as Record<string, string>).fastify = '^5.0.0';
      (lockfile.packages['']?.dependencies as Record<string, string>).fastify = '^5.0.0';
    });
    expect(lockfileProblems(range)).toEqual(['fastify must be a version, and the one that is locked']);
  });
});

describe('licences', () => {
  it('are known and allowed for every package that is shipped with the service', () => {
    const licences = licencesOf(readProject().lockfile);
    expect(licences.map(({ name }) => name)).toEqual(expect.arrayContaining(['fastify', 'pg', 'jose']));
    expect(licences.map(({ name }) => name)).not.toContain('jest');
    expect(licences.filter(({ licence }) => !isAllowed(licence))).toEqual([]);
  });

  it.each(['GPL-3.0-only', 'none', 'UNLICENSED', 'MIT AND GPL-3.0-only', 'SEE LICENSE IN LICENSE'])(
    'that are allowed do not include %s',
    (licence) => expect(isAllowed(licence)).toBe(false),
  );

  it.each(['MIT', '(MIT OR GPL-3.0-only)', 'Apache-2.0 AND MIT'])('that are allowed include %s', (licence) =>
    expect(isAllowed(licence)).toBe(true),
  );
});

describe('npm run sbom', () => {
  it('lists every package that is shipped with the service, with hash and licence, as CycloneDX', () => {
    const folder = mkdtempSync(join(tmpdir(), 'bank-sbom-'));
    try {
      mkdirSync(join(folder, OWN), { recursive: true });
      for (const file of ['package.json', 'package-lock.json', `${OWN}/package.json`]) {
        copyFileSync(file, join(folder, file));
      }
      execFileSync(process.execPath, [join(process.cwd(), 'tools/checks/sbom.mjs')], { cwd: folder });
      const sbom = JSON.parse(readFileSync(join(folder, 'sbom.json'), 'utf8')) as {
        bomFormat: string;
        metadata: { component: { name: string } };
        components: { name: string; version: string; hashes?: object[]; licenses?: object[] }[];
        dependencies: { ref: string; dependsOn: string[] }[];
      };
      expect(sbom.bomFormat).toBe('CycloneDX');
      expect(sbom.metadata.component.name).toBe('scalable-banking-api');
      const listed = new Set(sbom.components.map(({ name, version }) => `${name} ${version}`));
      const shipped = licencesOf(readProject().lockfile).map(({ name, version }) => `${name} ${version}`);
      expect([...listed].sort()).toEqual([...new Set(shipped)].sort());
      // The packages of the workspace are part of the service, and so are their dependencies.
      const [service] = sbom.dependencies;
      expect(service?.ref).toBe('scalable-banking-api@0.1.0');
      expect(service?.dependsOn).toContainEqual(expect.stringMatching(/^@embedded-postgres\/linux-x64@/));
      expect(sbom.components.filter(({ hashes, licenses }) => !hashes?.length || !licenses?.length)).toEqual(
        [],
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
