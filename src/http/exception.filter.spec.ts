import 'reflect-metadata';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  Controller,
  Get,
  HttpException,
  NotFoundException,
  Param,
  ServiceUnavailableException,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Module, type LoggerService } from '@nestjs/common';
import { pino } from 'pino';
import { QueryFailedError } from 'typeorm';
import { loadConfig } from '../config/config.js';
import { LedgerError, type LedgerFailure, type LedgerFailureCode } from '../domain/errors.js';
import { Lifecycle } from '../observability/lifecycle.js';
import { Metrics } from '../observability/metrics.js';
import { GlobalExceptionFilter } from './exception.filter.js';
import { createFastifyAdapter, installFastifyHooks } from './fastify.js';
import { InvalidRequestError } from './validation/invalid-request.js';
import { securityHeaders } from './server/security-headers.js';
import { TooManyRequestsError } from '../access/too-many-requests.js';

interface Expected {
  readonly failure: LedgerFailure;
  readonly status: number;
  readonly body: string;
  readonly retryAfter?: string;
  readonly location?: string;
}

const original = { transactionId: 131 };

/** Refused with nothing to tell but the text. */
const plain = (code: PlainCode, status: number, error: string): Expected => ({
  failure: { code } as LedgerFailure,
  status,
  body: `{"error":"${error}"}`,
});

type PlainCode = {
  [Code in LedgerFailureCode]: { code: Code } extends LedgerFailure ? Code : never;
}[LedgerFailureCode];

/** The contract's table; its type makes it complete. */
const FAILURES: Readonly<Record<LedgerFailureCode, Expected>> = {
  ACCOUNT_NOT_FOUND: {
    failure: { code: 'ACCOUNT_NOT_FOUND' },
    status: 404,
    body: '{"error":"Account not found"}',
  },
  TRANSACTION_NOT_FOUND: {
    failure: { code: 'TRANSACTION_NOT_FOUND' },
    status: 404,
    body: '{"error":"Transaction not found"}',
  },
  SUBMISSION_NOT_FOUND: plain('SUBMISSION_NOT_FOUND', 404, 'Submission not found'),
  SENDER_REFUSED: plain('SENDER_REFUSED', 422, 'Sender refused'),
  SUBMISSION_DISCARDED: plain('SUBMISSION_DISCARDED', 422, 'Submission discarded'),
  NO_LONGER_VALID: {
    failure: { code: 'NO_LONGER_VALID', field: 'expiresAt', message: 'must be at least one second ahead' },
    status: 400,
    body: '{"error":"Invalid request","details":[{"field":"expiresAt","message":"must be at least one second ahead"}]}',
  },
  BROKER_UNAVAILABLE: {
    failure: { code: 'BROKER_UNAVAILABLE' },
    status: 503,
    body: '{"error":"Broker unavailable"}',
    retryAfter: '1',
  },
  NOT_YET_OPENED: plain('NOT_YET_OPENED', 404, 'Account not yet opened'),
  VERSION_NOT_REACHED: plain('VERSION_NOT_REACHED', 404, 'Version not reached'),
  TIME_IN_FUTURE: {
    failure: { code: 'TIME_IN_FUTURE' },
    status: 400,
    body: '{"error":"Invalid request","details":[{"field":"at","message":"must not be in the future"}]}',
  },
  TRANSFER_NOT_FOUND: plain('TRANSFER_NOT_FOUND', 404, 'Transfer not found'),
  HOLD_NOT_FOUND: plain('HOLD_NOT_FOUND', 404, 'Hold not found'),
  DATABASE_FAILED: {
    failure: { code: 'DATABASE_FAILED', currentVersion: 5 },
    status: 408,
    body: '{"error":"Server Crashes","CurrentVersion":5}',
  },
  VERSION_MISMATCH: {
    failure: { code: 'VERSION_MISMATCH', currentVersion: 6 },
    status: 409,
    body: '{"error":"Version mismatch","CurrentVersion":6}',
  },
  DUPLICATE_TRANSACTION: {
    failure: { code: 'DUPLICATE_TRANSACTION', original },
    status: 409,
    body: '{"error":"Duplicate transaction","transactionId":"txn131"}',
    location: '/transactions/txn131',
  },
  DUPLICATE_TRANSFER: {
    failure: { code: 'DUPLICATE_TRANSFER', transferId: 131 },
    status: 409,
    body: '{"error":"Duplicate transfer","transferId":"tr131"}',
    location: '/transfers/tr131',
  },
  DUPLICATE_HOLD: {
    failure: { code: 'DUPLICATE_HOLD', holdId: 131 },
    status: 409,
    body: '{"error":"Duplicate hold","holdId":"hold131"}',
    location: '/holds/hold131',
  },
  HOLD_NOT_ACTIVE: {
    failure: { code: 'HOLD_NOT_ACTIVE', status: 'voided' },
    status: 409,
    body: '{"error":"Hold not active","holdStatus":"voided"}',
  },
  PART_OF_TRANSFER: {
    failure: { code: 'PART_OF_TRANSFER', transferId: 131 },
    status: 409,
    body: '{"error":"Part of a transfer","transferId":"tr131"}',
  },
  DUPLICATE_ACCOUNT: {
    failure: { code: 'DUPLICATE_ACCOUNT', accountId: 12 },
    status: 409,
    body: '{"error":"Duplicate account","accountId":12}',
    location: '/accounts/12',
  },
  PRECONDITION_FAILED: {
    failure: { code: 'PRECONDITION_FAILED', currentVersion: 6 },
    status: 412,
    body: '{"error":"Version mismatch","CurrentVersion":6}',
  },
  REVISION_MISMATCH: {
    failure: { code: 'REVISION_MISMATCH', currentRevision: 3 },
    status: 412,
    body: '{"error":"Revision mismatch","currentRevision":3}',
  },
  INSUFFICIENT_BALANCE: {
    failure: { code: 'INSUFFICIENT_BALANCE' },
    status: 422,
    body: '{"error":"Insufficient Balance"}',
  },
  BALANCE_LIMIT_EXCEEDED: {
    failure: { code: 'BALANCE_LIMIT_EXCEEDED' },
    status: 422,
    body: '{"error":"Balance limit exceeded"}',
  },
  ACCOUNT_FROZEN: plain('ACCOUNT_FROZEN', 422, 'Account frozen'),
  DEBITS_BLOCKED: plain('DEBITS_BLOCKED', 422, 'Debits blocked'),
  ACCOUNT_CLOSED: plain('ACCOUNT_CLOSED', 422, 'Account closed'),
  COUNTERPARTY_REFUSED: plain('COUNTERPARTY_REFUSED', 422, 'Counterparty refused'),
  TOO_MANY_DECIMALS: {
    failure: { code: 'TOO_MANY_DECIMALS', field: 'amount', decimals: 0 },
    status: 400,
    body: `{"error":"Invalid request","details":[{"field":"amount","message":"must have no decimals, like the account's currency"}]}`,
  },
  LEGS_UNBALANCED: {
    failure: { code: 'LEGS_UNBALANCED' },
    status: 400,
    body: '{"error":"Invalid request","details":[{"field":"legs","message":"must withdraw as much as they deposit"}]}',
  },
  CURRENCY_MISMATCH: plain('CURRENCY_MISMATCH', 422, 'Currency mismatch'),
  DIFFERENT_SHARDS: plain('DIFFERENT_SHARDS', 422, 'Different shards'),
  HOLD_BEING_CAPTURED: plain('HOLD_BEING_CAPTURED', 409, 'Hold being captured'),
  TRANSFER_CANCELLED: plain('TRANSFER_CANCELLED', 409, 'Transfer cancelled'),
  TRANSFER_NOT_COMPLETED: {
    ...plain('TRANSFER_CANCELLED', 409, 'Transfer not completed'),
    failure: { code: 'TRANSFER_NOT_COMPLETED', status: 'pending' },
  },
  TOO_MANY_PENDING_TRANSFERS: {
    ...plain('TOO_MANY_PENDING_TRANSFERS', 503, 'Too many pending transfers'),
    retryAfter: '1',
  },
  TOO_MANY_HOLDS: plain('TOO_MANY_HOLDS', 422, 'Too many holds'),
  TOO_MANY_CAPTURES: plain('TOO_MANY_CAPTURES', 422, 'Too many captures'),
  HOLD_EXCEEDED: plain('HOLD_EXCEEDED', 422, 'Hold exceeded'),
  NOT_REVERSIBLE: plain('NOT_REVERSIBLE', 422, 'Not reversible'),
  NOT_REVERSIBLE_IN_PART: plain('NOT_REVERSIBLE_IN_PART', 422, 'Not reversible in part'),
  REVERSAL_EXCEEDED: plain('REVERSAL_EXCEEDED', 422, 'Reversal exceeded'),
  ACCOUNT_NOT_EMPTY: plain('ACCOUNT_NOT_EMPTY', 422, 'Account not empty'),
  OVERDRAFT_IN_USE: plain('OVERDRAFT_IN_USE', 422, 'Overdraft in use'),
  STATEMENT_TOO_LONG: plain('STATEMENT_TOO_LONG', 422, 'Statement too long'),
  IDEMPOTENCY_KEY_REUSED: {
    failure: { code: 'IDEMPOTENCY_KEY_REUSED', original },
    status: 422,
    body: '{"error":"Idempotency key reused","transactionId":"txn131"}',
  },
  OPENING_KEY_REUSED: {
    failure: { code: 'OPENING_KEY_REUSED', accountId: 12 },
    status: 422,
    body: '{"error":"Idempotency key reused","accountId":12}',
  },
  NOT_APPLIED: {
    failure: { code: 'NOT_APPLIED' },
    status: 424,
    body: '{"error":"Not applied"}',
  },
  OVERLOADED: {
    failure: { code: 'OVERLOADED' },
    status: 503,
    body: '{"error":"Overloaded"}',
    retryAfter: '1',
  },
  OUTCOME_UNKNOWN: {
    failure: { code: 'OUTCOME_UNKNOWN' },
    status: 503,
    body: '{"error":"Outcome unknown"}',
    retryAfter: '1',
  },
};

/** The same about one account of several. */
const ABOUT_ACCOUNTS: Readonly<Record<string, readonly [failure: LedgerFailure, body: string]>> = {
  ...Object.fromEntries(
    (
      [
        'ACCOUNT_NOT_FOUND',
        'ACCOUNT_FROZEN',
        'DEBITS_BLOCKED',
        'ACCOUNT_CLOSED',
        'INSUFFICIENT_BALANCE',
        'BALANCE_LIMIT_EXCEEDED',
        'COUNTERPARTY_REFUSED',
        'CURRENCY_MISMATCH',
      ] as const
    ).map((code) => [code, [{ code, accountId: 12 }, FAILURES[code].body.replace('}', ',"accountId":12}')]]),
  ),
  VERSION_MISMATCH: [
    { code: 'VERSION_MISMATCH', currentVersion: 6, accountId: 12 },
    '{"error":"Version mismatch","CurrentVersion":6,"accountId":12}',
  ],
};

const driverError = Object.assign(new Error('relation "bank.accounts" does not exist'), { code: '42P01' });
const SECRET = 'SELECT secret FROM vault';

/** Errors that a route may throw, by the name in its path. */
const ERRORS: Readonly<Record<string, unknown>> = {
  ...Object.fromEntries(
    Object.entries(FAILURES).map(([code, { failure }]) => [code, new LedgerError(failure)]),
  ),
  ...Object.fromEntries(
    Object.entries(ABOUT_ACCOUNTS).map(([code, [failure]]) => [`${code} of`, new LedgerError(failure)]),
  ),
  unknownVersion: new LedgerError({ code: 'DATABASE_FAILED', currentVersion: null }),
  tooMany: new TooManyRequestsError(7),
  invalid: new InvalidRequestError([
    { field: 'amount', message: 'must be an amount' },
    { field: 'type', message: 'must be a type' },
  ]),
  defect: new TypeError(SECRET),
  query: new QueryFailedError(SECRET, ['123.45'], driverError),
  text: SECRET,
  nothing: undefined,
  teapot: new HttpException(SECRET, 418),
  badGateway: new HttpException(SECRET, 502),
  notFound: new NotFoundException(SECRET),
  unhealthy: new ServiceUnavailableException({ status: 'error', details: { 'shard-0': { status: 'down' } } }),
  tooLarge: Object.assign(new Error(SECRET), { statusCode: 413 }),
  oddStatus: Object.assign(new Error(SECRET), { statusCode: 'high' }),
};

@Controller()
class ThrowingController {
  @Get('throw/:name')
  fail(@Param('name') name: string): never {
    throw ERRORS[name];
  }
}

@Module({ controllers: [ThrowingController] })
class ThrowingModule {}

const logged: unknown[] = [];
const nothing = () => undefined;
const logger: LoggerService = {
  log: nothing,
  warn: nothing,
  error: (message: unknown) => logged.push(message),
};

let app: NestFastifyApplication;

beforeAll(async () => {
  const config = loadConfig({});
  const security = await securityHeaders(false);
  app = await NestFactory.create<NestFastifyApplication>(
    ThrowingModule,
    createFastifyAdapter(config, security),
    { logger, bodyParser: false },
  );
  app.useGlobalFilters(new GlobalExceptionFilter());
  installFastifyHooks(app, {
    config,
    security,
    metrics: new Metrics(),
    lifecycle: new Lifecycle(),
    logger: pino({ level: 'silent' }),
  });
  await app.init();
  await app.getHttpAdapter().getInstance().ready();
});

afterAll(() => app.close());

beforeEach(() => {
  logged.length = 0;
});

const answerTo = (name: string) =>
  app.inject({
    method: 'GET',
    url: `/throw/${encodeURIComponent(name)}`,
    headers: { 'x-request-id': 'request-7' },
  });

describe('GlobalExceptionFilter: refusals of the ledger', () => {
  it.each(Object.entries(FAILURES))(
    'answers %s as the contract says',
    async (code, { status, body, retryAfter, location }) => {
      const response = await answerTo(code);
      expect(response.statusCode).toBe(status);
      expect(response.body).toBe(body);
      expect(response.headers['retry-after']).toBe(retryAfter);
      expect(response.headers.location).toBe(location);
      expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
      // Both kinds of reused keys are one error to the client, and a time in the future is a wrong parameter.
      const told = code
        .replace('OPENING_KEY', 'IDEMPOTENCY_KEY')
        .replace(/^(TIME_IN_FUTURE|TOO_MANY_DECIMALS|LEGS_UNBALANCED|NO_LONGER_VALID)$/, 'INVALID_REQUEST');
      expect(response.headers['x-error-code']).toBe(told);
      expect(logged).toEqual([]);
    },
  );

  it.each(Object.entries(ABOUT_ACCOUNTS))('says which account %s is about', async (code, [, body]) => {
    const response = await answerTo(`${code} of`);
    expect(response.statusCode).toBe(FAILURES[code as LedgerFailureCode].status);
    expect(response.body).toBe(body);
    expect(response.headers['x-error-code']).toBe(code);
  });

  it('answers null for a version that could not be read', async () => {
    const response = await answerTo('unknownVersion');
    expect(response.statusCode).toBe(408);
    expect(response.body).toBe('{"error":"Server Crashes","CurrentVersion":null}');
  });
});

describe('GlobalExceptionFilter: what is wrong with the request', () => {
  it('answers 400 and names each field', async () => {
    const response = await answerTo('invalid');
    expect(response.statusCode).toBe(400);
    expect(response.body).toBe(
      '{"error":"Invalid request","details":[{"field":"amount","message":"must be an amount"},' +
        '{"field":"type","message":"must be a type"}]}',
    );
  });

  it('tells a sender over the rate limit when to retry', async () => {
    const response = await answerTo('tooMany');
    expect(response.statusCode).toBe(429);
    expect(response.body).toBe('{"error":"Too many requests"}');
    expect(response.headers['retry-after']).toBe('7');
  });

  it.each([
    ['tooLarge', 413, '{"error":"Body too large"}'],
    ['notFound', 404, '{"error":"Not found"}'],
    ['teapot', 418, '{"error":"Request refused"}'],
  ])('answers %s with %i, in words of its own', async (name, status, body) => {
    const response = await answerTo(name);
    expect(response.statusCode).toBe(status);
    expect(response.body).toBe(body);
  });

  it('lets a failed health check say what is down', async () => {
    const response = await answerTo('unhealthy');
    expect(response.statusCode).toBe(503);
    expect(response.body).toBe('{"status":"error","details":{"shard-0":{"status":"down"}}}');
  });
});

describe('GlobalExceptionFilter: defects', () => {
  it.each(['defect', 'query', 'text', 'nothing', 'badGateway', 'oddStatus'])(
    'answers %s with an opaque 500 and logs it with the request id',
    async (name) => {
      const response = await answerTo(name);
      expect(response.statusCode).toBe(500);
      expect(response.body).toBe('{"error":"Internal error"}');
      expect(response.headers['x-request-id']).toBe('request-7');
      expect(JSON.stringify(response.headers)).not.toContain('vault');
      expect(logged).toEqual([{ msg: 'internal error', requestId: 'request-7', err: ERRORS[name] }]);
    },
  );
});
