import { describe, expect, it } from '@jest/globals';
import { bodyProblem } from './refused-body.js';

describe('bodyProblem', () => {
  it.each([
    'gzip',
    'GZIP',
    'br',
    'deflate',
    'identity, gzip',
    'gzip, identity',
    'x-identity',
    'identityx',
    '*',
    'utf-8',
  ])('refuses the content encoding %s', (encoding) => {
    expect(bodyProblem({ 'content-encoding': encoding })).toMatchObject({ code: 'UNSUPPORTED_ENCODING' });
  });

  it.each(['identity', 'Identity', 'identity, identity', '', ' '])(
    'takes the content encoding %j',
    (encoding) => {
      expect(bodyProblem({ 'content-encoding': encoding })).toBeUndefined();
    },
  );

  it.each([
    'application/json; charset=utf-16',
    'application/json;charset=UTF-16LE',
    'application/json; charset=latin1',
    'application/json; charset="iso-8859-1"',
    'application/json; version=1; Charset=windows-1252',
    'application/json; charset=utf-8; charset=utf-16',
    'application/json; charset=',
    'application/json; charset="',
    'application/json; charset=utf-80',
    "application/json; charset='utf-8'",
    'application/x-ndjson; charset=utf-16',
    'application/json; charset',
    'application/json; charset*=utf-16',
  ])('refuses the type %s', (type) => {
    expect(bodyProblem({ 'content-type': type })).toMatchObject({ code: 'UNSUPPORTED_CHARSET' });
  });

  it.each([
    undefined,
    'application/json',
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'application/json; charset="utf-8"',
    'application/json; charset=utf8',
    'application/json; charset=us-ascii',
    'application/json; version=1',
    'application/jsonl; charset = utf-8',
  ])('takes the type %s', (type) => {
    expect(bodyProblem({ 'content-type': type })).toBeUndefined();
  });
});
