import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { archiveBank } from '../../src/admin/archive.js';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { verifyBank, verifyInSnapshot } from '../../src/admin/verify/verify.js';
import type { Command } from '../../src/domain/command.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import type { TransactionDetails } from '../../src/domain/transaction.js';
import { digestOf } from '../../src/domain/hash-chain.js';
import { openLedger } from '../support/ledger.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let client: Client;
/** The ids of transactions by what they do. */
const ids: Record<string, number> = {};

const shard = () => ({ url: database.url, schema: 'bank' });

const SALT = 'ab'.repeat(16);
const TEXTS = { description: 'Rent: May', metadata: '{"a":1}' };
const DETAILS: TransactionDetails = {
  ...{ reference: 'r:1', effectiveDate: '2026-05-01', actor: 'ada' },
  ...{ ...TEXTS, salt: SALT, digest: digestOf(SALT, TEXTS) },
};

/** Whatever a ledger can hold, written by the ledger; the older half of it in the archive. */
beforeAll(async () => {
  database = await createTestDatabase('verify_ledger');
  client = new Client({ connectionString: database.url });
  await client.connect();
  const ledger = await openLedger(database.url);
  const run = async (name: string, command: Command) => {
    const { transactions } = await ledger.scheduler.submit(command);
    const last = transactions.at(-1);
    if (last) ids[name] = last.holdId ?? last.transactionId;
  };
  for (const openingDeposit of [100_000n, 50_000n, undefined, undefined])
    await ledger.opener.open({ openingDeposit }, THE_SERVICE);
  const [from, to] = [1, 2];
  const hold = { type: 'hold', accountId: from, amount: 2_000n } as const;
  await run('deposit', { type: 'credit', accountId: from, amount: 900n, details: DETAILS });
  await run('transfer', {
    ...{ type: 'transfer', accountId: from, idempotencyKey: 'rent', details: { reference: 'May' } },
    legs: [
      { accountId: from, type: 'debit', amount: 10_000n },
      { accountId: to, type: 'credit', amount: 10_000n },
    ],
  });
  await run('active', { ...hold, details: { actor: 'ada' } });
  await run('expired', { ...hold, expiresInMs: 1 });
  await run('voided', hold);
  await run('captured', { ...hold, idempotencyKey: 'hotel' });
  await new Promise((resolve) => setTimeout(resolve, 5));
  await archiveBank([shard()], new Date());
  await run('', {
    type: 'capture',
    accountId: from,
    holdId: ids['active'] as number,
    amount: 500n,
    final: false,
  });
  await run('', { type: 'expiry', accountId: from });
  await run('', { type: 'void', accountId: from, holdId: ids['voided'] as number });
  const capture = { type: 'capture', accountId: from, holdId: ids['captured'] as number } as const;
  await run('', { ...capture, amount: 1_500n, final: true, to: { accountId: to } });
  const reversal = { type: 'reversal', accountId: from, transactionId: ids['deposit'] as number } as const;
  await run('', { ...reversal, amount: 300n });
  await run('reversal', { ...reversal, amount: 600n, details: { actor: 'ada' } });
  const transfers = await client.query<{ id: number }>(
    'SELECT min(transfer_id)::int AS id FROM bank.archived_transactions',
  );
  ids['transfer'] = transfers.rows[0]?.id as number;
  await run('', {
    ...{ type: 'transfer-reversal', accountId: to, accountIds: [from, to], transferId: ids['transfer'] },
    amount: 4_000n,
  });
  const change = { type: 'change', accountId: 3, actor: 'ada' } as const;
  await run('', { ...change, changes: { status: 'frozen', overdraftLimit: 10_000n } });
  await run('', {
    ...change,
    changes: { status: 'debits_blocked', reference: 'three', metadata: '{"tier":3}' },
  });
  await run('', { ...change, accountId: 4, changes: { status: 'closed', metadata: null } });
  await ledger.close();
  await assignAccounts([shard()], { accounts: [3], owner: 'bob' });
  // Somebody who edits rows may first remove constraints and triggers, so none of them must be what finds the edit.
  const { rows } = await client.query<{ statement: string }>(`
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS statement
    FROM pg_constraint WHERE connamespace = 'bank'::regnamespace AND contype <> 'n' ORDER BY contype = 'f' DESC`);
  await client.query(rows.map(({ statement }) => statement).join(';'));
});

afterAll(async () => {
  await client.end();
  await database.drop();
});

interface Tampering {
  readonly what: string;
  /** `:name` stands for an id. */
  readonly sql: string;
  /** Without those of the chain. */
  readonly checks: readonly string[];
  /** Account 1 by default. */
  readonly accounts?: readonly number[];
}

const OF_CHAINS = ['hashes_run_on', 'head_is_last'];

const TAMPERINGS: readonly Tampering[] = [
  {
    what: 'money that is held without a hold',
    sql: 'UPDATE bank.accounts SET held = held + 1 WHERE account_id = 1',
    checks: ['held_is_sum', 'holds_are_held'],
  },
  {
    what: 'a held_after that does not follow',
    sql: 'UPDATE bank.archived_transactions SET held_after = held_after + 1 WHERE transaction_id = :voided',
    checks: ['held_runs_on'],
  },
  {
    what: 'a wrong number of active holds',
    sql: 'UPDATE bank.accounts SET active_holds = 2 WHERE account_id = 1',
    checks: ['holds_are_held'],
  },
  {
    what: 'active holds of an account that does not exist',
    sql: `UPDATE bank.holds SET account_id = 99 WHERE hold_id = :active`,
    checks: ['holds_are_held', 'account_exists'],
    accounts: [1, 99],
  },
  {
    what: 'a debit of what is not available',
    sql: 'UPDATE bank.accounts SET balance = -100, overdraft_limit = 99 WHERE account_id = 4',
    checks: [
      'balance_is_sum',
      'balance_is_last',
      'available_is_not_negative',
      'status_is_valid',
      'account_is_as_changed',
    ],
    accounts: [4],
  },
  {
    what: 'an unknown status',
    sql: `UPDATE bank.accounts SET status = 'merry' WHERE account_id = 2`,
    checks: ['status_is_valid', 'account_is_as_changed'],
    accounts: [2],
  },
  {
    what: 'a closed account with money',
    sql: `UPDATE bank.accounts SET status = 'closed' WHERE account_id = 2`,
    checks: ['status_is_valid', 'account_is_as_changed'],
    accounts: [2],
  },
  {
    what: 'a time before the one before',
    sql: `UPDATE bank.archived_transactions SET timestamp = timestamp - interval '1 day' WHERE transaction_id = :deposit`,
    checks: ['times_run_on'],
  },
  {
    what: "a last time that is not the last one's",
    sql: `UPDATE bank.accounts SET posted_at = posted_at + interval '1 day' WHERE account_id = 2`,
    checks: ['times_run_on'],
    accounts: [2],
  },
  {
    what: 'another amount of a hold',
    sql: 'UPDATE bank.holds SET amount = amount + 1 WHERE hold_id = :voided',
    checks: ['holds_are_transactions'],
  },
  {
    what: 'a hold of which more remains',
    sql: 'UPDATE bank.holds SET remaining = remaining + 1 WHERE hold_id = :active',
    checks: ['holds_are_held', 'holds_are_transactions'],
  },
  {
    what: 'a hold of which less was captured',
    sql: 'UPDATE bank.holds SET captured = 0 WHERE hold_id = :active',
    checks: ['holds_are_transactions'],
  },
  {
    what: 'an ended hold that is active',
    sql: `UPDATE bank.holds SET status = 'active' WHERE hold_id = :voided`,
    checks: ['holds_are_held', 'holds_are_transactions'],
  },
  ...(
    [
      ['voided', 'captured'],
      ['voided', 'expired'],
      ['captured', 'voided'],
      ['expired', 'voided'],
      ['active', 'expired'],
    ] as const
  ).map(([is, as]) => ({
    what: `a hold that is ${is} as ${as}`,
    sql: `UPDATE bank.holds SET status = '${as}' WHERE hold_id = :${is}`,
    checks: [...(is === 'active' ? ['holds_are_held'] : []), 'holds_are_transactions'],
  })),
  {
    what: 'a capture after the end of the hold',
    sql: `UPDATE bank.holds SET expires_at = created_at + interval '1 millisecond' WHERE hold_id = :captured`,
    checks: ['holds_are_transactions'],
  },
  {
    what: 'a hold without a transaction',
    sql: `INSERT INTO bank.holds SELECT 999, account_id, amount, remaining, captured, status, expires_at, created_at, 0
          FROM bank.holds WHERE hold_id = :voided`,
    checks: ['holds_are_transactions'],
  },
  {
    what: 'a hold that was deleted',
    sql: 'DELETE FROM bank.holds WHERE hold_id = :voided',
    checks: ['holds_are_transactions'],
  },
  {
    what: 'a release that names no hold',
    sql: `UPDATE bank.transactions SET hold_id = NULL WHERE hold_id = :voided`,
    checks: ['holds_are_transactions', 'releases_name_holds'],
  },
  {
    what: 'a leg that was taken out of its transfer',
    sql: 'UPDATE bank.archived_transactions SET transfer_id = NULL WHERE transfer_id = :transfer AND account_id = 2',
    checks: ['transfers_balance', 'reversals_are_covered'],
    accounts: [1, 2],
  },
  {
    what: 'a transfer with another id',
    sql: `UPDATE bank.archived_transactions SET transfer_id = 999 WHERE transfer_id = :transfer`,
    checks: ['transfers_balance'],
    accounts: [1, 2],
  },
  {
    what: 'a deposit that is made a leg',
    sql: 'UPDATE bank.archived_transactions SET transfer_id = :transfer WHERE transaction_id = :deposit',
    checks: ['transfers_balance', 'reversals_are_covered'],
    accounts: [1, 2],
  },
  {
    what: 'a reversal of nothing',
    sql: 'UPDATE bank.transactions SET reverses_id = 999 WHERE transaction_id = :reversal',
    checks: ['reversals_are_covered'],
  },
  {
    what: 'a reversal of a transaction of the same type',
    sql: `UPDATE bank.transactions SET reverses_id = (SELECT max(transaction_id) FROM bank.transactions
          WHERE type = 'debit' AND hold_id = :active) WHERE transaction_id = :reversal`,
    checks: ['reversals_are_covered'],
  },
  {
    what: "a reversal of another account's transaction",
    sql: `UPDATE bank.transactions SET reverses_id = 2 WHERE transaction_id = :reversal`,
    checks: ['reversals_are_covered'],
  },
  {
    what: 'a reversal of a reversal',
    sql: `UPDATE bank.archived_transactions SET reverses_id = 1 WHERE transaction_id = :deposit`,
    checks: ['reversals_are_covered'],
  },
  {
    what: 'a transaction that is reversed for more than it was',
    sql: `UPDATE bank.transactions SET amount = amount + 1 WHERE transaction_id = :reversal`,
    checks: ['balance_is_sum', 'balances_run_on', 'reversals_are_covered'],
  },
  {
    what: 'a leg that was reversed by itself',
    sql: `UPDATE bank.archived_transactions SET transfer_id = NULL WHERE transfer_id = :transfer`,
    checks: ['reversals_are_covered'],
    accounts: [1, 2],
  },
  {
    what: 'another description',
    sql: `UPDATE bank.transaction_details SET description = 'Rent: June' WHERE transaction_id = :deposit`,
    checks: ['details_are_theirs'],
  },
  {
    what: 'other metadata',
    sql: `UPDATE bank.transaction_details SET metadata = '{"a":2}' WHERE transaction_id = :deposit`,
    checks: ['details_are_theirs'],
  },
  {
    what: 'a salt that is gone though the texts are there',
    sql: `UPDATE bank.transaction_details SET salt = NULL WHERE transaction_id = :deposit`,
    checks: ['details_are_theirs'],
  },
  ...['reference', 'effective_date', 'actor', 'digest'].map((column) => ({
    what: `details without their ${column}`,
    sql: `UPDATE bank.transaction_details SET ${column} = NULL WHERE transaction_id = :deposit`,
    checks: column === 'digest' ? ['details_are_theirs'] : [],
  })),
  {
    what: 'details that are gone',
    sql: 'DELETE FROM bank.transaction_details WHERE transaction_id = :deposit',
    checks: [],
  },
  {
    what: 'details of no transaction',
    sql: `INSERT INTO bank.transaction_details (transaction_id, account_id) VALUES (999, 1)`,
    checks: ['details_are_theirs'],
  },
  {
    what: "details with another account than their transaction's",
    sql: 'UPDATE bank.transaction_details SET account_id = 2 WHERE transaction_id = :deposit',
    checks: ['details_are_theirs'],
    accounts: [2],
  },
  {
    what: 'a fingerprint that is gone',
    sql: `UPDATE bank.archived_transactions SET fingerprint = NULL WHERE transaction_id = :captured`,
    checks: [],
  },
  ...[1, 2, 3].map((revision) => ({
    what: `change ${revision} lost`,
    sql: `DELETE FROM bank.account_events WHERE account_id = 3 AND revision = ${revision}`,
    // Nothing tells an owner that was set with a change from one who opened the account.
    checks: revision === 3 ? ['changes_run_on'] : ['changes_run_on', 'account_is_as_changed'],
    accounts: [3],
  })),
  {
    what: 'all changes lost',
    sql: `DELETE FROM bank.account_events WHERE account_id = 3`,
    checks: ['changes_run_on', 'account_is_as_changed'],
    accounts: [3],
  },
  {
    what: 'a revision without a change',
    sql: `UPDATE bank.accounts SET revision = 1 WHERE account_id = 1`,
    checks: ['changes_run_on'],
  },
  ...['actor = NULL', `timestamp = timestamp - interval '1 ms'`, 'event_id = event_id + 100'].map(
    (change) => ({
      what: `a change with ${change}`,
      sql: `UPDATE bank.account_events SET ${change} WHERE account_id = 3 AND revision = 1`,
      checks: ['changes_run_on', 'account_is_as_changed'],
      accounts: [3],
    }),
  ),
  {
    what: 'another text of a change',
    sql: `UPDATE bank.account_events SET changes = replace(changes, 'frozen', 'open') WHERE account_id = 3 AND revision = 1`,
    checks: ['changes_run_on', 'account_is_as_changed'],
    accounts: [3],
  },
  {
    what: 'changes of an account that does not exist',
    sql: `UPDATE bank.account_events SET account_id = 99 WHERE account_id = 4`,
    checks: ['changes_run_on', 'account_is_as_changed', 'account_exists'],
    accounts: [4, 99],
  },
  ...[
    `bank.accounts SET status = 'frozen'`,
    'bank.accounts SET overdraft_limit = 200',
    `bank.accounts SET owner = 'eve'`,
    'bank.accounts SET owner = NULL',
    `bank.account_details SET reference = 'four'`,
    `bank.account_details SET metadata = '{"tier":4}'`,
    `bank.account_details SET metadata_salt = NULL`,
    `bank.account_details SET account_id = 99`,
  ].map((change) => ({
    what: `a change that is no change: ${change}`,
    sql: `UPDATE ${change} WHERE account_id = 3`,
    checks: ['account_is_as_changed', ...(change.endsWith('99') ? ['account_exists'] : [])],
    accounts: change.endsWith('99') ? [3, 99] : [3],
  })),
  {
    what: 'metadata that were taken away',
    sql: `UPDATE bank.account_details SET metadata = '{}' WHERE account_id = 4`,
    checks: ['account_is_as_changed'],
    accounts: [4],
  },
  {
    what: 'a status without any change',
    sql: `UPDATE bank.accounts SET status = 'frozen' WHERE account_id = 1`,
    checks: ['account_is_as_changed'],
  },
];

/** @param shards of which this one is the first */
async function reportAfter(sql: string, shards = 1) {
  await client.query('BEGIN');
  await client.query(sql.replace(/:([a-z]+)\b/g, (_, name: string) => String(ids[name])));
  const report = await verifyInSnapshot(client, 'bank', 0, shards, {});
  await client.query('ROLLBACK');
  return report;
}

describe('verify of all that a ledger can hold', () => {
  it('finds nothing wrong with it', async () => {
    expect(await verifyBank([shard()])).toMatchObject({ faults: [], ok: true });
    // Without these, nothing of it would be tested.
    const { rows } = await client.query<{ statuses: string }>(
      `SELECT string_agg(status, ' ' ORDER BY hold_id) AS statuses FROM bank.holds`,
    );
    expect(rows).toEqual([{ statuses: 'active expired voided captured' }]);
  });

  it('takes it for whole when texts were erased together with their salt', async () => {
    const { faults } = await reportAfter(`
      UPDATE bank.transaction_details SET description = NULL, metadata = NULL, salt = NULL;
      UPDATE bank.account_details SET metadata = NULL, metadata_salt = NULL`);
    expect(faults).toEqual([]);
  });

  it.each(TAMPERINGS)('finds $what', async ({ sql, checks, accounts = [1] }) => {
    const { faults, faulty } = await reportAfter(sql);
    expect(faults.map(({ accountId }) => accountId)).toEqual(accounts);
    expect(faulty).toBe(accounts.length);
    const found = new Set(faults.flatMap((fault) => fault.checks));
    if (checks.length === 0) expect([...found]).toContain('hashes_run_on');
    else expect([...found].filter((check) => !OF_CHAINS.includes(check))).toEqual(checks);
  });

  it.each([
    [2, true],
    [3, false],
  ])('finds an opening near account %i, if that is of another shard', async (near, isElsewhere) => {
    const { faults } = await reportAfter(
      `INSERT INTO bank.account_openings (account_id, owner, idempotency_key, near) VALUES (3, '', 'k', ${near})`,
      2,
    );
    const checks = faults.find(({ accountId }) => accountId === 3)?.checks ?? [];
    expect(checks.includes('opening_names_the_shard')).toBe(isElsewhere);
  });
});
