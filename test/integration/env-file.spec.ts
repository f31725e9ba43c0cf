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

  it.each(['PORT: 3199', 'PORT 3199', 'set PORT=3199', 'export PORT', '=3199', 'PORT-2=1', '"PORT"=3199'])(
    'with the line %j is refused',
    (line) => {
      write(`# a comment\nA="1\n2"\n\n${line}\nHOST=::1\n`);
      expect(environmentIn(folder)).toEqual({
        ...{ status: 1, stderr: '.env line 5 is not NAME=value\n', variables: undefined },
      });
    },
  );

  it('may have what Node reads', () => {
    write(
      'export A=1\r\n\r\n \t# PORT 3\n B = 2 \nC="x\nD 4\n" # y\nE=\'"\n\'\nF=`\n`\nG="open\nH=#\nI=\nj="1"\t#c " d',
    );
    expect(environmentIn(folder)).toEqual({
      ...{ status: 0, stderr: '' },
      variables: { A: '1', B: '2', C: 'x\nD 4\n', E: '"\n', F: '\n', G: 'open\nH=#\nI=\nj=' },
    });
    write('G="open\nH=#\nI=\nj=x"');
    expect(environmentIn(folder).variables).toEqual({ G: 'open\nH=#\nI=\nj=x' });
    write("G='open\nH=1");
    expect(environmentIn(folder).variables).toEqual({ G: "'open", H: '1' });
  });

  it('holds settings only: commands and the service warn of every other name', () => {
    write('PORTS=3001\nPASSWORD=s3cret\nHOST=::1\n');
    const command = ['--import', ENV_FILE, join(process.cwd(), 'dist/src/cli.js'), 'events', 'tail'];
    const { stderr } = spawnSync(process.execPath, command, {
      cwd: folder,
      env: { POSTS: '1' },
      encoding: 'utf8',
    });
    expect(stderr.replaceAll(/^\[\S+\] /gm, '')).toBe(
      'WARN: PASSWORD in .env is not a setting of the service\n' +
        'WARN: PORTS is not a setting and has no effect: is PORT meant?\n' +
        'error: RABBITMQ_URL is not set: without a broker, events stay in the service\n',
    );
  });

  it("is not passed over when it can't be read", () => {
    mkdirSync(join(folder, '.env'));
    const { status, stderr } = environmentIn(folder);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^\.env can't be read: EISDIR: .*\n$/);
  });
});
