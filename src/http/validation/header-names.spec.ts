import { describe, expect, it } from '@jest/globals';
import { checkHeaderNames } from './header-names.js';
import { InvalidRequestError } from './invalid-request.js';

/** What is wrong with the names of these headers. */
function problemWith(headers: Readonly<Record<string, string>>) {
  try {
    checkHeaderNames(Object.entries(headers).flat());
  } catch (error) {
    if (error instanceof InvalidRequestError) return error.problems;
    throw error;
  }
  return undefined;
}

describe('checkHeaderNames', () => {
  it.each([
    ...[
      ...['X-Idempotency-Key', 'X-Idempotency', 'Idempotency_Key', 'IdempotencyKey', 'Idempotence-Key'],
      ...[
        'Idempotent-Key',
        'Idempotency',
        'Idem-Key',
        'Idemp-Key',
        'Dempotency-Key',
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
