import { describe, expect, test } from '@jest/globals';
import { isTransient } from './connection.js';
import { parseClaim } from './folder-claim.js';
import { parsePostmasterFile } from './old-server.js';
import { beginningFromStat } from './process-identity.js';
import { idsOf } from './run-as.js';
import { readLogLine } from './server-log.js';

describe('the server’s log', () => {
  test.each([
    ['[checkpointer] PANIC:  could not write to file "pg_wal/x": No space left on device', 'error', false],
    ['[client backend] PANIC:  no', 'error', false],
    ['[checkpointer] ERROR:  could not open file', 'error', true],
    ['[autovacuum worker] WARNING:  oldest xmin is far in the past', 'warn', true],
    ['[client backend] FATAL:  sorry, too many clients already', 'warn', true],
    ['[postmaster] LOG:  client backend (PID 7) was terminated by signal 9: Killed', 'warn', true],
    [
      '[startup] LOG:  database system was not properly shut down; automatic recovery in progress',
      'info',
      false,
    ],
  ])('%s', (line, level, routine) => {
    expect(readLogLine(line)).toMatchObject({ level, routine });
  });

  test.each([
    '[client backend] ERROR:  duplicate key value violates unique constraint',
    '[client backend] DETAIL:  Key (account_id)=(1) already exists.',
    '[checkpointer] LOG:  checkpoint complete',
    'PostgreSQL Server Log',
    '',
  ])('leaves out: %s', (line) => expect(readLogLine(line)).toBeUndefined());
});

describe('postmaster.pid', () => {
  test('of a running server', () => {
    const text = '4711\n/data/postgres\n1764000000\n23456\n\n127.0.0.1\n  5001  3\nready   \n';
    expect(parsePostmasterFile(text)).toEqual({ pid: 4711, port: 23456 });
  });

  test('of one that has only begun to start, and malformed ones', () => {
    expect(parsePostmasterFile('4711\n/data/postgres\n')).toEqual({ pid: 4711, port: undefined });
    expect(parsePostmasterFile('')).toBeUndefined();
    expect(parsePostmasterFile('-4711\n')).toBeUndefined(); // a single-user session
  });
});

describe('processes', () => {
  const after = 'R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20 21';

  test('have a start time, whatever their name', () => {
    expect(beginningFromStat(`12 (node) ${after}`)).toBe('987654');
    expect(beginningFromStat(`12 (a) b (c d) ${after}`)).toBe('987654');
  });

  test('that are zombies count as gone', () => {
    expect(beginningFromStat(`12 (node) ${after.replace('R', 'Z')}`)).toBeUndefined();
  });

  test('are named in their claims', () => {
    const name = 'claim.12.f9b4894fn4026531836.987654.0123456789ab';
    expect(parseClaim(name)).toEqual({ name, pid: 12, space: 'f9b4894fn4026531836', identity: '987654' });
    expect(parseClaim('owner.json')).toBeUndefined();
  });
});

test('users are found in /etc/passwd', () => {
  const passwd = 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/:/usr/sbin/nologin\n';
  expect(idsOf(passwd, 'nobody')).toEqual({ uid: 65_534, gid: 65_533 });
  expect(idsOf('nobody:*:-2:-2::/var/empty:/usr/bin/false', 'nobody')).toEqual({
    uid: 4_294_967_294,
    gid: 4_294_967_294,
  });
  expect(idsOf(passwd, 'bank')).toBeUndefined();
});

test('a server that starts is waited for, one that refuses us is not', () => {
  const withCode = (code: string) => Object.assign(new Error('no'), { code });
  expect(isTransient(withCode('ECONNREFUSED'))).toBe(true);
  expect(isTransient(withCode('57P03'))).toBe(true);
  expect(isTransient(new Error('timeout expired'))).toBe(true);
  expect(isTransient(withCode('28P01'))).toBe(false);
});
