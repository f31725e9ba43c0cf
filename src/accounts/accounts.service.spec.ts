import { describe, expect, it } from '@jest/globals';
import type { Config } from '../config/config.js';
import type { Ledger } from '../domain/ports.js';
import { LedgerError, type LedgerFailure } from '../domain/errors.js';
import type { AccountOwners } from '../ledger/read/account-owners.js';
import type { HistoryReader } from '../ledger/read/history-reader.js';
import type { LedgerReader } from '../ledger/read/ledger-reader.js';
import { AccountsService } from './accounts.service.js';

/** The change commits, and the read after it fails: no real server can be made to fail at exactly that moment. */
const changeThenRead = (failure: LedgerFailure) =>
  new AccountsService(
    { execute: () => Promise.resolve() } as unknown as Ledger,
    { account: () => Promise.reject(new LedgerError(failure)) } as unknown as LedgerReader,
    {} as HistoryReader,
    {} as AccountOwners,
    {} as Config,
  ).change(
    { type: 'change', accountId: 1, changes: { status: 'frozen' } },
    { owner: undefined, user: 'ada' },
    {},
    undefined,
  );

describe('a change that took effect', () => {
  it.each<[LedgerFailure]>([[{ code: 'DATABASE_FAILED', currentVersion: null }], [{ code: 'OVERLOADED' }]])(
    'is not said to be undone because it can not be read: %j',
    async (failure) => {
      await expect(changeThenRead(failure)).rejects.toMatchObject({ failure: { code: 'OUTCOME_UNKNOWN' } });
    },
  );
});
