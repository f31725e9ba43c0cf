import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Attack, type Violation } from '../../tools/fuzz/attack.js';
import { shellCommand, write, type Draft } from '../../tools/fuzz/draft.js';
import { parseAnswer } from '../../tools/fuzz/raw-connection.js';
import { requests } from '../../tools/fuzz/requests.js';
import { startApp, type TestApp } from '../support/app.js';
import { PATIENT } from '../support/ledger.js';
import { OpenApiContract } from '../../tools/fuzz/contract.js';
import { TEXT_MONEY_TYPE } from '../support/requests.js';

const contract = new OpenApiContract();
let server: Server | undefined;

afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** A service that is not ours. */
async function serve(listener: RequestListener): Promise<Attack> {
  server = createServer({ requireHostHeader: false }, listener);
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return new Attack(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, contract);
}

interface Stub {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly text?: string;
}

const JSON_TYPE = 'application/json; charset=utf-8';
const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';
const CODES: Readonly<Record<number, string>> = {
  400: 'INVALID_REQUEST',
  404: 'NOT_FOUND',
  405: 'METHOD_NOT_ALLOWED',
  500: 'INTERNAL_ERROR',
  503: 'OVERLOADED',
};

async function problemsWith(draft: Partial<Draft>, { status = 200, headers = {}, text = '' }: Stub) {
  const attack = await serve((request, response) => {
    const all = {
      'x-request-id': request.headers['x-request-id'] ?? 'a',
      'x-error-code': CODES[status] ?? '',
      etag: '"2"',
      vary: 'Accept',
      'content-type': JSON_TYPE,
      ...headers,
    };
    for (const [name, value] of Object.entries(all)) if (value !== '') response.setHeader(name, value);
    response.writeHead(status).end(text);
  });
  const violation = await attack.fireAll([{ ...BALANCE, ...draft }]);
  attack.close();
  return violation?.problems ?? [];
}

const BALANCE: Draft = {
  method: 'GET',
  segments: ['accounts', '1', 'balance'],
  query: [],
  protocol: 'HTTP/1.1',
  headers: [['Host', 'bank']],
  verdict: 'well-formed',
};
const POSTING: Partial<Draft> = {
  method: 'POST',
  segments: ['accounts', '1', 'transactions'],
  headers: [
    ['Host', 'bank'],
    ['Content-Type', 'application/json'],
  ],
  body: [
    ['"amount"', '9007199254740993.07'],
    ['"type"', '"Credit"'],
  ],
};
const BATCH: Partial<Draft> = {
  ...POSTING,
  segments: ['transactions', 'batch'],
  body: '[{"accountId":9,"amount":1,"type":"Debit"}]',
};
const receipt = (amount: string, type = 'Deposit') =>
  `{"id":"txn1","type":"${type}","amount":${amount},"newBalance":9999999999999999.99,"newVersion":"2","timestamp":"2025-05-02T10:24:02.123Z"}`;
const GOOD = '{"balance":350.00,"version":2}';
const INVALID = '{"error":"Invalid request","details":[]}';
const NOT_ALLOWED = { status: 405, text: '{"error":"Method not allowed"}' };
const asking = (accept: string): Partial<Draft> => ({
  headers: [
    ['Host', 'bank'],
    ['Accept', accept],
  ],
});
const problem = (title: string, more = '') =>
  `{"type":"/docs/errors#x","title":"${title}","status":400,"detail":"x","code":"INVALID_REQUEST","error":"${title}"${more}}`;

describe('the rules that the fuzzer applies to answers', () => {
  it.each<[string, Partial<Draft>, Stub]>([
    ['a balance', {}, { text: GOOD }],
    ['a HEAD', { method: 'HEAD' }, { text: '' }],
    [
      'an unknown path',
      { segments: ['nothing'], verdict: 'open' },
      { status: 404, text: '{"error":"Not found"}' },
    ],
    ['a malformed request', { verdict: 'malformed' }, { status: 400, text: INVALID }],
    [
      'a malformed request, in the form of a problem',
      { ...asking('application/problem+json'), verdict: 'malformed' },
      {
        status: 400,
        headers: { 'content-type': PROBLEM_TYPE },
        text: problem('Invalid request', ',"details":[]'),
      },
    ],
    [
      'money as text',
      asking('application/json; money=string'),
      {
        headers: { 'content-type': 'application/json; money=string; charset=utf-8', etag: '"2-string"' },
        text: '{"balance":"350.00","version":2}',
      },
    ],
    [
      'results of a batch',
      BATCH,
      { text: '[{"status":404,"code":"ACCOUNT_NOT_FOUND","body":{"error":"Account not found"}}]' },
    ],
    [
      'a wrong method',
      { method: 'PUT', verdict: 'wrong method' },
      { ...NOT_ALLOWED, headers: { allow: 'GET, HEAD, OPTIONS' } },
    ],
    [
      'a question for the methods of a path',
      { method: 'OPTIONS', segments: ['accounts'], verdict: 'wrong method' },
      { status: 204, headers: { allow: 'GET, HEAD, OPTIONS, POST', 'content-type': '' } },
    ],
  ])('allow: %s', async (_, draft, stub) => {
    expect(await problemsWith(draft, stub)).toEqual([]);
  });

  it.each<[string, Partial<Draft>, Stub, string]>([
    [
      'a 500 that is documented',
      {},
      { status: 500, text: '{"error":"Internal error"}' },
      'status 500: a defect',
    ],
    [
      'a 503 that is documented',
      {},
      { status: 503, headers: { 'retry-after': '1' }, text: '{"error":"Overloaded"}' },
      'status 503: a defect',
    ],
    ['an undocumented status', {}, { status: 418, text: '{}' }, 'status 418 is not documented'],
    [
      'an undocumented field',
      {},
      { text: '{"balance":350.00,"version":2,"owner":"x"}' },
      ' must NOT have additional properties',
    ],
    ['a missing field', {}, { text: '{"balance":350.00}' }, " must have required property 'version'"],
    ['a field of another type', {}, { text: '{"balance":"350.00","version":2}' }, '/balance must be number'],
    [
      'one decimal',
      {},
      { text: '{"balance":350.0,"version":2}' },
      'balance is 350.0, which is no amount with two decimals',
    ],
    [
      'an exponent',
      {},
      { text: '{"balance":1e3,"version":2}' },
      'balance is 1e3, which is no amount with two decimals',
    ],
    ['no JSON', {}, { text: '{"balance":' }, 'no JSON'],
    [
      'another content type',
      {},
      { headers: { 'content-type': 'text/html' }, text: GOOD },
      'not of type application/json or application/json; money=string',
    ],
    [
      'money as text in the usual form',
      {},
      { text: '{"balance":"350.00","version":2}' },
      '/balance must be number',
    ],
    [
      'money as a number where the type says text',
      {},
      { headers: { 'content-type': TEXT_MONEY_TYPE }, text: GOOD },
      '/balance must be string',
    ],
    [
      'money as text with more decimals than any currency has',
      {},
      { headers: { 'content-type': TEXT_MONEY_TYPE }, text: '{"balance":"350.00000","version":2}' },
      '/balance must match pattern "^-?\\d{1,16}(\\.\\d{1,4})?$"',
    ],
    ['a missing header', {}, { headers: { etag: '' }, text: GOOD }, 'the header ETag is missing'],
    [
      'an undocumented error',
      {},
      { status: 404, text: '{"error":"Nope"}' },
      'the error "Nope" is not documented',
    ],
    [
      'an answer where there is nothing',
      { segments: ['nothing'], verdict: 'open' },
      { text: GOOD },
      'status 200 is not documented for what is no operation',
    ],
    [
      'a well-formed request refused',
      {},
      { status: 400, text: INVALID },
      'a well-formed request is refused as malformed',
    ],
    [
      'a malformed request accepted',
      { verdict: 'malformed' },
      { text: GOOD },
      'a malformed request is not refused as such',
    ],
    [
      'a wrong method carried out',
      { method: 'PUT', verdict: 'wrong method' },
      { text: GOOD },
      'status 200 for a wrong method, not 405',
    ],
    [
      'a wrong method that is not told the right ones',
      { method: 'PUT', verdict: 'wrong method' },
      { ...NOT_ALLOWED, headers: { allow: 'GET, POST' } },
      'Allow is GET, POST, not GET, HEAD, OPTIONS',
    ],
    [
      'an error without a code',
      {},
      { status: 404, headers: { 'x-error-code': '' }, text: '{"error":"Account not found"}' },
      'X-Error-Code is undefined',
    ],
    [
      'the code of another error',
      {},
      { status: 404, text: '{"error":"Account not found"}' },
      'the header X-Error-Code is NOT_FOUND, which is not documented here',
    ],
    [
      'a result of a batch without a code',
      BATCH,
      { text: '[{"status":404,"body":{"error":"Account not found"}}]' },
      'a result with status 404 has the code undefined',
    ],
    [
      'a result of a batch with the code of another status',
      BATCH,
      { text: '[{"status":404,"code":"VERSION_MISMATCH","body":{"error":"Account not found"}}]' },
      'a result with status 404 has the code VERSION_MISMATCH',
    ],
    [
      'an error without the form that was asked for',
      { ...asking('application/problem+json'), verdict: 'open' },
      { status: 400, text: INVALID },
      `an error of type ${JSON_TYPE}`,
    ],
    [
      'an error in a form that was not asked for',
      { verdict: 'open' },
      { status: 400, headers: { 'content-type': PROBLEM_TYPE }, text: problem('Invalid request') },
      `an error of type ${PROBLEM_TYPE}`,
    ],
    [
      'money as numbers for who asks for text',
      asking('application/json; money=string'),
      { text: GOOD },
      `money of type ${JSON_TYPE}`,
    ],
    [
      'a form that caches would take for another',
      {},
      { headers: { vary: 'Origin' }, text: GOOD },
      'Vary does not name Accept',
    ],
    [
      'another request id',
      {
        headers: [
          ['Host', 'bank'],
          ['X-Request-Id', 'mine'],
        ],
      },
      { headers: { 'x-request-id': 'yours' }, text: GOOD },
      "X-Request-Id is yours, not the client's mine",
    ],
    [
      'a rounded amount',
      POSTING,
      { status: 201, headers: { location: '/transactions/txn1' }, text: receipt('9007199254740993.00') },
      'the receipt is of another command',
    ],
    [
      'another type',
      POSTING,
      {
        status: 201,
        headers: { location: '/transactions/txn1' },
        text: receipt('9007199254740993.07', 'Withdraw'),
      },
      'the receipt is of another command',
    ],
  ])('find %s', async (_, draft, stub, problem) => {
    expect(await problemsWith(draft, stub)).toContain(problem);
  });

  it('find a connection that is cut instead of an answer', async () => {
    const attack = await serve((request) => request.socket.destroy());
    const violation = await attack.fireAll([BALANCE]);
    expect(violation?.answer).toBeUndefined();
    attack.close();
    expect(violation?.problems[0]).toContain('the connection was closed');
  });
});

type Headers = Record<string, unknown>;

/** @param isToBe looks at the header fields of an answer, and may change them */
function changeAnswers(isToBe: (headers: Headers) => boolean, edit = (text: string) => text) {
  return (_request: IncomingMessage, response: ServerResponse): boolean => {
    const writeHead = response.writeHead.bind(response) as (status: number, headers: Headers) => unknown;
    const end = response.end.bind(response) as (body: unknown) => unknown;
    let isChanged = false;
    Object.assign(response, {
      writeHead: (status: number, headers: Headers = {}) => {
        isChanged = isToBe(headers);
        return writeHead(status, headers);
      },
      end: (body: unknown) => end(isChanged && typeof body === 'string' ? edit(body) : body),
    });
    return false;
  };
}

describe('the fuzzer', () => {
  let app: TestApp;
  let sabotage: (request: IncomingMessage, response: ServerResponse) => boolean;

  beforeAll(async () => {
    // A 503 of a busy machine would be taken for the defect.
    const webhooks = {
      WEBHOOK_PRIVATE_ADDRESSES: 'on',
      WEBHOOK_KEYS: Buffer.alloc(32, 7).toString('base64'),
    };
    app = await startApp({ ...PATIENT[1], ...webhooks }, { ledger: PATIENT[0] });
    // Between Node and Fastify, where the defects are planted.
    const { server } = app.app.getHttpAdapter().getInstance() as unknown as { server: Server };
    const [handle] = server.listeners('request') as RequestListener[];
    server
      .removeAllListeners('request')
      .on('request', (request: IncomingMessage, response: ServerResponse) => {
        if (!sabotage(request, response)) handle?.(request, response);
      });
  });
  afterAll(() => app.close());

  async function attacked(seed: number, shrinkMs?: number): Promise<Violation | undefined> {
    const attack = new Attack(app.url, contract, shrinkMs);
    const violation = await attack.run(3_000, seed);
    attack.close();
    return violation;
  }

  it('finds an unexpected answer, and shrinks it to a small request', async () => {
    sabotage = ({ url = '' }, response) => {
      if (!/limit=(-|0)/.test(url)) return false;
      response.writeHead(500, {
        'content-type': JSON_TYPE,
        ...{ vary: 'Accept', 'x-error-code': 'INTERNAL_ERROR', 'x-request-id': 'a' },
      });
      return Boolean(response.end('{"error":"Internal error"}'));
    };
    const violation = await attacked(1);
    expect(violation?.problems).toContain('status 500: a defect');
    expect(violation?.sent.target).toMatch(
      /^\/accounts(\/\d+\/(transactions|transfers|holds))?\?limit=(-|0)\w*$/,
    );
    expect(violation?.sent.headers).toEqual([['Host', 'bank']]);
  }, 120_000);

  it('finds a missing check', async () => {
    sabotage = ({ headers }) => {
      if (!/^[!-~]+$/.test(String(headers['idempotency-key'] ?? 'none'))) delete headers['idempotency-key'];
      return false;
    };
    const violation = await attacked(3);
    expect(violation?.problems).toEqual(['a malformed request is not refused as such']);
    expect(violation?.sent.headers.map(([name]) => name)).toContain('Idempotency-Key');
  }, 120_000);

  it.each<[string, typeof sabotage, string]>([
    [
      'an unknown parameter that is ignored',
      (request) => {
        request.url = request.url?.replace(/\?(?!limit|cursor|type|from|to|min|atomic)[\w-]*=1$/i, '');
        return false;
      },
      'a malformed request is not refused as such',
    ],
    [
      'a digit that is another one in money as text',
      changeAnswers(
        ({ 'content-type': type }) => String(type).includes('money=string'),
        (text) => text.replace(/(?<="balance":"\d*)\d/, (digit) => String((Number(digit) + 1) % 10)),
      ),
      'the body says otherwise than the plain form',
    ],
    [
      'another status in a problem',
      changeAnswers(
        ({ 'content-type': type }) => type === PROBLEM_TYPE,
        (text) => text.replace('"status":4', '"status":5'),
      ),
      'the body says otherwise than the plain form',
    ],
    [
      'a missing code',
      changeAnswers((headers) => {
        if (headers['x-error-code'] === 'METHOD_NOT_ALLOWED') delete headers['x-error-code'];
        return false;
      }),
      'X-Error-Code is undefined',
    ],
  ])('finds %s', async (_, defect, problem) => {
    sabotage = defect;
    const violation = await attacked(3, 0);
    expect(violation?.problems.join()).toContain(problem);
  });

  it('repeats a run from its seed', () => {
    const request = requests(contract);
    expect(fc.sample(request, { seed: 7, numRuns: 50 })).toEqual(
      fc.sample(request, { seed: 7, numRuns: 50 }),
    );
  });

  it('prints a request as a command that sends the same bytes', () => {
    const sent = write({ ...BALANCE, headers: [['X', `'\\%\0\xff${' '.repeat(200)}`]] });
    expect(shellCommand(sent, 'http://127.0.0.1:1')).toBe(
      `printf 'GET /accounts/1/balance HTTP/1.1\\r\\nX: \\047\\\\%%\\000\\377'"$(head -c 200 /dev/zero | tr '\\0' ' ')"'\\r\\n\\r\\n' | nc 127.0.0.1 1`,
    );
  });

  it.each([
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokX', 'ok', 'X'],
    [
      'chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\nX',
      'ok',
      'X',
    ],
    [
      'an interim answer',
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
      '',
      '',
    ],
  ])('reads an answer with %s, but not before it is complete', (_, bytes, text, rest) => {
    const whole = bytes.length - rest.length;
    for (let length = 0; length < whole; length++) {
      expect(parseAnswer(Buffer.from(bytes.slice(0, length)), false, false)).toBeUndefined();
    }
    const parsed = parseAnswer(Buffer.from(bytes), false, false);
    expect([parsed?.answer.text, parsed?.rest.toString()]).toEqual([text, rest]);
  });
});
