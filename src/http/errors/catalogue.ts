interface CatalogueEntry {
  readonly status: number;
  /** The text of `error` in the body. */
  readonly error: string;
  /** The same sentences describe the error in docs/errors.md and, as `detail`, in application/problem+json. */
  readonly detail: string;
}

/**
 * Every error of the API, by the code in `X-Error-Code`. Codes and texts are stable, and statuses with them. A test
 * compares the catalogue with docs/errors.md and openapi.json.
 */
export const ERRORS = {
  INVALID_REQUEST: {
    status: 400,
    error: 'Invalid request',
    detail: 'Something in the path, the query, the headers or the body is wrong. `details` says what.',
  },
  UNAUTHORIZED: {
    status: 401,
    error: 'Unauthorized',
    detail: 'The request has no credential, or one that is invalid, has expired or was revoked.',
  },
  FORBIDDEN: {
    status: 403,
    error: 'Forbidden',
    detail: 'The credential lacks a scope that the request needs. `WWW-Authenticate` names a sufficient one.',
  },
  ACCOUNT_NOT_FOUND: {
    status: 404,
    error: 'Account not found',
    detail: 'There is no such account, or it belongs to another owner.',
  },
  TRANSACTION_NOT_FOUND: {
    status: 404,
    error: 'Transaction not found',
    detail: 'There is no such transaction, or its account belongs to another owner.',
  },
  NOT_FOUND: { status: 404, error: 'Not found', detail: 'The service has no such path.' },
  METHOD_NOT_ALLOWED: {
    status: 405,
    error: 'Method not allowed',
    detail: 'The path exists, but not with this method. `Allow` lists the methods that it has.',
  },
  DATABASE_FAILED: {
    status: 408,
    error: 'Server Crashes',
    detail: 'The database failed. It is certain that nothing was applied.',
  },
  NOT_RECEIVED: {
    status: 408,
    error: 'Request not received in time',
    detail: 'The request did not arrive completely in time. What did not arrive was not applied.',
  },
  VERSION_MISMATCH: {
    status: 409,
    error: 'Version mismatch',
    detail:
      'The account does not have the version that the request names. `CurrentVersion` is its current version.',
  },
  DUPLICATE_TRANSACTION: {
    status: 409,
    error: 'Duplicate transaction',
    detail:
      'This transaction was already posted with this idempotency key, as `transactionId`. Nothing was applied again.',
  },
  DUPLICATE_ACCOUNT: {
    status: 409,
    error: 'Duplicate account',
    detail:
      'This account was already opened with this idempotency key, as `accountId`. Nothing was applied again.',
  },
  PRECONDITION_FAILED: {
    status: 412,
    error: 'Version mismatch',
    detail:
      'The account has none of the versions that `If-Match` names. `CurrentVersion` is its current version.',
  },
  BODY_TOO_LARGE: {
    status: 413,
    error: 'Body too large',
    detail: 'The body, or one transaction of a batch, is over 16 KiB, or a batch is over 8 MiB.',
  },
  TOO_MANY_TRANSACTIONS: {
    status: 413,
    error: 'Too many transactions',
    detail: 'The batch has more than 10,000 transactions.',
  },
  UNSUPPORTED_CONTENT_TYPE: {
    status: 415,
    error: 'Content type must be application/json',
    detail:
      'The body is not of type `application/json`, or, for a batch, of type `application/x-ndjson` or `application/jsonl`.',
  },
  UNSUPPORTED_ENCODING: {
    status: 415,
    error: 'Content encoding is not supported',
    detail: 'The body is compressed or otherwise encoded. `Accept-Encoding` lists what the service reads.',
  },
  UNSUPPORTED_CHARSET: {
    status: 415,
    error: 'Charset must be utf-8',
    detail: '`Content-Type` names a character set other than UTF-8.',
  },
  REQUEST_REFUSED: {
    status: 416,
    error: 'Request refused',
    detail:
      'A file of Swagger UI does not have the range that the request asks for, or is not the version that it names.',
  },
  EXPECTATION_FAILED: {
    status: 417,
    error: 'Expectation failed',
    detail: 'The service does not know what `Expect` asks for.',
  },
  INSUFFICIENT_BALANCE: {
    status: 422,
    error: 'Insufficient Balance',
    detail: 'The withdrawal is larger than the balance of the account.',
  },
  BALANCE_LIMIT_EXCEEDED: {
    status: 422,
    error: 'Balance limit exceeded',
    detail: 'After the deposit the balance would be over 9999999999999999.99.',
  },
  IDEMPOTENCY_KEY_REUSED: {
    status: 422,
    error: 'Idempotency key reused',
    detail: 'The idempotency key belongs to another request, which made `transactionId` or `accountId`.',
  },
  NOT_APPLIED: {
    status: 424,
    error: 'Not applied',
    detail: 'Another transaction of the atomic batch was refused, so none of it was applied.',
  },
  TOO_MANY_REQUESTS: {
    status: 429,
    error: 'Too many requests',
    detail:
      'The sender is over the limit of transactions per second, or too many malformed credentials came from its address.',
  },
  HEADERS_TOO_LARGE: {
    status: 431,
    error: 'Headers too large',
    detail:
      'The path, the query and the headers are over 16 KiB together, or there are 1,000 headers or more.',
  },
  INTERNAL_ERROR: {
    status: 500,
    error: 'Internal error',
    detail: 'A defect of the service. Its log has the cause under the `X-Request-Id` of the answer.',
  },
  OVERLOADED: {
    status: 503,
    error: 'Overloaded',
    detail:
      'Too many requests are waiting or connections are open, or the service is stopping. Nothing was applied.',
  },
  OUTCOME_UNKNOWN: {
    status: 503,
    error: 'Outcome unknown',
    detail:
      'The database was lost during COMMIT and did not come back in time. The request may have been applied.',
  },
  IDENTITY_PROVIDER_UNAVAILABLE: {
    status: 503,
    error: 'Identity provider unavailable',
    detail: "The keys of the identity provider can't be fetched, so the access token can't be checked.",
  },
  CREDENTIAL_STORE_UNAVAILABLE: {
    status: 503,
    error: 'Credential store unavailable',
    detail:
      "The API keys of the bank can't be read, so a key that this process has not seen before can't be checked.",
  },
  NOT_READY: {
    status: 503,
    error: 'Not ready',
    detail: 'No database answers, or the service is stopping. The body is the report of `/health/ready`.',
  },
} as const satisfies Readonly<Record<string, CatalogueEntry>>;

export type ErrorCode = keyof typeof ERRORS;
