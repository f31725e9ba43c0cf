/** What `package-lock.json` says of the packages that the project is made of. Nothing is asked of a registry. */
import { readFileSync } from 'node:fs';

const MANIFEST = 'package.json';
const LOCKFILE = 'package-lock.json';
const KINDS = ['dependencies', 'optionalDependencies', 'devDependencies'];

/** Licences that ask for no more than their text. A new one is for a person to read. */
const ALLOWED = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'ISC',
  'MIT',
  'Python-2.0',
]);

/** The two files of the working directory. */
export function readProject() {
  const read = (file) => JSON.parse(readFileSync(file, 'utf8'));
  return { manifest: read(MANIFEST), lockfile: read(LOCKFILE) };
}

/** What is wrong with a lockfile: it must name exactly what is installed, from nowhere but the registry. */
export function lockfileProblems({ manifest, lockfile }) {
  if (lockfile.lockfileVersion !== 3) return [`${LOCKFILE} must have lockfileVersion 3`];
  const problems = [...differences(manifest, lockfile)];
  for (const [path, entry] of packagesOf(lockfile)) problems.push(...entryProblems(path, entry, manifest));
  return problems;
}

function* differences(manifest, { packages }) {
  const root = packages[''] ?? {};
  for (const key of ['name', 'version']) {
    if (root[key] !== manifest[key]) yield `${key} is not the same in ${MANIFEST} and ${LOCKFILE}`;
  }
  for (const kind of KINDS) {
    const [wanted, locked] = [manifest[kind] ?? {}, root[kind] ?? {}];
    for (const name of new Set([...Object.keys(wanted), ...Object.keys(locked)])) {
      if (wanted[name] !== locked[name]) yield `${name} is not the same in ${MANIFEST} and ${LOCKFILE}`;
      else if (packages[`node_modules/${name}`]?.version !== wanted[name]) {
        yield `${name} must be a version, and the one that is locked`;
      }
    }
  }
}

function* entryProblems(
  path,
  { version, resolved, integrity, link, hasInstallScript },
  { allowScripts = {} },
) {
  if (link) yield `${path} is a link to a folder`;
  // npm leaves out where a package comes from when that is the registry: no host is named, git and files would be.
  if (resolved !== undefined) yield `${path} does not come from the registry by its name and version`;
  if (!/^\d+\.\d+\.\d+/.test(version ?? '')) yield `${path} has no version`;
  if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? '')) yield `${path} has no SHA-512`;
  if (hasInstallScript && !(nameOf(path) in allowScripts)) {
    yield `${path} runs a script when it is installed: allowScripts must say whether it may`;
  }
}

/** Packages that come with the service, each with its licence. */
export function licencesOf(lockfile) {
  return packagesOf(lockfile)
    .filter(([, { dev }]) => !dev)
    .map(([path, { name, version, license }]) => ({
      // Its own is given where it is known by another.
      name: name ?? nameOf(path),
      version,
      licence: license ?? 'none',
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @param {string} expression of SPDX: names, AND, OR, parentheses around the whole */
export function isAllowed(expression) {
  const inner = expression.replace(/^\((.*)\)$/, '$1');
  const some = inner.split(' OR ');
  return some.some((all) => all.split(' AND ').every((name) => ALLOWED.has(name)));
}

function packagesOf({ packages }) {
  return Object.entries(packages).filter(([path]) => path !== '');
}

function nameOf(path) {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
}
