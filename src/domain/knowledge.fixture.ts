import type { Account, LedgerAccount } from './account.js';
import type { Knowledge } from './books.js';

/** The time of everything that is decided on {@link knowledgeOf}. */
export const NOW = new Date('2026-05-02T10:24:02.123Z');

/** An open account without holds and overdraft, in the bank's currency, which has two decimals. */
export const accountWith = (values: Omit<Account, 'decimals'> & Partial<LedgerAccount>): LedgerAccount => ({
  ...{ decimals: 2, held: 0n, activeHolds: 0, overdraftLimit: 0n, status: 'open', revision: 0 },
  currency: undefined,
  ...values,
});

/** What is known of accounts about which there is nothing more to know. Ids are drawn from 101 on. */
export const knowledgeOf = (accounts: Iterable<LedgerAccount>, more: Partial<Knowledge> = {}): Knowledge => ({
  accounts: new Map([...accounts].map((account) => [account.accountId, account])),
  ...{
    keyed: new Map(),
    holds: new Map(),
    captures: new Map(),
    originals: new Map(),
    due: new Map(),
    outgoing: new Map(),
    incoming: new Map(),
    pending: { inShard: 0, ofAccount: new Map() },
    now: NOW,
  },
  ids: Array.from({ length: 1_000 }, (_, index) => 101 + index),
  ...more,
});
