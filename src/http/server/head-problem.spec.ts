import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { headProblem } from './head-problem.js';

/** What is wrong with a request that has these headers. */
function problemWith(headers: Readonly<Record<string, string>>, method = 'POST') {
  const byLowerCase = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
  const problem = headProblem({
    method,
    httpVersion: '1.1',
    headers: Object.fromEntries(byLowerCase) as Record<string, string>,
    rawHeaders: Object.entries(headers).flat(),
  } as unknown as IncomingMessage);
  return problem?.problems;
}

describe('headProblem', () => {
  it.each([
    ...[
      ...['X-Idempotency-Key', 'X-Idempotency', 'Idempotency_Key', 'IdempotencyKey', 'Idempotence-Key'],
      ...[
        'Idempotent-Key',
        'Idempotency',
        'Idem-Key',
        'Idempotency-Token',
        'Idempotancy-Key',
        'idempotencykey',
      ],
      ...['Indempotency-Key', 'Idepotency-Key', 'Impotency-Key', 'X_IDEMPOTENCY_KEY', 'Idempotency-Keys'],
    ].map((name) => [name, 'Idempotency-Key']),
    ...['X-Request-Idempotency-Key', 'My-Idempotency-Key'].map((name) => [name, 'Idempotency-Key']),
    ...['If_Match', 'IfMatch', 'X-If-Match', 'if-macth', 'If-Matches'].map((name) => [name, 'If-Match']),
    ...['If-None_Match', 'IfNoneMatch', 'If-Non-Match', 'X-If-None-Match'].map((name) => [
      name,
      'If-None-Match',
    ]),
    ['If_Unmodified_Since', 'If-Unmodified-Since'],
  ])('%s: names %s', (given, meant) => {
    expect(problemWith({ Host: 'bank', [given]: 'x' })).toEqual([
      { field: given, message: `is not a known header; did you mean ${meant}?` },
    ]);
  });

  it.each([
    ...['Idempotency-Key', 'IDEMPOTENCY-KEY', 'If-Match', 'if-none-match', 'If-Modified-Since', 'If-Range'],
    ...[
      'X-Request-Id',
      'X-Forwarded-For',
      'X-Forwarded-Proto',
      'X-Real-IP',
      'X-Requested-With',
      'X-Id',
      'X-IP',
    ],
    ...[
      'IM',
      'Expect',
      'ETag',
      'X-Api-Key',
      'Sec-WebSocket-Key',
      'X-Envoy-Expected-Rq-Timeout-Ms',
      'X-Version',
      'X-Identity',
      'X-Idle-Timeout',
      'X-Match',
      'X-Internal',
      'Import',
      'Instance-Id',
    ],
    ...['Accept', 'Content-Type', 'Authorization', `X-Id${'x'.repeat(5_000)}`, `Id${'-'.repeat(5_000)}Match`],
  ])('%s is no misspelling', (name) => {
    expect(problemWith({ [name]: 'x' })).toBeUndefined();
  });

  it.each(['If', 'If-Schedule-Tag-Match', 'X-If-Something', `If-${'x'.repeat(5_000)}`])(
    '%s sets a condition that is not evaluated',
    (name) => {
      expect(problemWith({ [name]: 'x' })).toEqual([
        { field: name, message: 'is not a known header; it sets a condition' },
      ]);
    },
  );

  it.each(['Expected-Version', 'X-Expected-Version', 'ExpectedVersion', 'expected_version'])(
    '%s belongs in the body',
    (name) => {
      expect(problemWith({ [name]: '7' })).toEqual([
        { field: name, message: 'is not a known header; expectedversion belongs in the body' },
      ]);
    },
  );

  it.each(['GET', 'HEAD'])('%s has no body', (method) => {
    const expected = [{ field: 'body', message: `is not supported with ${method}` }];
    expect(problemWith({ 'Content-Length': '1' }, method)).toEqual(expected);
    expect(problemWith({ 'Transfer-Encoding': 'chunked' }, method)).toEqual(expected);
    expect(
      problemWith({ 'Content-Length': '0', 'Content-Type': 'application/json' }, method),
    ).toBeUndefined();
    expect(problemWith({}, method)).toBeUndefined();
  });

  it('a posting has one', () => {
    expect(problemWith({ 'Content-Length': '1' })).toBeUndefined();
    expect(problemWith({ 'Transfer-Encoding': 'chunked' })).toBeUndefined();
  });

  it('takes little time for a thousand names that might be misspellings', () => {
    const names = Array.from({ length: 1_000 }, (_, n) => [`Identity-Some-${n}`, 'x'] as const);
    const headers = Object.fromEntries(names);
    // The fastest of some runs: others may be at work on the machine.
    const runs = Array.from({ length: 5 }, () => {
      const startedMs = performance.now();
      expect(problemWith(headers)).toBeUndefined();
      return performance.now() - startedMs;
    });
    expect(Math.min(...runs)).toBeLessThan(3);
  });
});
