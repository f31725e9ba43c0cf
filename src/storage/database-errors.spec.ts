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

/** What pg makes of a server's ErrorResponse. */
function serverError(state: string): Error {
  const error = new pg.DatabaseError('refused', 0, 'error');
  error.code = state;
  return error;
}

const queryFailed = (cause: Error) => new QueryFailedError('SELECT 1', [], cause);

/** SQLSTATEs by PostgreSQL's appendix A, and what each means for the work that met it. */
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
  it.each(STATES)('takes %s (%s) as %s, wrapped by TypeORM or bare', (state, _, failure) => {
    expect(classifyFailure(queryFailed(serverError(state)))).toBe(failure);
    expect(classifyFailure(serverError(state))).toBe(failure);
  });

  it.each([
    ['a connection that broke under a query', queryFailed(new Error('Connection terminated unexpectedly'))],
    [
      'a refused connection',
      new DatabaseUnreachableError(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })),
    ],
    ['a server that has no place for one more', new DatabaseUnreachableError(serverError('53300'))],
    [
      'a reset under a query',
      queryFailed(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })),
    ],
    ['a runner that was released under the work', new QueryRunnerAlreadyReleasedError()],
  ])('takes %s as unavailable', (_, error) => {
    expect(classifyFailure(error)).toBe('unavailable');
  });

  it.each([
    ['a defect of ours', new TypeError('x is not a function')],
    ['an unexpected row count', new Error('updated 1 of 2 locked accounts')],
    ['what is no error', 'text'],
    ['nothing', undefined],
    ['null', null],
  ])('takes %s as a matter of the statement', (_, error) => {
    expect(classifyFailure(error)).toBe('statement');
  });
});

describe('sqlStateOf', () => {
  it('finds the state bare, in a failed query, and in a failed connection', () => {
    expect(sqlStateOf(serverError('57P01'))).toBe('57P01');
    expect(sqlStateOf(queryFailed(serverError('23505')))).toBe('23505');
    expect(sqlStateOf(new DatabaseUnreachableError(serverError('28P01')))).toBe('28P01');
  });

  it.each([['ECONNRESET'], ['ETIMEDOUT'], ['23'], [''], [23505], [undefined]])(
    'does not take the code %p for a state',
    (code) => {
      expect(sqlStateOf(Object.assign(new Error('x'), { code }))).toBeUndefined();
    },
  );

  // A system error's code of five letters looks like a state.
  it.each(['EPIPE', 'EBADF', 'EPERM', 'ENXIO'])('does not take the system error %s for a state', (code) => {
    const error = queryFailed(
      Object.assign(new Error(`write ${code}`), { code, errno: -32, syscall: 'write' }),
    );
    expect(sqlStateOf(error)).toBeUndefined();
    expect(classifyFailure(error)).toBe('unavailable');
  });
});

describe('isRefusedCommit', () => {
  it.each(['23503', '23505', '40001', '40P01', '40002'])(
    'is certain of %s: the server rolled back',
    (state) => {
      expect(isRefusedCommit(serverError(state))).toBe(true);
    },
  );

  it.each(['57P01', '57P02', '57014', '08006', '08007', '40003', '53100', '58030', 'XX000', '25P02'])(
    'is not certain of %s: the commit may have happened',
    (state) => {
      expect(isRefusedCommit(serverError(state))).toBe(false);
    },
  );

  it('is not certain of a lost connection', () => {
    expect(isRefusedCommit(new Error('Connection terminated unexpectedly'))).toBe(false);
    expect(isRefusedCommit(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))).toBe(false);
  });
});

describe('classifyFailure of a connection that could not be had', () => {
  it.each(['42501', '55000', 'XX000'])(
    'is unavailable, whatever the server gave as the reason: %s',
    (code) => {
      const refused = new DatabaseUnreachableError(Object.assign(new Error('refused'), { code }));
      expect(classifyFailure(refused)).toBe('unavailable');
    },
  );

  it('is busy when the pool had none to give', () => {
    const exhausted = new DatabaseUnreachableError(new Error('timeout exceeded when trying to connect'));
    expect(classifyFailure(exhausted)).toBe('busy');
    const slow = new DatabaseUnreachableError(new Error('Connection terminated due to connection timeout'));
    expect(classifyFailure(slow)).toBe('unavailable');
  });
});
