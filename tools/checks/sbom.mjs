/**
 * Writes sbom.json, the service's bill of materials, as CycloneDX. npm lists everything that is locked; its own --omit
 * dev would leave out packages that both the service and its tools use.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { licencesOf, readProject } from './dependencies.mjs';

const FILE = 'sbom.json';
const NPM_SBOM = ['sbom', '--package-lock-only', '--sbom-format', 'cyclonedx', '--sbom-type', 'application'];
const MAX_BYTES = 64 * 1024 * 1024;

const { manifest, workspaces, lockfile } = readProject();
const sbom = JSON.parse(execFileSync('npm', NPM_SBOM, { encoding: 'utf8', maxBuffer: MAX_BYTES }));
// npm names it after the folder.
sbom.metadata.component.name = manifest.name;
const kept = new Map(
  licencesOf(lockfile).map(({ name, version, licence }) => [`${name}@${version}`, licence]),
);
sbom.components = sbom.components
  .filter((component) => kept.has(component['bom-ref']))
  .map((component) => ({
    ...component,
    licenses: component.licenses ?? [{ license: { id: kept.get(component['bom-ref']) } }],
  }));
const keptOf = (dependencies) =>
  [...new Set(dependencies.flatMap(({ dependsOn = [] }) => dependsOn))].filter((ref) => kept.has(ref));
// The packages of the workspace are part of the application, so it depends on their dependencies.
const application = sbom.metadata.component['bom-ref'];
const own = new Set(Object.values(workspaces).map(({ name, version }) => `${name}@${version}`)).add(
  application,
);
sbom.dependencies = [
  { ref: application, dependsOn: keptOf(sbom.dependencies.filter(({ ref }) => own.has(ref))) },
  ...sbom.dependencies
    .filter(({ ref }) => kept.has(ref))
    .map((each) => ({ ref: each.ref, dependsOn: keptOf([each]) })),
];
writeFileSync(FILE, `${JSON.stringify(sbom, null, 2)}\n`);
console.log(`${FILE}: ${sbom.components.length} packages`);
