import { describe, expect, it } from '@jest/globals';
import type { Answer } from './contract.js';
import { ACCEPTS, differences, formAskedFor, inAllForms, type Form } from './forms.js';

const TEXT: Form = { textMoney: true, problems: false };
const PROBLEMS: Form = { textMoney: false, problems: true };

const answer = (text: string, status = 200, headers: Record<string, string> = {}): Answer => ({
  ...{ status, text },
  headers: { vary: 'Accept', 'x-request-id': String(Math.random()), ...headers },
});

const BALANCE = answer('{"balance":9007199254740993.07,"version":2}', 200, { etag: '"2"' });
const AS_TEXT = answer('{"balance":"9007199254740993.07","version":2}', 200, { etag: '"2-string"' });

const CODE = { 'x-error-code': 'VERSION_MISMATCH' };
const MISMATCH = answer('{"error":"Version mismatch","CurrentVersion":6}', 409, CODE);
const problem = (changes: object = {}) =>
  answer(
    JSON.stringify({
      ...{ type: '/docs/errors#version_mismatch', title: 'Version mismatch', status: 409, detail: 'x' },
      ...{ code: 'VERSION_MISMATCH', error: 'Version mismatch', CurrentVersion: 6 },
      ...changes,
    }),
    409,
    CODE,
  );

const BATCH = '[{"status":201,"body":{"newBalance":1.50,"newVersion":"2"}}]';

describe('two forms of one answer', () => {
  it.each<[string, Answer, Answer, Form]>([
    ['money', BALANCE, AS_TEXT, TEXT],
    ['an error, whose form does not depend on money', MISMATCH, MISMATCH, TEXT],
    ['an error', MISMATCH, problem(), PROBLEMS],
    ['an answer that is no error', BALANCE, BALANCE, PROBLEMS],
    ['results of a batch', answer(BATCH), answer(BATCH.replace('1.50', '"1.50"')), TEXT],
    [
      'results that are all errors',
      answer('[{"status":424}]', 422),
      answer('[{"status":424}]', 422),
      PROBLEMS,
    ],
    ['no body', answer('', 404), answer('', 404), PROBLEMS],
  ])('say the same: %s', (_, plain, other, form) => {
    expect(differences(plain, other, form)).toEqual([]);
  });

  it.each<[string, Answer, Answer, Form, string]>([
    [
      'in a digit',
      BALANCE,
      { ...AS_TEXT, text: AS_TEXT.text.replace('.07', '.08') },
      TEXT,
      'the body says otherwise',
    ],
    ['in nothing, where money is a number', BALANCE, { ...AS_TEXT, text: BALANCE.text }, TEXT, 'the body'],
    [
      'in the type of a version',
      BALANCE,
      { ...AS_TEXT, text: AS_TEXT.text.replace('2}', '"2"}') },
      TEXT,
      'the body',
    ],
    [
      'in nothing, by their tags',
      BALANCE,
      { ...AS_TEXT, headers: BALANCE.headers },
      TEXT,
      'the entity tag is "2"',
    ],
    [
      'in the status',
      MISMATCH,
      { ...problem(), status: 412 },
      PROBLEMS,
      'status 412, but in the plain form 409',
    ],
    ['in the status that the body names', MISMATCH, problem({ status: 412 }), PROBLEMS, 'the body'],
    ['in the code that the body names', MISMATCH, problem({ code: 'X' }), PROBLEMS, 'the body'],
    ['in the title', MISMATCH, problem({ title: 'X' }), PROBLEMS, 'the body'],
    ['in the link', MISMATCH, problem({ type: 'about:blank' }), PROBLEMS, 'the body'],
    ['in a missing text', MISMATCH, problem({ detail: '' }), PROBLEMS, 'the body'],
    ['in a member', MISMATCH, problem({ CurrentVersion: 7 }), PROBLEMS, 'the body'],
    ['in one member more', MISMATCH, problem({ instance: '/' }), PROBLEMS, 'the body'],
    [
      'in the code',
      MISMATCH,
      { ...problem(), headers: { ...CODE, vary: 'Accept', 'x-error-code': 'DUPLICATE_TRANSACTION' } },
      PROBLEMS,
      'only the plain form has "x-error-code: VERSION_MISMATCH"',
    ],
    [
      'in a header more',
      BALANCE,
      answer(BALANCE.text, 200, { etag: '"2"', allow: 'GET' }),
      PROBLEMS,
      'the plain form has no "allow: GET"',
    ],
  ])('differ %s', (_, plain, other, form, difference) => {
    expect(differences(plain, other, form).join()).toContain(difference);
  });

  it('are asked for by Accept headers that ask for them', () => {
    const draft = {
      ...{ method: 'GET', segments: ['accounts'], query: [], protocol: 'HTTP/1.1', verdict: 'open' as const },
      headers: [
        ['Host', 'bank'],
        ['Accept', '*/*'],
      ] as const,
    };
    const { plain, others } = inAllForms(draft);
    expect(plain.headers).toEqual([['Host', 'bank']]);
    expect([plain, ...others].map(({ headers }) => formAskedFor(headers))).toEqual([
      { textMoney: false, problems: false },
      TEXT,
      PROBLEMS,
    ]);
    expect(new Set([...ACCEPTS.values()].map((form) => JSON.stringify(form))).size).toBe(4);
  });
});
