import { Writable } from 'node:stream';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { createProgress } from './progress.js';

function stream(isTTY: boolean) {
  let written = '';
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written += chunk.toString();
      done();
    },
  });
  const terminal = {
    isTTY,
    columns: 80,
    cursorTo: () => true,
    clearLine: () => true,
    moveCursor: () => true,
  };
  return { sink: Object.assign(sink, terminal) as unknown as NodeJS.WriteStream, written: () => written };
}

afterEach(() => {
  jest.restoreAllMocks();
});

describe('progress', () => {
  it('is a line every five seconds without a terminal', () => {
    let nowMs = 1_000;
    jest.spyOn(performance, 'now').mockImplementation(() => nowMs);
    const { sink, written } = stream(false);
    const progress = createProgress('accounts', sink);
    progress.update(10, 1_000);
    expect(written()).toBe('');
    nowMs += 5_000;
    progress.update(125, 1_000);
    progress.update(126, 1_000);
    nowMs += 5_000;
    progress.update(999, 1_000);
    progress.stop();
    expect(written()).toBe('accounts: 125 of 1000 (12 %)\naccounts: 999 of 1000 (99 %)\n');
  });

  it('is a bar on a terminal', () => {
    const { sink, written } = stream(true);
    const progress = createProgress('accounts', sink);
    progress.update(500, 1_000);
    progress.update(1_000, 1_000);
    progress.stop();
    expect(written()).toContain('50 % | 500 of 1000');
  });

  it('leaves nothing behind if no bar was started', () => {
    const { sink, written } = stream(true);
    createProgress('accounts', sink).stop();
    expect(written()).not.toContain('accounts');
  });
});
