import { applyDecorators } from '@nestjs/common';
import { ApiBody, ApiHeader, ApiOperation } from '@nestjs/swagger';
import { GENESIS_HASH, nextHash } from '../domain/hash-chain.js';
import { AboutAccountDto, OpeningKeyReusedDto } from '../http/openapi/error-bodies.js';
import {
  ACCOUNT_NOT_FOUND,
  AccountETag,
  AccountIdParameter,
  bodySchema,
  errorResponse,
  ETag,
  IdempotencyKeyHeader,
  INVALID_ACCOUNT_ID,
  invalidRequest,
  jsonResponse,
  Location,
  money,
  OriginalLocation,
  plainResponse,
  queryOf,
  RATE_LIMIT_HEADERS,
  READ_FAILURES,
  RequestIdHeader,
  TOO_MANY_REQUESTS,
  WRITE_FAILURES,
} from '../http/openapi/components.js';
import { CONDITION } from '../http/validation/entity-tags.js';
import {
  AccountDto,
  AccountPageDto,
  BalanceDto,
  BalanceQueryDto,
  ChangeAccountDto,
  ListAccountsDto,
  OpenAccountDto,
  ProofDto,
  ProofQueryDto,
} from './accounts.dto.js';

const tags = ['Accounts'];

const NOT_MODIFIED = 'The account still has an entity tag that If-None-Match names.';

const IfNoneMatchHeader = (example: string) =>
  ApiHeader({
    name: 'If-None-Match',
    description: `Entity tags of earlier answers, like \`${example}\`: if one of them still matches, the answer is 304.`,
    schema: CONDITION,
  });

const EXAMPLE_LINE = '1:1:credit:1000.00:1000.00:2:1772280000000:-';
const EXAMPLE_HASH = nextHash(GENESIS_HASH, EXAMPLE_LINE);
const EXAMPLE_ACCOUNT = {
  ...{ accountId: 1, balance: money('1000.25'), version: 2 },
  ...{ held: money('99.95'), available: money('900.35'), overdraftLimit: money('0.05') },
  ...{ currency: 'USD', status: 'open' },
  ...{ reference: 'customer 12', createdAt: '2025-05-02T10:24:02.123Z' },
};

export const DocumentBalance = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getBalance',
      summary: 'Get the balance of an account',
      description:
        'The answer is never older than the last transaction that this service acknowledged. A client that needs more ' +
        'sends `minVersion`, or `Cache-Control: no-cache`.\n\n' +
        'With `at` or `version` it is what the account had then, and also what was `held`. That comes from the database, ' +
        'and never changes.',
      responses: {
        200: jsonResponse(
          'The balance, and the version that it belongs to.',
          BalanceDto,
          {
            balance: { balance: money('350.75'), version: 12 },
            then: { balance: money('320.25'), version: 7, held: money('20.15') },
          },
          { ETag },
        ),
        304: plainResponse(NOT_MODIFIED, { ETag }),
        400: INVALID_ACCOUNT_ID,
        404: errorResponse(['ACCOUNT_NOT_FOUND', 'NOT_YET_OPENED', 'VERSION_NOT_REACHED']),
        409: errorResponse(
          ['VERSION_MISMATCH'],
          {},
          { description: 'The account has not reached `minVersion` yet.' },
        ),
        ...READ_FAILURES,
      },
    }),
    ...AccountIdParameter(),
    ...queryOf(BalanceQueryDto),
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
        'A credential with an owner opens it for that owner. Any other may name an `owner`, or none. Without an ' +
        '`Idempotency-Key`, a repeated request opens another account. It counts against the rate limit as a transaction.',
      responses: {
        201: jsonResponse(
          'The new account.',
          AccountDto,
          { account: EXAMPLE_ACCOUNT },
          { Location, ETag: AccountETag, ...RATE_LIMIT_HEADERS },
        ),
        400: invalidRequest(
          'openingDeposit',
          'must be an amount greater than zero, with at most 16 digits before the point and 4 after, like 49.50',
        ),
        404: errorResponse(['ACCOUNT_NOT_FOUND'], RATE_LIMIT_HEADERS, {
          description: 'There is no account `near`, or it belongs to another owner.',
          bodies: { 'Account not found': new AboutAccountDto('ACCOUNT_NOT_FOUND', 7) },
        }),
        409: errorResponse(['DUPLICATE_ACCOUNT'], { Location: OriginalLocation, ...RATE_LIMIT_HEADERS }),
        422: errorResponse(['IDEMPOTENCY_KEY_REUSED'], RATE_LIMIT_HEADERS, {
          description: 'This key was used for another opening.',
          bodies: { 'Idempotency key reused': new OpeningKeyReusedDto(1) },
        }),
        429: TOO_MANY_REQUESTS,
        ...WRITE_FAILURES,
      },
    }),
    IdempotencyKeyHeader('account', 'the owner for whom it is opened, or to the bank where there is none,'),
    ApiBody({
      schema: bodySchema('OpenAccount', OpenAccountDto),
      examples: {
        deposit: { summary: 'With an opening deposit', value: { openingDeposit: money('1000.00') } },
        owned: { summary: 'For an owner', value: { owner: 'ada' } },
        near: {
          summary: 'Beside another account',
          value: { near: 1, reference: 'customer 12', metadata: { branch: 7 } },
        },
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
        200: jsonResponse('The account.', AccountDto, { account: EXAMPLE_ACCOUNT }, { ETag: AccountETag }),
        304: plainResponse(NOT_MODIFIED, { ETag: AccountETag }),
        400: INVALID_ACCOUNT_ID,
        404: ACCOUNT_NOT_FOUND,
        ...READ_FAILURES,
      },
    }),
    ...AccountIdParameter(),
    IfNoneMatchHeader('"12.0"'),
    RequestIdHeader(),
  );

export const DocumentChange = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'changeAccount',
      summary: 'Change an account: its status, overdraft limit, reference or metadata',
      description:
        'What is left out stays as it is; `null` clears `reference` and `metadata`. The version of the account stays, its ' +
        'revision grows by 1, and the change is recorded with its sender. A change to what is there already changes ' +
        'nothing. `status` and `overdraftLimit` need the scope `accounts:manage`, which a credential with an owner never ' +
        'has; `reference` and `metadata` need `accounts:write`. [The table](/docs/api#statuses-and-overdrafts) says what each ' +
        'status allows. It counts against the rate limit as a transaction.',
      responses: {
        200: jsonResponse(
          'The account after the change.',
          AccountDto,
          { account: EXAMPLE_ACCOUNT },
          { ETag: AccountETag, ...RATE_LIMIT_HEADERS },
        ),
        400: invalidRequest('status', 'must be one of: open, debits_blocked, frozen, closed (in any case)'),
        404: ACCOUNT_NOT_FOUND,
        412: errorResponse(['REVISION_MISMATCH'], RATE_LIMIT_HEADERS),
        422: errorResponse(['ACCOUNT_CLOSED', 'ACCOUNT_NOT_EMPTY', 'OVERDRAFT_IN_USE'], RATE_LIMIT_HEADERS),
        429: TOO_MANY_REQUESTS,
        ...WRITE_FAILURES,
      },
    }),
    ...AccountIdParameter(),
    ApiBody({
      schema: bodySchema('ChangeAccount', ChangeAccountDto, { minProperties: 1 }),
      examples: {
        blocked: { summary: 'Block withdrawals', value: { status: 'debits_blocked' } },
        open: {
          summary: 'Open it again, with an overdraft',
          value: { status: 'open', overdraftLimit: money('100.05') },
        },
        named: { summary: 'Name it', value: { reference: 'customer 12', metadata: null } },
      },
    }),
    ApiHeader({
      name: 'If-Match',
      description:
        'The revisions that the account may have, as entity tags of the account, like `"12.3"`. Only the revision counts, ' +
        'the number after the point. Otherwise the answer is 412.',
      schema: CONDITION,
    }),
    RequestIdHeader(),
  );

export const DocumentProof = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getAccountProof',
      summary: "Get the head of an account's chain of hashes",
      description:
        'The hash of a transaction covers it and the hash before it, so whoever keeps the head of [the ' +
        'chain](/docs/security#the-chain-of-hashes) can check that history was only appended to. Keep a head, and ask later ' +
        'with its version as `fromVersion`: hash the lines onto it, one after the other, and you get the new head. If you ' +
        'do not, or the account has not reached that version (409), history was changed.\n\n' +
        'A hash is the SHA-256 of `previous:line`; `previous` is 64 zeros at first. A line is ' +
        '`id:accountId:type:amount:balanceAfter:versionAfter:milliseconds:key` (the key with `=` before it, or `-`); ' +
        'holds, legs, reversals and what has details have [a second form](/docs/security#the-chain-of-hashes). Changes of the ' +
        'account are chained likewise: `events` is their head, and `fromRevision` gets their lines. Lines ' +
        'are transactions, so `fromVersion` also needs the scope `transactions:read`.',
      responses: {
        200: jsonResponse('The head; with `fromVersion` also what leads to it.', ProofDto, {
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
        409: errorResponse(
          ['VERSION_MISMATCH'],
          {},
          { description: 'The account has not reached `fromVersion`.' },
        ),
        ...READ_FAILURES,
      },
    }),
    ...AccountIdParameter(),
    ...queryOf(ProofQueryDto),
    RequestIdHeader(),
  );

export const DocumentAccounts = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'listAccounts',
      summary: 'List the accounts',
      description:
        'Those that the sender may see, in ascending order of their ids. With several filters, those that match all. A page ' +
        'that is filtered may hold fewer than `limit`, or none, and still have a `nextCursor`.',
      responses: {
        200: jsonResponse('A page of accounts.', AccountPageDto, {
          page: { data: [EXAMPLE_ACCOUNT], nextCursor: null },
        }),
        400: invalidRequest('limit', 'must be a whole number from 1 to 200'),
        ...READ_FAILURES,
      },
    }),
    ...queryOf(ListAccountsDto),
    RequestIdHeader(),
  );
