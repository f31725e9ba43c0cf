/**
 * Compiles what tsconfig.build.json includes and refers to, file by file and without checking types: `npm run
 * check:types` does that. Each output ends with a hash of its source and settings, so only changed sources are compiled
 * again; outputs without a source are removed. dist/ is therefore never older than the sources, whatever their
 * timestamps say.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
// Node 20 has no globSync: a named import would fail before the check below.
import * as fs from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } = fs;

process.chdir(fileURLToPath(new URL('../..', import.meta.url)));

// Every command of the README begins here.
const isTooOld = isBefore(process.versions.node, [22, 17]);
if (!existsSync('node_modules') && (!isTooOld || process.platform === 'linux')) {
  console.error('Run `npm ci` first.');
  process.exit(1);
}

// On Linux npm brings the Node that the commands run on, but npm 10, which comes with
// Node 20, does not link it: it removes the link again, because the same program for another processor has one, too.
if (isTooOld) {
  const brought = `node-linux-${process.arch}/bin/node`;
  const link = 'node_modules/.bin/node';
  if (!existsSync(`node_modules/${brought}`)) {
    console.error(`Node 22.17 or later is needed, and this is ${process.versions.node}.`);
    process.exit(1);
  }
  try {
    symlinkSync(`../${brought}`, link);
  } catch (error) {
    // There is one already, or another command made it at the same moment.
    if (error.code !== 'EEXIST') throw error;
  }
  process.exit(spawnSync(link, process.argv.slice(1), { stdio: 'inherit' }).status ?? 1);
}

const compilerSettings = ['package.json', '.swcrc', 'tools/checks/build.mjs'].map((file) =>
  readFileSync(file),
);
const { include, references = [] } = JSON.parse(readFileSync('tsconfig.build.json', 'utf8'));
const folders = [
  ...include.map((from) => ({ from, to: join('dist', from) })),
  ...references.map(({ path }) => ({ from: join(path, 'src'), to: join(path, 'dist') })),
];

const sources = folders.flatMap(({ from, to }) =>
  globSync(`${from}/**/*.ts`)
    .filter((file) => !/\.(spec|fixture|d)\.ts$/.test(file))
    .map((file) => {
      const text = readFileSync(file, 'utf8');
      const output = join(to, relative(from, file).replace(/ts$/, 'js'));
      return { file, text, output, stamp: stampOf(text) };
    }),
);

const outputs = new Set(sources.map(({ output }) => output));
for (const folder of ['dist', ...references.map(({ path }) => join(path, 'dist'))]) {
  for (const file of globSync(`${folder}/**/*.{js,js.map,d.ts}`)) {
    if (!outputs.has(file.replace(/\.map$/, ''))) rmSync(file, { force: true });
  }
}

const changed = sources.filter(
  ({ output, stamp }) => !existsSync(output) || !readFileSync(output, 'utf8').endsWith(stamp),
);
if (changed.length > 0) {
  rmSync('dist/.compile-cache', { recursive: true, force: true });
  const { transform } = await import('@swc/core');
  const results = await Promise.allSettled(changed.map((source) => compile(source, transform)));
  const problems = results.filter(({ status }) => status === 'rejected');
  for (const { reason } of problems) console.error(reason.message ?? reason);
  if (problems.length > 0) process.exit(1);
}

function isBefore(version, [major, minor]) {
  const [itsMajor, itsMinor] = version.split('.').map(Number);
  return itsMajor < major || (itsMajor === major && itsMinor < minor);
}

async function compile({ file, text, output, stamp }, transform) {
  const { code, map } = await transform(text, {
    filename: file,
    sourceFileName: relative(dirname(output), file),
    sourceMaps: true,
  });
  mkdirSync(dirname(output), { recursive: true });
  replace(`${output}.map`, map);
  replace(output, `${code}//# sourceMappingURL=${basename(output)}.map\n${stamp}`);
}

/** Written in one step, because another start may be loading the file. */
function replace(file, text) {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, text);
  renameSync(draft, file);
}

function stampOf(text) {
  const hash = createHash('sha256');
  for (const part of [...compilerSettings, text]) hash.update(part).update('\0');
  return `// made from ${hash.digest('base64url')}\n`;
}
