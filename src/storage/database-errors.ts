import { QueryFailedError, QueryRunnerAlreadyReleasedError } from 'typeorm';

/**
 * The kinds of failure of a database:
 * - retryable: a serialization failure, a deadlock, or a COMMIT that became a ROLLBACK; the transaction may run again
 * - locked: lock_timeout ran out while another session held a row
 * - statement: the server rejected a statement; the other commands of the batch may be fine
 * - busy: no pooled connection became free in time; the server may be fine
 * - unavailable: the server or the way to it failed; nothing about the work itself is wrong
 */
export type DatabaseFailure = 'retryable' | 'locked' | 'statement' | 'busy' | 'unavailable';

/** No SQLSTATE begins with E; the codes of system errors do, and EPIPE has five letters too. */
const SQLSTATE = /^(?!E)[0-9A-Z]{5}$/;

/** The SQLSTATE of the server's error; undefined: the failure did not come from the server. */
export function sqlStateOf(error: unknown): string | undefined {
  const cause = error instanceof DatabaseUnreachableError ? error.cause : error;
  const source: unknown = cause instanceof QueryFailedError ? cause.driverError : cause;
  if (typeof source !== 'object' || source === null || !('code' in source)) return undefined;
  const { code } = source;
  return typeof code === 'string' && SQLSTATE.test(code) ? code : undefined;
}

/** There was no connection: refused, timed out, or the pool stayed exhausted. Nothing was sent. */
export class DatabaseUnreachableError extends Error {
  constructor(cause: unknown) {
    super('no connection to the database', { cause });
    this.name = 'DatabaseUnreachableError';
  }
}

/** The server answered COMMIT with ROLLBACK because an earlier statement had failed: nothing was applied. */
export class CommitRefusedError extends Error {
  constructor() {
    super('COMMIT was answered with ROLLBACK');
    this.name = 'CommitRefusedError';
  }
}

/** Sorts a failure by its SQLSTATE (PostgreSQL, appendix A). A query without one lost its connection. */
export function classifyFailure(error: unknown): DatabaseFailure {
  if (error instanceof DatabaseUnreachableError) return isPoolExhausted(error.cause) ? 'busy' : 'unavailable';
  if (error instanceof CommitRefusedError) return 'retryable';
  const state = sqlStateOf(error);
  if (state === undefined) {
    const lost = error instanceof QueryFailedError || error instanceof QueryRunnerAlreadyReleasedError;
    // What remains is a defect in this program: it concerns the work, not the server.
    return lost ? 'unavailable' : 'statement';
  }
  if (state === '40001' || state === '40P01') return 'retryable';
  if (state === '55P03') return 'locked';
  return UNAVAILABLE.test(state) ? 'unavailable' : 'statement';
}

/**
 * 08 connection, 25006 read-only standby, 25P03 and 25P04 session ended by a timeout, 28 credentials, 3D000 no such
 * database, 53 out of resources, 57 operator intervention (shutdown, statement_timeout), 58 system error
 */
const UNAVAILABLE = /^(08|25006|25P03|25P04|28|3D000|53|57|58)/;

/** pg-pool's message when all connections stay in use; a slow connect has another one. */
function isPoolExhausted(cause: unknown): boolean {
  return cause instanceof Error && cause.message === 'timeout exceeded when trying to connect';
}

/**
 * True when the server itself answered COMMIT by saying that it rolled the transaction back. After any other failure of
 * a COMMIT the outcome is unknown: the server may have committed, and only the answer was lost.
 */
export function isRefusedCommit(error: unknown): boolean {
  const state = sqlStateOf(error);
  // 40003 is "statement completion unknown".
  return state !== undefined && /^(23|40)/.test(state) && state !== '40003';
}

/**
 * True when the server itself rejected a statement: its transaction is aborted. (An error about a failed connection or
 * server may also come from a pooler, which does not know what the server has done.)
 */
export function isRefusedStatement(error: unknown): boolean {
  return sqlStateOf(error) !== undefined && classifyFailure(error) !== 'unavailable';
}
