import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';

const ENV_FILE = join(process.cwd(), 'dist/src/config/env-file.js');
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'env-file-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** What a program that starts in the folder finds in its environment. */
function environmentIn(folder: string, given: Record<string, string> = {}) {
  const print = 'console.log(JSON.stringify(process.env))';
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', ENV_FILE, '-e', print], {
    cwd: folder,
    env: given,
    encoding: 'utf8',
  });
  return { status, stderr, variables: stdout === '' ? undefined : (JSON.parse(stdout) as object) };
}

describe('.env', () => {
  const write = (text: string) => writeFileSync(join(folder, '.env'), text);

  it.each(['start', 'cli'])('is read by `npm run %s`, which imports it first', (script) => {
    expect(scripts[script]).toMatch(
      /^(exec )?node (--max-\S+ )?--import \.\/dist\/src\/config\/env-file\.js dist\//,
    );
  });

  it('may be missing, without a word', () => {
    expect(environmentIn(folder, { A: '1' })).toEqual({ status: 0, stderr: '', variables: { A: '1' } });
  });

  it('sets variables; those of the environment win, even when empty', () => {
    write(
      '# a comment\nPORT=3001\nHOST="::1" # another\n\nAUTH=on\nREDIS_URL=redis://r\nNODE_ENV=production\n',
    );
    expect(environmentIn(folder, { AUTH: 'off', REDIS_URL: '' }).variables).toEqual({
      ...{ PORT: '3001', HOST: '::1', AUTH: 'off', REDIS_URL: '', NODE_ENV: 'production' },
    });
  });

  it("can't set what Node has read already", () => {
    write('PORT=3001\nNODE_OPTIONS=--max-old-space-size=512\n');
    expect(environmentIn(folder)).toMatchObject({
      status: 1,
      stderr: 'NODE_OPTIONS has no effect in .env: set it in the environment.\n',
    });
    expect(environmentIn(folder, { NODE_OPTIONS: '--no-warnings' })).toMatchObject({ status: 1 });
  });

  it("is not passed over when it can't be read", () => {
    mkdirSync(join(folder, '.env'));
    const { status, stderr } = environmentIn(folder);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^\.env can't be read: EISDIR: .*\n$/);
  });
});
