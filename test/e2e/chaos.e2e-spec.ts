import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

const PROGRAM = join(process.cwd(), 'dist/tools/chaos/main.js');

describe('npm run chaos', () => {
  let out: string;

  beforeAll(async () => {
    out = await mkdtemp(join(tmpdir(), 'bank-chaos-test-'));
  });

  afterAll(() => rm(out, { recursive: true, force: true }));

  async function chaos(...args: string[]): Promise<{ code: number; output: string }> {
    const child = spawn(process.execPath, [PROGRAM, '--out', out, ...args], {
      env: { PATH: process.env['PATH'], HOME: tmpdir() },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => (output += data.toString()));
    const [code] = (await once(child, 'close')) as [number];
    return { code, output };
  }

  /** A line of the table. */
  function figure(output: string, name: string): number {
    return Number(new RegExp(`^ *${name} +(\\d+)$`, 'm').exec(output)?.[1]);
  }

  it.each([
    ['full', '4', '0.2'],
    ['embedded', '5', '0.15'],
  ])(
    'finds the %s bank clean, under the faults of seed %s',
    async (form, seed, minutes) => {
      const { code, output } = await chaos('--form', form, '--seed', seed, '--minutes', minutes);
      expect({ code, output }).toMatchObject({ code: 0 });
      expect(figure(output, 'faults')).toBeGreaterThan(1);
      expect(figure(output, 'acknowledged')).toBeGreaterThan(50);
      expect(
        ['lost', 'duplicated', 'wrong reads', 'violations in all'].map((name) => figure(output, name)),
      ).toEqual([0, 0, 0, 0]);
      const folder = join(out, `${form}-${seed}`);
      // The history of a clean run is gone.
      expect((await readdir(folder)).sort()).toEqual(['picture.svg', 'run.json', 'service.log']);
      const picture = await readFile(join(folder, 'picture.svg'), 'utf8');
      expect(picture).toMatch(/^<svg [^]*<polyline [^]*<\/svg>\n$/);
      for (const [, struck = ''] of output.matchAll(/ s {2}(\S+) \S+ for \d+ ms$/gm))
        expect(picture).toContain(struck);
    },
    180_000,
  );

  it('stops everything it has started when it is interrupted', async () => {
    const child = spawn(process.execPath, [PROGRAM, '--out', out, '--form', 'embedded', '--seed', '6'], {
      env: { PATH: process.env['PATH'], HOME: tmpdir() },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (data: Buffer) => (said += data.toString()));
    child.stdout.on('data', (data: Buffer) => {
      if (data.toString().includes('the clients begin')) child.kill('SIGTERM');
    });
    const [code] = (await once(child, 'close')) as [number];
    expect({ code, said }).toEqual({ code: 1, said: 'stopped by SIGTERM\n' });
    const left = (await readdir(tmpdir())).filter((name) => name.startsWith(`bank-chaos-${child.pid}-`));
    expect(left).toEqual([]);
  }, 120_000);

  it.each([
    [['--form', 'both!'], /It is full, embedded or both/],
    [['--seed', '-1'], /whole number/],
    [['--minutes', 'x'], /greater than 0/],
  ])('says what is wrong with %j', async (args, message) => {
    const { code, output } = await chaos(...args);
    expect({ code, output }).toEqual({ code: 1, output: expect.stringMatching(message) });
  });
});
