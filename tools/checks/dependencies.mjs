/** Checks of the packages in `package-lock.json`. No registry is asked. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const MANIFEST = 'package.json';
const LOCKFILE = 'package-lock.json';
const KINDS = ['dependencies', 'optionalDependencies', 'devDependencies'];

/**
 * Licences that only require their text to be included. A person must read any other one before it is added. OFL-1.1 is
 * for fonts: they may be embedded in any document, and must not be sold by themselves.
 */
const ALLOWED = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'ISC',
  'MIT',
  'MIT/X11',
  'OFL-1.1',
  'Python-2.0',
]);

/**
 * Reads the manifest and lockfile of the working directory, and the manifest of each workspace package by its folder.
 */
export function readProject() {
  const read = (file) => JSON.parse(readFileSync(file, 'utf8'));
  const manifest = read(MANIFEST);
  const files = manifest.workspaces.flatMap((folders) => globSync(`${folders}/${MANIFEST}`));
  const workspaces = Object.fromEntries(files.map((file) => [dirname(file), read(file)]));
  return { manifest, workspaces, lockfile: read(LOCKFILE) };
}

/** The problems of a lockfile, which must pin exactly what is installed, all of it from the registry. */
export function lockfileProblems({ manifest, workspaces, lockfile }) {
  if (lockfile.lockfileVersion !== 3) return [`${LOCKFILE} must have lockfileVersion 3`];
  const problems = [];
  for (const [folder, own] of Object.entries({ '': manifest, ...workspaces })) {
    problems.push(...differences(folder, own, lockfile));
  }
  for (const [path, entry] of Object.entries(lockfile.packages)) {
    const isOwn = path === '' || path in workspaces || isLinkTo(workspaces[entry.resolved], path, entry);
    if (!isOwn) problems.push(...entryProblems(path, entry, manifest));
  }
  return problems;
}

function* differences(folder, manifest, { packages }) {
  const file = join(folder, MANIFEST);
  const root = packages[folder] ?? {};
  for (const key of ['name', 'version']) {
    if (root[key] !== manifest[key]) yield `${key} is not the same in ${file} and ${LOCKFILE}`;
  }
  for (const kind of KINDS) {
    const [wanted, locked] = [manifest[kind] ?? {}, root[kind] ?? {}];
    for (const name of new Set([...Object.keys(wanted), ...Object.keys(locked)])) {
      if (wanted[name] !== locked[name]) yield `${name} is not the same in ${file} and ${LOCKFILE}`;
      else if (lockedVersion(name, packages) !== wanted[name]) {
        yield `${name} must be a version, and the one that is locked`;
      }
    }
  }
}

/** The one version of a package for the whole project; a package of the workspace is a link to its folder. */
function lockedVersion(name, packages) {
  const entry = packages[`node_modules/${name}`];
  return (packages[entry?.resolved] ?? entry)?.version;
}

function isLinkTo(workspace, path, { link }) {
  return link === true && workspace !== undefined && path === `node_modules/${workspace.name}`;
}

function* entryProblems(
  path,
  { version, resolved, integrity, link, hasInstallScript },
  { allowScripts = {} },
) {
  if (link) yield `${path} is a link to a folder`;
  // npm leaves out the origin of a package from the registry, so only one from git or a file has any.
  if (resolved !== undefined) yield `${path} does not come from the registry by its name and version`;
  if (!/^\d+\.\d+\.\d+/.test(version ?? '')) yield `${path} has no version`;
  if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? '')) yield `${path} has no SHA-512`;
  if (hasInstallScript && !(nameOf(path) in allowScripts)) {
    yield `${path} runs a script when it is installed: allowScripts must say whether it may`;
  }
}

/** Packages whose manifest names no licence, by name and version: that of their LICENSE file. */
const READ_LICENCES = { 'png-js@2.0.0': 'MIT' };

/** Third-party packages that are shipped with the service, each with its licence. */
export function licencesOf({ packages }) {
  return Object.entries(packages)
    .filter(([path, { dev, link }]) => path.includes('node_modules/') && !dev && !link)
    .map(([path, { name = nameOf(path), version, license }]) => ({
      // An aliased package states its own name.
      name,
      version,
      licence: license ?? READ_LICENCES[`${name}@${version}`] ?? 'none',
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @param {string} expression an SPDX expression: names, AND, OR, and parentheses around the whole */
export function isAllowed(expression) {
  const inner = expression.replace(/^\((.*)\)$/, '$1');
  const some = inner.split(' OR ');
  return some.some((all) => all.split(' AND ').every((name) => ALLOWED.has(name)));
}

function nameOf(path) {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
}
