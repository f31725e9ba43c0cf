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
  it.each(['GET', 'HEAD', 'DELETE'])('%s has no body', (method) => {
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
});
