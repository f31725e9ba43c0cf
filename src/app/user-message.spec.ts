import { describe, expect, it } from '@jest/globals';
import { EmbeddedPostgresError } from '@scalable-banking/embedded-postgres';
import { StartError } from './open-databases.js';
import { ConfigError } from '../config/config.js';
import { ShardMismatchError } from '../storage/migrate.js';
import { LedgerError, type LedgerFailure } from '../domain/errors.js';
import { UserError } from '../domain/user-error.js';
import { userMessage, failureMessage } from './user-message.js';

class Mendable extends UserError {}

const withCode = (message: string, code: string) => Object.assign(new Error(message), { code });

describe('userMessage', () => {
  it.each([
    new StartError('the database is too old'),
    new ShardMismatchError('shard 1 of 2'),
    new Mendable('10 accounts were made'),
    new ConfigError(['PORT must be a whole number']),
  ])('says what $name was given to say, and nothing else', (error) => {
    expect(userMessage(error)).toBe(error.message);
  });

  it('names the variables that change where the embedded PostgreSQL lies', () => {
    expect(userMessage(new EmbeddedPostgresError('The data folder /data is in use.'))).toBe(
      'The data folder /data is in use. (DATA_DIR names the data folder; DATABASE_URL names a server to use instead.)',
    );
  });

  it('says in a sentence why the ledger refused', () => {
    expect(userMessage(new LedgerError({ code: 'BALANCE_LIMIT_EXCEEDED' }))).toBe(
      'the account cannot hold that much',
    );
  });

  it.each([
    withCode('connect ECONNREFUSED 127.0.0.1:5432', 'ECONNREFUSED'),
    withCode('terminating connection due to administrator command', '57P01'),
    withCode('permission denied for schema bank', '42501'),
    new Error('Connection terminated unexpectedly'),
  ])('says that the database failed: $message', (error) => {
    expect(userMessage(error)).toBe(`the database failed: ${error.message}`);
  });

  it.each([new TypeError('x is not a function'), withCode('column "x" does not exist', '42703')])(
    'shows the stack of a defect: $message',
    (error) => {
      expect(userMessage(error)).toBe(error.stack);
      expect(error.stack).toContain('user-message.spec');
    },
  );

  it('shows what was thrown if it is no error', () => {
    expect(userMessage('nonsense')).toBe('nonsense');
  });
});

describe('failureMessage', () => {
  it.each<[LedgerFailure, string]>([
    [{ code: 'ACCOUNT_NOT_FOUND' }, 'account 5 does not exist'],
    [{ code: 'VERSION_MISMATCH', currentVersion: 7 }, 'account 5 has version 7, not the expected one'],
    [{ code: 'DATABASE_FAILED', currentVersion: null }, 'the database failed; nothing was posted'],
    [
      { code: 'OUTCOME_UNKNOWN' },
      'the database was lost while it committed; look at account 5 before you try again',
    ],
  ])('%j', (failure, sentence) => {
    expect(failureMessage(failure, 'account 5')).toBe(sentence);
  });
});
