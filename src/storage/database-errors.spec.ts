import { describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { QueryFailedError, QueryRunnerAlreadyReleasedError } from 'typeorm';
import {
  classifyFailure,
  DatabaseUnreachableError,
  isRefusedCommit,
  sqlStateOf,
  type DatabaseFailure,
} from './database-errors.js';

/** The error that pg makes of a server's ErrorResponse. */
function serverError(state: string): Error {
  const error = new pg.DatabaseError('refused', 0, 'error');
  error.code = state;
  return error;
}

const queryFailed = (cause: Error) => new QueryFailedError('SELECT 1', [], cause);

/** SQLSTATEs from PostgreSQL's appendix A, and the kind of failure that each is. */
const STATES: readonly (readonly [string, string, DatabaseFailure])[] = [
  ['40001', 'serialization_failure', 'retryable'],
  ['40P01', 'deadlock_detected', 'retryable'],
  ['55P03', 'lock_not_available', 'locked'],
  ['08000', 'connection_exception', 'unavailable'],
  ['08006', 'connection_failure', 'unavailable'],
  ['08P01', 'protocol_violation', 'unavailable'],
  ['25006', 'read_only_sql_transaction', 'unavailable'],
  ['28P01', 'invalid_password', 'unavailable'],
  ['3D000', 'invalid_catalog_name', 'unavailable'],
  ['53100', 'disk_full', 'unavailable'],
  ['53300', 'too_many_connections', 'unavailable'],
  ['57014', 'query_canceled', 'unavailable'],
  ['57P01', 'admin_shutdown', 'unavailable'],
  ['57P02', 'crash_shutdown', 'unavailable'],
  ['57P03', 'cannot_connect_now', 'unavailable'],
  ['58030', 'io_error', 'unavailable'],
  ['22003', 'numeric_value_out_of_range', 'statement'],
  ['22021', 'character_not_in_repertoire', 'statement'],
  ['23505', 'unique_violation', 'statement'],
  ['23514', 'check_violation', 'statement'],
  ['25P02', 'in_failed_sql_transaction', 'statement'],
  ['42601', 'syntax_error', 'statement'],
  ['42P01', 'undefined_table', 'statement'],
  ['40002', 'transaction_integrity_constraint_violation', 'statement'],
  ['40003', 'statement_completion_unknown', 'statement'],
];

describe('classifyFailure', () => {
  it.each(STATES)('classifies %s (%s) as %s, wrapped by TypeORM or bare', (state, _, failure) => {
    expect(classifyFailure(queryFailed(serverError(state)))).toBe(failure);
    expect(classifyFailure(serverError(state))).toBe(failure);
  });

  it.each([
    ['a connection that broke during a query', queryFailed(new Error('Connection terminated unexpectedly'))],
    [
      'a refused connection',
      new DatabaseUnreachableError(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })),
    ],
    ['a server that accepts no more connections', new DatabaseUnreachableError(serverError('53300'))],
    [
      'a reset during a query',
      queryFailed(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })),
    ],
    ['a query runner that was released during the work', new QueryRunnerAlreadyReleasedError()],
  ])('classifies %s as unavailable', (_, error) => {
    expect(classifyFailure(error)).toBe('unavailable');
  });

  it.each([
    ['a defect of ours', new TypeError('x is not a function')],
    ['an unexpected row count', new Error('updated 1 of 2 locked accounts')],
    ['a value that is not an error', 'text'],
    ['nothing', undefined],
    ['null', null],
  ])('classifies %s as a failure of the statement', (_, error) => {
    expect(classifyFailure(error)).toBe('statement');
  });
});

describe('sqlStateOf', () => {
  it('finds the SQLSTATE in a bare error, in a failed query and in a failed connection', () => {
    expect(sqlStateOf(serverError('57P01'))).toBe('57P01');
    expect(sqlStateOf(queryFailed(serverError('23505')))).toBe('23505');
    expect(sqlStateOf(new DatabaseUnreachableError(serverError('28P01')))).toBe('28P01');
  });

  it.each([['ECONNRESET'], ['ETIMEDOUT'], ['23'], [''], [23505], [undefined]])(
    'does not take the code %p for a SQLSTATE',
    (code) => {
      expect(sqlStateOf(Object.assign(new Error('x'), { code }))).toBeUndefined();
    },
  );

  // The five-letter code of a system error looks like a SQLSTATE.
  it.each(['EPIPE', 'EBADF', 'EPERM', 'ENXIO'])(
    'does not take the system error %s for a SQLSTATE',
    (code) => {
      const error = queryFailed(
        Object.assign(new Error(`write ${code}`), { code, errno: -32, syscall: 'write' }),
      );
      expect(sqlStateOf(error)).toBeUndefined();
      expect(classifyFailure(error)).toBe('unavailable');
    },
  );
});

describe('isRefusedCommit', () => {
  it.each(['23503', '23505', '40001', '40P01', '40002'])(
    'is true for %s: the server rolled back',
    (state) => {
      expect(isRefusedCommit(serverError(state))).toBe(true);
    },
  );

  it.each(['57P01', '57P02', '57014', '08006', '08007', '40003', '53100', '58030', 'XX000', '25P02'])(
    'is false for %s: the commit may have happened',
    (state) => {
      expect(isRefusedCommit(serverError(state))).toBe(false);
    },
  );

  it('is false for a lost connection', () => {
    expect(isRefusedCommit(new Error('Connection terminated unexpectedly'))).toBe(false);
    expect(isRefusedCommit(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))).toBe(false);
  });
});

describe('classifyFailure without a connection', () => {
  it.each(['42501', '55000', 'XX000'])('returns unavailable, whatever the SQLSTATE: %s', (code) => {
    const refused = new DatabaseUnreachableError(Object.assign(new Error('refused'), { code }));
    expect(classifyFailure(refused)).toBe('unavailable');
  });

  it('returns busy when the pool had no free connection in time', () => {
    const exhausted = new DatabaseUnreachableError(new Error('timeout exceeded when trying to connect'));
    expect(classifyFailure(exhausted)).toBe('busy');
    const slow = new DatabaseUnreachableError(new Error('Connection terminated due to connection timeout'));
    expect(classifyFailure(slow)).toBe('unavailable');
  });
});
