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
  NOT_YET_OPENED: {
    status: 404,
    error: 'Account not yet opened',
    detail: 'The account was opened after the time that the request names.',
  },
  VERSION_NOT_REACHED: {
    status: 404,
    error: 'Version not reached',
    detail: 'The account has not reached the version that the request names.',
  },
  TRANSACTION_NOT_FOUND: {
    status: 404,
    error: 'Transaction not found',
    detail: 'There is no such transaction, or its account belongs to another owner.',
  },
  TRANSFER_NOT_FOUND: {
    status: 404,
    error: 'Transfer not found',
    detail: 'There is no such transfer, or all of its accounts belong to other owners.',
  },
  HOLD_NOT_FOUND: {
    status: 404,
    error: 'Hold not found',
    detail: 'There is no such hold, or its account belongs to another owner.',
  },
  SUBMISSION_NOT_FOUND: {
    status: 404,
    error: 'Submission not found',
    detail: 'There is no such submission, or its account does not exist or belongs to another owner.',
  },
  WEBHOOK_NOT_FOUND: {
    status: 404,
    error: 'Webhook not found',
    detail: 'There is no such webhook, or it belongs to another owner.',
  },
  DELIVERY_NOT_FOUND: {
    status: 404,
    error: 'Delivery not found',
    detail:
      'The event is neither among the failures of the webhook nor among its last attempts. Older events are sent again with `since`.',
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
  DUPLICATE_TRANSFER: {
    status: 409,
    error: 'Duplicate transfer',
    detail:
      'This transfer was already made with this idempotency key, as `transferId`. Nothing was applied again.',
  },
  DUPLICATE_HOLD: {
    status: 409,
    error: 'Duplicate hold',
    detail: 'This hold was already placed with this idempotency key, as `holdId`. Nothing was applied again.',
  },
  DUPLICATE_ACCOUNT: {
    status: 409,
    error: 'Duplicate account',
    detail:
      'This account was already opened with this idempotency key, as `accountId`. Nothing was applied again.',
  },
  HOLD_NOT_ACTIVE: {
    status: 409,
    error: 'Hold not active',
    detail: 'The hold was captured or voided, or has expired. `holdStatus` says which.',
  },
  HOLD_BEING_CAPTURED: {
    status: 409,
    error: 'Hold being captured',
    detail:
      "A part of the hold, or all of it, is on its way to an account of another shard. It can't end before that is decided.",
  },
  TRANSFER_NOT_COMPLETED: {
    status: 409,
    error: 'Transfer not completed',
    detail: 'The transfer is still pending, or has failed: there is nothing to reverse.',
  },
  TRANSFER_CANCELLED: {
    status: 409,
    error: 'Transfer cancelled',
    detail: 'An operator has cancelled the transfer before it was decided. Nothing has moved.',
  },
  PART_OF_TRANSFER: {
    status: 409,
    error: 'Part of a transfer',
    detail: 'The transaction is a part of `transferId`, which can only be reversed as a whole.',
  },
  EVENTS_GONE: {
    status: 410,
    error: 'Events gone',
    detail:
      'The bank no longer keeps the events that follow `Last-Event-ID`, or has been restored to a time before it.',
  },
  REVISION_MISMATCH: {
    status: 412,
    error: 'Revision mismatch',
    detail:
      'The account has none of the revisions that `If-Match` names. `currentRevision` is its current revision.',
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
    detail:
      'More is asked for than is available: the balance, less what is on hold, plus the overdraft limit.',
  },
  BALANCE_LIMIT_EXCEEDED: {
    status: 422,
    error: 'Balance limit exceeded',
    detail: 'The balance, or what is on hold, would have more than 16 digits before the point.',
  },
  ACCOUNT_FROZEN: {
    status: 422,
    error: 'Account frozen',
    detail: 'The account is frozen: its money neither leaves nor arrives, and only its holds end.',
  },
  DEBITS_BLOCKED: {
    status: 422,
    error: 'Debits blocked',
    detail: 'The account takes no withdrawals and no new holds. Its present holds can be captured.',
  },
  ACCOUNT_CLOSED: {
    status: 422,
    error: 'Account closed',
    detail: 'The account is closed for ever.',
  },
  COUNTERPARTY_REFUSED: {
    status: 422,
    error: 'Counterparty refused',
    detail: "Another owner's account can't take part just now. The reason is not told.",
  },
  CURRENCY_MISMATCH: {
    status: 422,
    error: 'Currency mismatch',
    detail:
      'The accounts have different currencies, and nothing is converted: withdrawals and deposits must be equal in each.',
  },
  DIFFERENT_SHARDS: {
    status: 422,
    error: 'Different shards',
    detail:
      'More than two accounts, or those of an atomic batch or of a queued transfer, are in different shards of the bank. Open an account with `near` to have it beside another.',
  },
  TOO_MANY_PENDING_TRANSFERS: {
    status: 503,
    error: 'Too many pending transfers',
    detail:
      'As many transfers to other shards of the bank are under way as may be: 1,000 from an account, 10,000 from its shard. Nothing was written.',
  },
  TOO_MANY_HOLDS: {
    status: 422,
    error: 'Too many holds',
    detail: 'The account has 10,000 active holds.',
  },
  TOO_MANY_CAPTURES: {
    status: 422,
    error: 'Too many captures',
    detail: 'The hold was captured 1,000 times. Only a capture that ends it is still possible.',
  },
  HOLD_EXCEEDED: {
    status: 422,
    error: 'Hold exceeded',
    detail: 'Less than the amount remains of the hold.',
  },
  NOT_REVERSIBLE: {
    status: 422,
    error: 'Not reversible',
    detail: "Holds, releases and reversals can't be reversed.",
  },
  NOT_REVERSIBLE_IN_PART: {
    status: 422,
    error: 'Not reversible in part',
    detail: 'A transfer with more than two legs is reversed as a whole: leave `amount` out.',
  },
  REVERSAL_EXCEEDED: {
    status: 422,
    error: 'Reversal exceeded',
    detail: 'Less than the amount, or nothing, is left to be reversed.',
  },
  ACCOUNT_NOT_EMPTY: {
    status: 422,
    error: 'Account not empty',
    detail: 'Only an account without money and without active holds can be closed.',
  },
  OVERDRAFT_IN_USE: {
    status: 422,
    error: 'Overdraft in use',
    detail: 'The account uses more of its overdraft limit than the new limit allows.',
  },
  STATEMENT_TOO_LONG: {
    status: 422,
    error: 'Statement too long',
    detail:
      'The interval has more than 100,000 transactions, holds and releases included, or more than 10,000 for a PDF.',
  },
  TOO_MANY_WEBHOOKS: {
    status: 422,
    error: 'Too many webhooks',
    detail: 'The owner has 10 webhooks, or the bank has 100.',
  },
  TOO_MANY_REDELIVERIES: {
    status: 422,
    error: 'Too many redeliveries',
    detail:
      'For this webhook 1,000 single events of one shard wait to be sent again. Send all of them again with `since`.',
  },
  IDEMPOTENCY_KEY_REUSED: {
    status: 422,
    error: 'Idempotency key reused',
    detail:
      'The idempotency key belongs to another request, which made `transactionId`, `transferId`, `holdId` or `accountId`, or was a submission that was refused.',
  },
  SENDER_REFUSED: {
    status: 422,
    error: 'Sender refused',
    detail:
      'When the submission was to be posted, the credential of its sender had ended or no longer allowed it.',
  },
  SUBMISSION_DISCARDED: {
    status: 422,
    error: 'Submission discarded',
    detail: 'An operator has discarded the submission, which could not be decided. Nothing was applied.',
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
      'The sender is over the limit of transactions per second, has too many streams of events, or too many malformed credentials came from its address.',
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
      'The database was lost during COMMIT and did not come back in time, or the broker did not confirm a submission in time. The request may have been applied.',
  },
  BROKER_UNAVAILABLE: {
    status: 503,
    error: 'Broker unavailable',
    detail: 'The broker takes no submissions at the moment. Nothing was queued and nothing was applied.',
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
  SUMMARY_NOT_READY: {
    status: 503,
    error: 'Summary not ready',
    detail:
      'The ledger has not been summed up yet. After the first start of this release that takes a while.',
  },
  WEBHOOKS_NOT_CONFIGURED: {
    status: 503,
    error: 'Webhooks not configured',
    detail:
      'The service has no key to encrypt the secrets of webhooks with, so none can be made: its operator sets `WEBHOOK_KEYS`.',
  },
  NOT_READY: {
    status: 503,
    error: 'Not ready',
    detail: 'No database answers, or the service is stopping. The body is the report of `/health/ready`.',
  },
} as const satisfies Readonly<Record<string, CatalogueEntry>>;

export type ErrorCode = keyof typeof ERRORS;
