import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import type { FastifyRequest } from 'fastify';
import { Contract } from './contract.js';
import { IsOptionalField, IsWord } from './field-rules.js';
import { Incoming, reads, type Read } from './incoming.js';
import { InvalidRequestError } from './invalid-request.js';

class SampleQueryDto {
  @IsOptionalField()
  @IsWord(['up', 'down'])
  order?: string;
}

class SampleBodyDto {
  @IsWord(['ada', 'bob'])
  name!: string;
}

const request = (parts: object): FastifyRequest =>
  ({
    raw: { rawHeaders: [] },
    method: 'POST',
    headers: {},
    query: {},
    params: {},
    body: { name: 'ada' },
    ...parts,
  }) as unknown as FastifyRequest;

/** What is wrong with a request; undefined: nothing. */
function problemWith(read: Read<unknown>, parts: object) {
  try {
    read(request(parts));
  } catch (error) {
    if (error instanceof InvalidRequestError) return error.problems[0];
    throw error;
  }
  return undefined;
}

const sample = reads(
  {
    query: new Contract(SampleQueryDto, 'query parameter'),
    body: new Contract(SampleBodyDto),
    headers: ['If-Match'],
    instead: { Prefer: 'give an order' },
  },
  ({ headers }, { order }, { name }) => ({ order, name, tag: headers['if-match'] }),
);
const bare = reads({}, ({ method }) => method);

describe('reads', () => {
  it('passes on the parts of a request', () => {
    expect(sample(request({ query: { order: 'up' }, headers: { 'if-match': '"7"' } }))).toEqual({
      order: 'up',
      name: 'ada',
      tag: '"7"',
    });
    expect(bare(request({ body: 'anything' }))).toBe('POST');
  });

  it('says where a name belongs that is in the wrong part', () => {
    const parts = { params: { accountId: '1' }, body: { name: 'ada', order: 'up' } };
    expect(problemWith(sample, { ...parts, query: { name: 'ada' } })?.message).toContain(
      'name belongs in the body',
    );
    expect(problemWith(sample, { ...parts, query: { ifMatch: '1' } })?.message).toContain(
      'send the header If-Match',
    );
    expect(problemWith(sample, { ...parts, query: { account: '1' } })?.message).toContain(
      'belongs in the path',
    );
    expect(problemWith(sample, parts)).toEqual({
      field: 'order',
      message: 'is not a known field; order belongs in the query',
    });
  });

  it.each([
    ['if-none-match', sample, 'If-None-Match', 'is not supported here; this request takes If-Match'],
    ['prefer', sample, 'Prefer', 'is not supported here; give an order'],
    ['if-match', bare, 'If-Match', 'is not supported here; send the request without it'],
    ['x-method-override', bare, 'X-Method-Override', 'is not supported here; send the request without it'],
  ])('refuses the header %s where it is not taken', (header, read, field, message) => {
    expect(problemWith(read as Read<unknown>, { headers: { [header]: 'x' } })).toEqual({ field, message });
  });

  it('refuses a key where it would have no effect, which is with POST', () => {
    const headers = { 'idempotency-key': 'k' };
    expect(problemWith(bare, { headers })?.field).toBe('Idempotency-Key');
    expect(problemWith(bare, { headers, method: 'GET' })).toBeUndefined();
    expect(problemWith(bare, { headers, method: 'HEAD' })).toBeUndefined();
  });

  it('is the only way to read a request', () => {
    const unchecked = ({ id }: FastifyRequest) => id;
    // @ts-expect-error It is not made by `reads`.
    const decorator: unknown = Incoming(unchecked);
    expect(decorator).toBeInstanceOf(Function);
    expect(Incoming(bare)).toBeInstanceOf(Function);
  });
});
