import { describe, expect, it } from '@jest/globals';
import { InvalidRequestError } from './invalid-request.js';
import { checkAccept, representationOf } from './representation.js';

const formsOf = (accept?: string) => representationOf({ accept });

describe('the Accept header', () => {
  it.each([
    undefined,
    '*/*',
    'application/json',
    'text/html,application/xhtml+xml,*/*;q=0.8',
    'application/json; money=number',
    'application/json, application/json; money=string; q=0.9',
    'application/json; money=string; q=0',
    '*/*, application/problem+json; q=0',
    'application/x-ndjson',
    'application/x-ndjson; money=number, */*',
    'application/x-ndjson, application/x-ndjson; money=string; q=0.9',
    'text/plain; money=string',
    'money',
  ])('%s asks for the usual forms', (accept) => {
    expect(formsOf(accept)).toEqual({ textMoney: false, problems: false });
  });

  it.each([
    'application/json; money=string',
    'application/json;money="string"',
    'APPLICATION/JSON; Money=String',
    'application/json; money=string; charset=utf-8',
    'application/json; charset="UTF-8"; money=string',
    'application/json; q=0.5, application/json; money=string',
    'application/json; money=string, */*; q=0.1',
    '*/*; money=string',
    'application/json; money=string; profile="a"',
    'application/json; profile="a, b; money=float"; money=string; q=0.9, text/html; q=0.1',
    'application/x-ndjson; money=string',
    'application/jsonl; money=string; charset=utf-8',
    'application/x-ndjson; money=string, application/json; q=0.5',
    'application/json; money=string, application/x-ndjson',
  ])('%s asks for money as text', (accept) => {
    expect(formsOf(accept)).toEqual({ textMoney: true, problems: false });
  });

  it.each([
    'application/problem+json',
    'application/problem+json; profile=x',
    'application/problem+json; money=string',
    'application/json, application/problem+json',
    'application/json, application/problem+json; q=0.5',
    'Application/Problem+JSON, */*',
  ])('%s asks for problems', (accept) => {
    expect(formsOf(accept)).toEqual({ textMoney: false, problems: true });
  });

  it('may ask for both', () => {
    expect(formsOf('application/json; money=string, application/problem+json')).toEqual({
      textMoney: true,
      problems: true,
    });
  });

  it('is rejected when it is long, and has no effect on an error then', () => {
    const accept = `application/json; money=string, application/problem+json${' '.repeat(1_000)}`;
    expect(() => checkAccept({ accept })).toThrow(InvalidRequestError);
    expect(formsOf(accept)).toEqual({ textMoney: false, problems: false });
    expect(() => checkAccept({ accept: ' '.repeat(2_000) })).not.toThrow();
  });

  it('is rejected when it asks for another form of money', () => {
    for (const accept of [
      ...['application/json; money=text', 'application/json;money=', '*/*; money="float"'],
      ...[
        'application/json; money',
        'text/json; money=string',
        'application/hal+json;money=string, text/html',
      ],
    ]) {
      expect(() => checkAccept({ accept })).toThrow(InvalidRequestError);
    }
    for (const accept of [
      ...['application/json; money=String', 'application/json; money=number', '*/*'],
      ...['application/hal+json; money=string, application/json', 'text/html; foo="x;money=bogus", */*'],
      ...['application/json; money=string; q=0', 'application/problem+json; money=string'],
    ]) {
      expect(() => checkAccept({ accept })).not.toThrow();
    }
  });
});
