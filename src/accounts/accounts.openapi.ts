import { applyDecorators } from '@nestjs/common';
import { ApiBody, ApiHeader, ApiOperation, ApiQuery } from '@nestjs/swagger';
import { GENESIS_HASH, nextHash } from '../domain/hash-chain.js';
import { MAX_PROOF_LINES } from '../ledger/read/ledger-reader.js';
import {
  ACCOUNT_NOT_FOUND,
  AccountId,
  AccountIdParameter,
  AccountETag,
  Amount,
  CursorQuery,
  ETag,
  IdempotencyKeyHeader,
  INVALID_ACCOUNT_ID,
  invalidRequest,
  jsonResponse,
  LimitQuery,
  Location,
  Money,
  money,
  NextCursor,
  OriginalLocation,
  plainResponse,
  RATE_LIMIT_HEADERS,
  READ_FAILURES,
  RequestIdHeader,
  schema,
  TOO_MANY_REQUESTS,
  Version,
  VersionMismatch,
  WRITE_FAILURES,
} from '../http/openapi/components.js';

const tags = ['Accounts'];

const Balance = schema('Balance', {
  type: 'object',
  properties: { balance: Money, version: Version },
  required: ['balance', 'version'],
});

const Owner = schema('Owner', {
  description: 'Whose account it is: the name of an owner. Compared character by character.',
  type: 'string',
  pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]{1,255}$',
  example: 'ada',
});

const Account = schema('Account', {
  type: 'object',
  properties: { accountId: AccountId, balance: Money, version: Version, owner: Owner },
  required: ['accountId', 'balance', 'version'],
});

const AccountPage = schema('AccountPage', {
  type: 'object',
  properties: { data: { type: 'array', items: Account }, nextCursor: NextCursor },
  required: ['data', 'nextCursor'],
});

const Hash = schema('Hash', {
  type: 'string',
  description: 'A SHA-256, in lower-case hexadecimal digits.',
  pattern: '^[0-9a-f]{64}$',
});

const Proof = schema('Proof', {
  type: 'object',
  properties: {
    accountId: AccountId,
    version: Version,
    hash: Hash,
    lines: {
      type: 'array',
      maxItems: MAX_PROOF_LINES,
      description: 'The transactions after `fromVersion`, oldest first, as they were hashed.',
      items: { type: 'string' },
    },
    nextFromVersion: {
      oneOf: [Version, { type: 'null' }],
      description: 'Where to go on, when there are more; `null`: the lines lead to the head.',
    },
  },
  required: ['accountId', 'version', 'hash'],
});

const OpenAccount = schema('OpenAccount', {
  type: 'object',
  properties: { openingDeposit: Amount, owner: Owner },
  additionalProperties: false,
});

/** Of an opening with a key that was used before. */
const keySchema = (name: string, error: string) =>
  schema(name, {
    type: 'object',
    properties: { error: { type: 'string', const: error }, accountId: AccountId },
    required: ['error', 'accountId'],
  });

const DuplicateAccount = keySchema('DuplicateAccount', 'Duplicate account');
const OpeningKeyReused = keySchema('OpeningKeyReused', 'Idempotency key reused');

const NOT_MODIFIED = 'The account still has an entity tag that If-None-Match names.';

const IfNoneMatchHeader = (example: string) =>
  ApiHeader({
    name: 'If-None-Match',
    description: `Entity tags of earlier answers, like \`${example}\`: if one of them still matches, the answer is 304.`,
  });

const EXAMPLE_LINE = '1:1:credit:1000.00:1000.00:2:1772280000000:-';
const EXAMPLE_HASH = nextHash(GENESIS_HASH, EXAMPLE_LINE);
const EXAMPLE_ACCOUNT = { accountId: 1, balance: money('1000.00'), version: 2 };

export const DocumentBalance = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getBalance',
      summary: 'Get the balance of an account',
      description:
        'The answer is never older than the last transaction that this service acknowledged. A client that needs more ' +
        'asks for a `minVersion`, or for `Cache-Control: no-cache`.',
      responses: {
        200: jsonResponse(
          'The balance, and the version that it belongs to.',
          Balance,
          { balance: { balance: money('350.00'), version: 12 } },
          { ETag },
        ),
        304: plainResponse(NOT_MODIFIED, { ETag }),
        400: INVALID_ACCOUNT_ID,
        404: ACCOUNT_NOT_FOUND,
        409: jsonResponse('The account has not reached `minVersion` yet.', VersionMismatch, {
          mismatch: { error: 'Version mismatch', CurrentVersion: 6 },
        }),
        ...READ_FAILURES,
      },
    }),
    AccountIdParameter(),
    ApiQuery({
      name: 'minVersion',
      required: false,
      description: 'Answer from a copy that has at least this version.',
      schema: { type: 'integer', format: 'int64', minimum: 1 },
    }),
    IfNoneMatchHeader('"12"'),
    ApiHeader({
      name: 'Cache-Control',
      description: '`no-cache`: answer from the database, not from a cache.',
    }),
    RequestIdHeader(),
  );

export const DocumentOpening = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'openAccount',
      summary: 'Open an account',
      description:
        'A new account is empty and has version 1. The opening deposit, if there is one, is its first transaction, and ' +
        'also needs the scope `deposits:write` (or one that implies it). ' +
        'A sender who may use the accounts of one owner alone opens it for that owner; another one may name an `owner`, ' +
        'or leave the account without. Without an `Idempotency-Key` a repeated request opens another account. Where there ' +
        'is a rate limit, it counts as a transaction.',
      responses: {
        201: jsonResponse(
          'The new account.',
          Account,
          { account: EXAMPLE_ACCOUNT },
          { Location, ETag: AccountETag, ...RATE_LIMIT_HEADERS },
        ),
        400: invalidRequest(
          'openingDeposit',
          'must be an amount greater than zero, with at most 16 digits before the point and 2 after, like 49.50',
        ),
        409: jsonResponse(
          'This key was used for the same opening before; the account was opened once.',
          DuplicateAccount,
          { duplicate: { error: 'Duplicate account', accountId: 1 } },
          { Location: OriginalLocation, ...RATE_LIMIT_HEADERS },
        ),
        422: jsonResponse(
          'This key was used for an opening with another deposit.',
          OpeningKeyReused,
          { reused: { error: 'Idempotency key reused', accountId: 1 } },
          RATE_LIMIT_HEADERS,
        ),
        429: TOO_MANY_REQUESTS,
        ...WRITE_FAILURES,
      },
    }),
    IdempotencyKeyHeader('account', 'the owner for whom it is opened, or to the bank where there is none,'),
    ApiBody({
      schema: OpenAccount,
      examples: {
        deposit: { summary: 'With an opening deposit', value: { openingDeposit: money('1000.00') } },
        owned: { summary: 'For an owner', value: { owner: 'ada' } },
        empty: { summary: 'Empty', value: {} },
      },
    }),
    RequestIdHeader(),
  );

export const DocumentAccount = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getAccount',
      summary: 'Get an account',
      description: 'The answer comes from the database.',
      responses: {
        200: jsonResponse('The account.', Account, { account: EXAMPLE_ACCOUNT }, { ETag: AccountETag }),
        304: plainResponse(NOT_MODIFIED, { ETag: AccountETag }),
        400: INVALID_ACCOUNT_ID,
        404: ACCOUNT_NOT_FOUND,
        ...READ_FAILURES,
      },
    }),
    AccountIdParameter(),
    IfNoneMatchHeader('"12.0"'),
    RequestIdHeader(),
  );

export const DocumentProof = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getAccountProof',
      summary: "Get the head of an account's chain of hashes",
      description:
        'Each transaction has a hash: the SHA-256 of `previous:line`, where `previous` is the hash of the one before (at ' +
        'first 64 zeros), and `line` is the transaction as ' +
        '`id:accountId:type:amount:balanceAfter:versionAfter:milliseconds:key` (the key with `=` before it, or `-`). Keep ' +
        'a head, and ask later with its version as `fromVersion`: hashing the lines onto it, one after the other, gives ' +
        'the new head. If it does not, or the account has not reached that version (409), then history was changed. The ' +
        'lines are transactions: `fromVersion` also needs the scope `transactions:read`.',
      responses: {
        200: jsonResponse('The head; with `fromVersion` also what leads to it.', Proof, {
          head: { accountId: 1, version: 2, hash: EXAMPLE_HASH },
          since: {
            accountId: 1,
            version: 2,
            hash: EXAMPLE_HASH,
            lines: [EXAMPLE_LINE],
            nextFromVersion: null,
          },
        }),
        400: INVALID_ACCOUNT_ID,
        404: ACCOUNT_NOT_FOUND,
        409: jsonResponse('The account has not reached `fromVersion`.', VersionMismatch, {
          mismatch: { error: 'Version mismatch', CurrentVersion: 6 },
        }),
        ...READ_FAILURES,
      },
    }),
    AccountIdParameter(),
    ApiQuery({
      name: 'fromVersion',
      required: false,
      description: 'The version of a head that you have; 1: from the beginning.',
      schema: { type: 'integer', format: 'int64', minimum: 1 },
    }),
    RequestIdHeader(),
  );

export const DocumentAccounts = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'listAccounts',
      summary: 'List the accounts',
      description: 'Those that the sender may see, in ascending order of their ids.',
      responses: {
        200: jsonResponse('A page of accounts.', AccountPage, {
          page: { data: [EXAMPLE_ACCOUNT], nextCursor: null },
        }),
        400: invalidRequest('limit', 'must be a whole number from 1 to 200'),
        ...READ_FAILURES,
      },
    }),
    CursorQuery(),
    LimitQuery(),
    RequestIdHeader(),
  );
