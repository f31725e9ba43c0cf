import { describe, expect, it } from '@jest/globals';
import { bruToJsonV2 } from '@usebruno/lang';
import { collectionOf } from './collection.js';
import type { Operation } from './document.js';

const json = (example: unknown) => ({ content: { 'application/json': { example } } });
const inPath = (name: string) => ({ name, in: 'path', required: true, schema: {} }) as const;
const operation = (operationId: string, more: Partial<Operation> = {}): Operation => ({
  operationId,
  summary: `Do ${operationId}`,
  tags: ['Hooks'],
  responses: { 200: json({}) },
  ...more,
});

const hook = { parameters: [inPath('hookId')] };
const files = collectionOf({
  info: { title: 'A bank' },
  tags: [{ name: 'Hooks', description: 'Who is called' }],
  paths: {
    '/hooks/{hookId}': {
      delete: operation('removeHook', { ...hook, responses: { 204: {} } }),
      get: operation('getHook', hook),
    },
    '/hooks': {
      post: operation('addHook', {
        parameters: [{ name: 'Idempotency-Key', in: 'header', schema: {} }],
        requestBody: json({ accountId: 1, to: 2, hookId: 'h1', url: 'https://example.org/?id=1' }),
        responses: { 200: json({}), 201: json({ id: 'h7' }) },
      }),
    },
    '/events': { get: operation('follow', { responses: { 200: { content: { 'text/event-stream': {} } } } }) },
    '/report': {
      get: operation('report', {
        parameters: [
          { name: 'from', in: 'query', required: true, schema: { example: '2025-05-01' } },
          { name: 'limit', in: 'query', schema: {} },
        ],
      }),
    },
  },
});
const request = (id: string) => bruToJsonV2(files.get(`Hooks/${id}.bru`) ?? '');

describe('a collection', () => {
  it('has a file for each operation that ends', () => {
    const requests = ['addHook', 'report', 'getHook', 'removeHook'].map((id) => `Hooks/${id}.bru`);
    expect([...files.keys()]).toEqual([
      ...['bruno.json', 'collection.bru', 'environments/local.bru', 'Hooks/folder.bru'],
      ...requests,
    ]);
  });

  it('makes a thing before it uses it, and deletes it last', () => {
    const order = ['addHook', 'report', 'getHook', 'removeHook'];
    expect(order.map((id) => Number(request(id).meta.seq))).toEqual([1, 2, 3, 4]);
    expect(request('addHook').vars?.res).toMatchObject([{ name: 'hookId', value: 'res.body.id' }]);
    expect(request('getHook').http.url).toBe('{{baseUrl}}/hooks/:hookId');
    expect(request('getHook').params).toMatchObject([{ name: 'hookId', value: '{{hookId}}', enabled: true }]);
  });

  it('sends the example, about the things of this run', () => {
    expect(request('addHook').body?.json).toBe(
      '{\n  "accountId": {{accountId}},\n  "to": {{otherAccountId}},\n  "hookId": "{{hookId}}",\n' +
        '  "url": "https://example.org/?id=1"\n}',
    );
    expect(request('addHook').headers).toMatchObject([{ name: 'Idempotency-Key', value: '{{$guid}}' }]);
  });

  it('sends what is required, and offers the rest', () => {
    expect(request('report').http.url).toBe('{{baseUrl}}/report?from=2025-05-01');
    expect(request('report').params).toMatchObject([
      { name: 'from', value: '2025-05-01', enabled: true },
      { name: 'limit', value: '', enabled: false },
    ]);
  });

  it('expects success, of the posting and not of its rehearsal', () => {
    const expected = ['addHook', 'getHook', 'removeHook'].map((id) => request(id).assertions?.[0]?.value);
    expect(expected).toEqual(['eq 201', 'eq 200', 'eq 204']);
  });
});
