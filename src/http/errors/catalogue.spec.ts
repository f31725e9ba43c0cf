import { describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ERRORS, type ErrorCode } from './catalogue.js';

/*
 * docs/errors.md and openapi.json have exactly the errors of the catalogue. (test/e2e/errors.e2e-spec.ts compares it with
 * the answers of the service.)
 */

const read = (path: string) => readFileSync(join(process.cwd(), path), 'utf8');
const codes = Object.keys(ERRORS).sort() as ErrorCode[];
/** The one error whose body, a report, has no text. */
const REPORT: ErrorCode = 'NOT_READY';

describe('docs/errors.md', () => {
  const sections = new Map(
    read('docs/errors.md')
      .split(/^## /m)
      .slice(1)
      .map((section) => {
        const [code = '', ...paragraphs] = section.trim().split(/\n\n/);
        return [code, paragraphs.map((paragraph) => paragraph.replaceAll(/\n +/g, ' '))] as const;
      }),
  );

  it('has one section for each error', () => {
    expect([...sections.keys()].sort()).toEqual(codes);
    expect(read('docs/errors.md').match(/^## /gm)).toHaveLength(codes.length);
  });

  it.each(codes)('says of %s what the service says, what was applied and what to do', (code) => {
    const { status, error, detail } = ERRORS[code];
    const [answer = '', happened = '', advice = '', ...others] = sections.get(code) ?? [];
    const [, documented, body = ''] = /^(\d{3}) `({.*})`$/.exec(answer) ?? [];
    expect(documented).toBe(String(status));
    if (code !== REPORT) expect((JSON.parse(body) as { error: string }).error).toBe(error);
    expect(happened).toBe(detail);
    expect(advice).toMatch(/^- Applied: \S.*\.\n- What to do: \S.*\.$/);
    expect(others).toEqual([]);
  });
});

interface Response {
  readonly $ref?: string;
  readonly headers?: Readonly<Record<string, { readonly schema: { readonly enum?: readonly ErrorCode[] } }>>;
  readonly content?: Readonly<
    Record<string, { example?: unknown; examples?: Readonly<Record<string, { readonly value: unknown }>> }>
  >;
}
type Responses = Readonly<Record<string, Response>>;

describe('openapi.json', () => {
  const document = JSON.parse(read('openapi.json')) as {
    paths: Record<string, Record<string, { responses: Responses }>>;
    components: { responses: Responses; schemas: { ErrorCode: { enum: readonly string[] } } };
    'x-general-responses': Responses;
  };
  const responses = [
    ...Object.values(document.paths).flatMap((path) =>
      Object.values(path).flatMap((operation) => Object.entries(operation.responses)),
    ),
    ...Object.entries(document['x-general-responses']),
  ].map(([status, response]) => {
    const name = response.$ref?.split('/').at(-1);
    return {
      status: Number(status),
      ...(name === undefined ? response : document.components.responses[name]),
    };
  });
  const failures = responses.filter(({ status }) => status >= 400);
  const codesOf = ({ headers }: Response) => headers?.['X-Error-Code']?.schema.enum ?? [];

  it('lists the codes', () => {
    expect([...document.components.schemas.ErrorCode.enum].sort()).toEqual(codes);
  });

  it('has each error in a response of its status, and every error response has errors', () => {
    for (const failure of failures) {
      expect(codesOf(failure)).not.toEqual([]);
      for (const code of codesOf(failure))
        expect({ code, status: ERRORS[code].status }).toEqual({ code, status: failure.status });
    }
    // It is the result of a transaction in a batch, and never an answer.
    const answers = codes.filter((code) => code !== 'NOT_APPLIED');
    expect([...new Set(failures.flatMap(codesOf))].sort()).toEqual(answers);
  });

  it('shows the text of each error, and no other', () => {
    const examples = failures.flatMap(({ content = {} }) =>
      Object.values(content).flatMap((type) =>
        type.examples ? Object.values(type.examples).map(({ value }) => value) : [type.example],
      ),
    );
    // A batch's results have their bodies one level deeper.
    const texts = [...JSON.stringify(examples).matchAll(/"error":"([^"]*)"/g)].map(([, text]) => text);
    const known = codes.filter((code) => code !== REPORT).map((code) => ERRORS[code].error);
    expect([...new Set(texts)].sort()).toEqual([...new Set(known)].sort());
  });
});
