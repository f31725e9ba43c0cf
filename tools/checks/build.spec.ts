import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A checkout with two sources. */
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'bank-build-'));
  for (const file of ['package.json', '.swcrc', 'tsconfig.build.json', 'tools/checks/build.mjs']) {
    cpSync(file, join(root, file));
  }
  symlinkSync(join(process.cwd(), 'node_modules'), join(root, 'node_modules'));
  mkdirSync(join(root, 'src'));
  write('src/main.ts', "import { word } from './word.js';\nconsole.log(word as string);\n");
  write('src/word.ts', "export const word = 'one';\n");
});

afterEach(() => rmSync(root, { recursive: true }));

const write = (file: string, text: string) => writeFileSync(join(root, file), text);
const run = (file: string) => spawnSync(process.execPath, [file], { cwd: root, encoding: 'utf8' });

/** What the program writes after a build. */
function built(): string {
  expect(run('tools/checks/build.mjs')).toMatchObject({ status: 0, stdout: '', stderr: '' });
  return run('dist/src/main.js').stdout;
}

describe('the build', () => {
  it('follows an edit, whatever the timestamps say', () => {
    expect(built()).toBe('one\n');
    const { atime, mtime } = statSync(join(root, 'src/word.ts'));
    write('src/word.ts', "export const word = 'two';\n");
    utimesSync(join(root, 'src/word.ts'), atime, mtime);
    expect(built()).toBe('two\n');
    write('src/word.ts', "export const word = 'one';\n");
    expect(built()).toBe('one\n');
  });

  it('does not recompile unchanged sources', () => {
    built();
    const before = statSync(join(root, 'dist/src/main.js'), { bigint: true }).mtimeNs;
    write('src/word.ts', "export const word = 'two';\n");
    built();
    expect(statSync(join(root, 'dist/src/main.js'), { bigint: true }).mtimeNs).toBe(before);
  });

  it('recompiles everything when its settings change', () => {
    built();
    write('.swcrc', readFileSync(join(root, '.swcrc'), 'utf8').replace('"es2022"', '"es5"'));
    built();
    expect(readFileSync(join(root, 'dist/src/word.js'), 'utf8')).toContain('var word');
  });

  it('recreates an output that was lost or truncated', () => {
    built();
    rmSync(join(root, 'dist/src/word.js'));
    expect(built()).toBe('one\n');
    write('dist/src/word.js', "export const word = 'no");
    expect(built()).toBe('one\n');
  });

  it('removes the output of a deleted source', () => {
    built();
    rmSync(join(root, 'src/word.ts'));
    expect(run('tools/checks/build.mjs').status).toBe(0);
    expect(existsSync(join(root, 'dist/src/word.js'))).toBe(false);
    expect(existsSync(join(root, 'dist/src/word.js.map'))).toBe(false);
    expect(run('dist/src/main.js').stderr).toContain('ERR_MODULE_NOT_FOUND');
  });

  it('compiles a package into the package', () => {
    mkdirSync(join(root, 'packages/one/src'), { recursive: true });
    write('packages/one/src/index.ts', "export const word: string = 'one';\n");
    write('tsconfig.build.json', '{ "include": ["src"], "references": [{ "path": "packages/one" }] }');
    write('src/main.ts', "import { word } from '../../packages/one/dist/index.js';\nconsole.log(word);\n");
    expect(built()).toBe('one\n');
    write('packages/one/src/index.ts', "export const word: string = 'two';\n");
    expect(built()).toBe('two\n');
    rmSync(join(root, 'packages/one/src/index.ts'));
    expect(run('tools/checks/build.mjs').status).toBe(0);
    expect(existsSync(join(root, 'packages/one/dist/index.js'))).toBe(false);
  });

  it('leaves out tests', () => {
    write('src/word.spec.ts', 'throw new Error();\n');
    built();
    expect(existsSync(join(root, 'dist/src/word.spec.js'))).toBe(false);
  });

  it('asks for `npm ci` where nothing is installed', () => {
    rmSync(join(root, 'node_modules'));
    expect(run('tools/checks/build.mjs')).toMatchObject({
      ...{ status: 1, stdout: '', stderr: 'Run `npm ci` first.\n' },
    });
  });

  it('fails on a source that is not TypeScript, and names it', () => {
    write('src/word.ts', 'export const = ;\n');
    const { status, stderr } = run('tools/checks/build.mjs');
    expect(status).toBe(1);
    expect(stderr).toContain('src/word.ts');
  });
});
