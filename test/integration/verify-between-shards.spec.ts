import 'reflect-metadata';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { archiveBank } from '../../src/admin/archive.js';
import { PAIRS, unpairedAccounts } from '../../src/admin/verify/pairs.js';
import { verifyBank, verifyInSnapshot } from '../../src/admin/verify/verify.js';
import type { OutgoingTransfer } from '../../src/domain/between-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { fillTwoShards, TwoShards } from '../support/between-shards.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let client: Client;
let shards: ShardAddress[];
/** By a transfer's name: its id; with `_hold`, `_debit` or `_credit`, the id of that. */
const ids: Record<string, number> = {};

/** Every kind of transfer between two shards; those that have ended in the archive. */
beforeAll(async () => {
  database = await createEmptyTestDatabase('verify_between');
  shards = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  const bank = await TwoShards.open(shards);
  const made = await fillTwoShards(bank, () => archiveBank(shards, new Date(Date.now() + 1_000)));
  await bank.close();
  for (const [name, { transferId, holdId, debit, credit }] of Object.entries(made)) {
    ids[name] = transferId;
    ids[`${name}_hold`] = holdId;
    if (debit) ids[`${name}_debit`] = debit.transactionId;
    if (credit) ids[`${name}_credit`] = credit.transactionId;
  }
  client = new Client({ connectionString: database.url });
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await database.drop();
});

interface Tampering {
  readonly what: string;
  /** `:name` stands for an id. Account 1 and most transfers are of shard 0, account 2 is of shard 1. */
  readonly sql: string;
  /** Without those of the chain, by account. */
  readonly found: Readonly<Record<number, readonly string[]>>;
}

const OF_CHAINS = ['hashes_run_on', 'head_is_last'];
const [OUTGOING, INCOMING, PAIR] = ['outgoing_are_transactions', 'incoming_are_credits', PAIRS.name];
const [CAPTURING, KEYS, BALANCE] = ['capturing_is_pending', 'capture_keys_are_unique', 'transfers_balance'];
const [REVERSALS, DETAILS] = ['reversals_are_covered', 'details_are_theirs'];

const outgoing = (name: string, change: string) =>
  `UPDATE bank_0.transfers SET ${change} WHERE transfer_id = :${name}`;
const incoming = (name: string, change: string) =>
  `UPDATE bank_1.incoming_transfers SET ${change} WHERE transfer_id = :${name}`;

const TAMPERINGS: readonly Tampering[] = [
  {
    what: 'a completed transfer as pending',
    sql: outgoing(
      'completed',
      `status = 'pending', credit_id = NULL, credit_balance_after = NULL, credit_version_after = NULL, credited_at = NULL`,
    ),
    found: { 1: [OUTGOING, CAPTURING] },
  },
  {
    what: 'a pending transfer as failed',
    sql: outgoing('begun', `status = 'failed', rejection = '{}'`),
    found: { 1: [OUTGOING, CAPTURING, PAIR] },
  },
  {
    what: 'a refused transfer as completed',
    sql: outgoing(
      'refused',
      `status = 'completed', credit_id = 2, credit_balance_after = 1, credit_version_after = 2, credited_at = now()`,
    ),
    found: { 1: [OUTGOING, CAPTURING, PAIR] },
  },
  {
    what: 'an unknown status',
    sql: outgoing('failed', `status = 'lost'`),
    found: { 1: [OUTGOING, PAIR] },
  },
  { what: 'another amount', sql: outgoing('completed', 'amount = 41'), found: { 1: [OUTGOING, PAIR] } },
  {
    what: 'another amount of a capture that is pending',
    sql: outgoing('capturing', 'amount = 5'),
    found: { 1: [CAPTURING] },
  },
  { what: 'another target', sql: outgoing('completed', 'to_account_id = 4'), found: { 1: [PAIR] } },
  {
    what: 'a target in the same shard',
    sql: outgoing('completed', 'to_account_id = 3'),
    found: { 1: [OUTGOING], 2: [PAIR] },
  },
  {
    what: 'another nonce',
    sql: outgoing('completed', 'nonce = gen_random_uuid()'),
    found: { 1: [PAIR], 2: [PAIR] },
  },
  {
    what: 'a transfer that is gone',
    sql: `DELETE FROM bank_0.transfers WHERE transfer_id = :completed`,
    found: { 1: [BALANCE], 2: [PAIR] },
  },
  {
    what: 'a pending transfer that is gone',
    sql: `DELETE FROM bank_0.transfers WHERE transfer_id = :begun`,
    found: { 1: [BALANCE, CAPTURING] },
  },
  {
    what: 'a capture that is gone',
    sql: `DELETE FROM bank_0.transfers WHERE transfer_id = :capturing`,
    found: { 1: [DETAILS, CAPTURING] },
  },
  {
    what: 'a hold that is gone',
    sql: `DELETE FROM bank_0.holds WHERE hold_id = :begun`,
    found: { 1: ['holds_are_held', 'holds_are_transactions', OUTGOING, CAPTURING] },
  },
  {
    what: 'more on its way than was begun',
    sql: `UPDATE bank_0.holds SET capturing = capturing + 1 WHERE hold_id = :capturing_hold`,
    found: { 1: [CAPTURING] },
  },
  {
    what: 'a debit of no transfer',
    sql: `UPDATE bank_0.archived_transactions SET transfer_id = NULL WHERE transaction_id = :captured_debit`,
    found: { 1: [OUTGOING] },
  },
  {
    what: "a debit of another's hold",
    sql: `UPDATE bank_0.archived_transactions SET hold_id = :failed WHERE transaction_id = :completed_debit`,
    found: { 1: ['holds_are_transactions', OUTGOING] },
  },
  ...[
    'credit_id = credit_id + 2',
    'credit_balance_after = 1',
    'credit_version_after = 9',
    'credited_at = now()',
  ].map((change) => ({
    what: `another credit: ${change}`,
    sql: outgoing('completed', change),
    found: { 1: [PAIR] },
  })),
  {
    what: 'a credit in the same shard',
    sql: outgoing('completed', 'credit_id = 1'),
    found: { 1: [OUTGOING, PAIR] },
  },
  ...['final = false', `idempotency_key = 'k'`, `created_at = created_at - interval '1 s'`].map((change) => ({
    what: `a transfer with a hold of its own and ${change}`,
    sql: outgoing('failed', change),
    found: { 1: [OUTGOING] },
  })),
  {
    what: 'a hold of a transfer that expires',
    sql: `UPDATE bank_0.holds SET expires_at = '2099-01-01' WHERE hold_id = :begun`,
    found: { 1: [OUTGOING] },
  },
  {
    what: 'a capture of a hold that had expired',
    sql: `UPDATE bank_0.holds SET expires_at = created_at + interval '1 ms' WHERE hold_id = :captured_hold;
          UPDATE bank_0.transfers SET created_at = created_at + interval '1 s' WHERE hold_id = :captured_hold`,
    found: { 1: [OUTGOING] },
  },
  {
    what: 'a capture that reverses something',
    sql: outgoing('released', 'reverses_transfer_id = 2, reverses_credit_id = 1, reverses_debit_id = 2'),
    found: { 1: [OUTGOING] },
  },
  {
    what: 'a capture before its hold',
    sql: outgoing('released', `created_at = created_at - interval '1 day'`),
    found: { 1: [OUTGOING] },
  },
  {
    what: 'a reversal of another credit',
    sql: 'UPDATE bank_1.transfers SET reverses_credit_id = 2 WHERE transfer_id = :back',
    found: { 2: [OUTGOING] },
  },
  {
    what: 'a reversal of another debit',
    sql: 'UPDATE bank_1.transfers SET reverses_debit_id = 1 WHERE transfer_id = :back',
    found: { 2: [PAIR] },
  },
  {
    what: 'a reversal of another transfer',
    sql: 'UPDATE bank_1.transfers SET reverses_transfer_id = :captured WHERE transfer_id = :back',
    found: { 2: [OUTGOING] },
  },
  {
    what: 'a release of a reversal that gives no claim back',
    sql: `UPDATE bank_1.archived_transactions SET reverses_id = NULL WHERE type = 'release' AND hold_id = :claimed`,
    found: { 2: [OUTGOING] },
  },
  {
    what: 'a release that gives back more than was claimed',
    sql: `UPDATE bank_1.archived_transactions SET reverses_id = NULL
          WHERE transfer_id IN (:claimed, :back) AND type IN ('hold', 'debit');
          UPDATE bank_1.transactions SET reverses_id = NULL WHERE transfer_id = :credited`,
    found: { 2: [REVERSALS, OUTGOING] },
  },
  {
    what: 'claims of more than was credited',
    sql: `UPDATE bank_1.archived_transactions SET amount = 11 WHERE transaction_id = :completed_credit`,
    found: { 2: ['balance_is_sum', 'balances_run_on', REVERSALS, INCOMING] },
  },
  {
    what: 'a claim to what is no credit from elsewhere',
    sql: `UPDATE bank_0.transactions SET reverses_id = :completed_debit WHERE transaction_id = :begun`,
    found: { 1: [REVERSALS, OUTGOING] },
  },
  ...['rent', 'capturing'].map((key) => ({
    what: `the key of a capture that was used before: ${key}`,
    sql: outgoing('captured', `idempotency_key = '${key}'`),
    found: { 1: [KEYS] },
  })),
  {
    what: 'the key of a capture that a refusal has spent',
    sql: `INSERT INTO bank_0.refused_submissions (account_id, idempotency_key, rejection, refused_at)
          VALUES (1, 'captured', '{}', now())`,
    found: { 1: [KEYS] },
  },
  {
    what: 'details of a capture of another account',
    sql: `UPDATE bank_0.transaction_details SET account_id = 3 WHERE transaction_id = :released`,
    // Found by the check of details, for an account that does not exist.
    found: { 3: ['account_exists'] },
  },
  {
    what: 'a credit whose decision is gone',
    sql: `DELETE FROM bank_1.incoming_transfers WHERE transfer_id = :completed`,
    found: { 1: [PAIR], 2: [INCOMING] },
  },
  {
    what: 'a decision that is gone before it was carried out',
    sql: `DELETE FROM bank_0.incoming_transfers WHERE transfer_id = :credited`,
    found: { 1: [INCOMING] },
  },
  {
    what: 'a refusal that is gone',
    sql: `DELETE FROM bank_1.incoming_transfers WHERE transfer_id = :failed`,
    found: { 1: [PAIR] },
  },
  {
    what: 'a decision that is there twice',
    sql: `INSERT INTO bank_1.incoming_transfers
          SELECT incoming_id + 100, transfer_id, nonce, account_id, from_account_id, amount, decided_at, credit_id, rejection
          FROM bank_1.incoming_transfers WHERE transfer_id = :failed`,
    found: { 2: [INCOMING] },
  },
  {
    what: 'a credit as refused',
    sql: incoming('completed', `credit_id = NULL, rejection = '{}'`),
    found: { 1: [PAIR], 2: [INCOMING] },
  },
  {
    what: "a refusal with another transfer's credit",
    sql: incoming('failed', 'credit_id = :completed_credit, rejection = NULL'),
    found: { 1: [PAIR], 2: [INCOMING] },
  },
  {
    what: 'another amount that arrived',
    sql: incoming('completed', 'amount = 41'),
    found: { 1: [PAIR], 2: [INCOMING] },
  },
  { what: 'another source', sql: incoming('completed', 'from_account_id = 3'), found: { 1: [PAIR] } },
  {
    what: 'another source of a transfer that is pending',
    sql: incoming('refused', 'from_account_id = 3'),
    found: { 1: [PAIR] },
  },
  {
    what: 'a source of another shard than the transfer',
    sql: incoming('completed', 'from_account_id = 4'),
    found: { 1: [PAIR], 2: [INCOMING] },
  },
  {
    what: 'another time of a decision',
    sql: incoming('completed', 'decided_at = now()'),
    found: { 2: [INCOMING] },
  },
  {
    what: 'a credit of no transfer',
    sql: `UPDATE bank_1.archived_transactions SET transfer_id = NULL WHERE transaction_id = :captured_credit`,
    found: { 2: [INCOMING] },
  },
  {
    what: 'a deposit as the credit of a transfer from elsewhere',
    sql: `UPDATE bank_1.archived_transactions SET transfer_id = 99 WHERE version_after = 2`,
    found: { 2: [INCOMING] },
  },
];

/** What is found wrong while a change is not committed. */
async function foundAfter(sql: string): Promise<Record<number, string[]>> {
  await client.query('BEGIN');
  try {
    // Somebody who edits rows may first remove constraints, so none of them must be what finds the edit.
    const { rows } = await client.query<{ statement: string }>(`
      SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS statement FROM pg_constraint
      WHERE connamespace IN ('bank_0'::regnamespace, 'bank_1'::regnamespace) AND contype <> 'n'
      ORDER BY contype = 'f' DESC`);
    const statements = [
      ...rows.map((row) => row.statement),
      'DROP INDEX bank_0.unique_capture_key_per_account',
    ];
    await client.query(statements.join(';'));
    await client.query(sql.replace(/:([a-z]\w*)/g, (_, name: string) => String(ids[name])));
    const sides = shards.map(({ schema }) => ({ client, schema }));
    const unpaired = await unpairedAccounts(sides, 10);
    const found: Record<number, string[]> = {};
    for (const [index, { schema }] of shards.entries()) {
      const { faults } = await verifyInSnapshot(client, schema, index, 2, {}, unpaired[index]);
      for (const { accountId, checks } of faults) {
        const others = checks.filter((check) => !OF_CHAINS.includes(check));
        if (others.length > 0) found[accountId] = others;
      }
    }
    return found;
  } finally {
    await client.query('ROLLBACK');
  }
}

describe('verify of transfers between shards', () => {
  it('finds nothing wrong with them at any of their steps', async () => {
    expect(await verifyBank(shards)).toMatchObject({ accounts: 2, faults: [], ok: true });
    expect(await foundAfter('SELECT')).toEqual({});
    // Without these, nothing of it would be tested.
    const { rows } = await client.query(
      `SELECT string_agg(status || CASE WHEN hold_id <> transfer_id THEN ' capture' ELSE '' END, ', '
                         ORDER BY account_id, transfer_id) AS all FROM
         (TABLE bank_0.transfers UNION ALL TABLE bank_1.transfers) t`,
    );
    expect(rows).toEqual([
      {
        all:
          'completed, failed, completed capture, failed capture, pending, pending, pending capture, ' +
          'completed, failed, pending',
      },
    ]);
  });

  it.each(TAMPERINGS)('finds $what', async ({ sql, found }) => {
    expect(await foundAfter(sql)).toEqual(found);
  });

  it('reports an unpaired transfer like any other fault, once for its account', async () => {
    const nonce =
      'UPDATE bank_0.transfers SET nonce = gen_random_uuid() WHERE transfer_id = $1 RETURNING nonce';
    const { rows } = await client.query<{ nonce: string }>(
      'SELECT nonce FROM bank_0.transfers WHERE transfer_id = $1',
      [ids['failed']],
    );
    await client.query(nonce, [ids['failed']]);
    expect(await verifyBank(shards)).toMatchObject({
      faults: [{ accountId: 1, checks: [PAIRS.name] }],
      ...{ faulty: 1, ok: false },
    });
    await client.query('UPDATE bank_0.transfers SET nonce = $2 WHERE transfer_id = $1', [
      ids['failed'],
      rows[0]?.nonce,
    ]);
    expect((await verifyBank(shards)).ok).toBe(true);
  });
});

/** Answers like a client, and does some work after it has answered the first query for rows. */
function clientThatThen(work: () => Promise<unknown>) {
  const reads: string[] = [];
  const query = async (sql: string, values?: unknown[]) => {
    const answer = await client.query(sql, values);
    if (sql.startsWith('SELECT *') && reads.push(sql) === 1) await work();
    return answer;
  };
  return { client: { query } as unknown as Pick<Client, 'query'>, reads };
}

describe('verify while transfers go on', () => {
  let bank: TwoShards;

  beforeAll(async () => {
    bank = await TwoShards.open(shards);
  });
  afterAll(() => bank.close());

  it('takes no step between the reading of the two sides for a fault', async () => {
    const transfers = await Promise.all([1, 2, 3].map((cents) => bank.begin(1, 2, BigInt(cents))));
    const [settled, decided] = transfers as [OutgoingTransfer, OutgoingTransfer];
    const source = clientThatThen(async () => {
      // Ahead of what was read: one that was pending is completed, one is decided, and one has only begun since.
      await bank.finish(settled);
      await bank.decide(decided);
      await bank.finish(await bank.begin(1, 2, 4n));
    });
    const sides = [
      { client: source.client, schema: 'bank_0' },
      { client, schema: 'bank_1' },
    ];
    expect(await unpairedAccounts(sides, 10)).toEqual([new Set(), new Set()]);
    // The one that has begun since was read again.
    expect(source.reads[1]).toContain('unnest');
    for (const transfer of transfers) await bank.finish(transfer);
  });

  it('finds nothing wrong, however often it looks', async () => {
    let [working, rounds] = [true, 0];
    const work = [0, 1, 2, 3].map(async (n) => {
      const [from, to] = n % 2 === 0 ? [1, 2] : [2, 1];
      for (; working; rounds++) {
        const transfer = await bank.begin(from, to, 1n);
        await bank.finish(transfer, rounds % 3 === 0);
      }
    });
    const seen: number[] = [];
    for (let round = 0; round < 10; round++) {
      expect((await verifyBank(shards)).faults).toEqual([]);
      seen.push(rounds);
    }
    working = false;
    await Promise.all(work);
    // They did go on meanwhile.
    expect(new Set(seen).size).toBeGreaterThan(5);
  });
});

describe('verify of many transfers', () => {
  const TRANSFERS = 25_000;
  const FIRST = 1_000_001;

  it('goes through all ranges, of whichever side has more', async () => {
    await client.query('BEGIN');
    // As far as pairs are concerned: refused ones, and as many again that the source does not know.
    await client.query(`
      INSERT INTO bank_0.transfers (transfer_id, nonce, account_id, to_account_id, amount, hold_id, final, created_at,
                                    status, rejection)
        SELECT ${FIRST} + 2 * n, gen_random_uuid(), 1, 2, 1, 1, true, now(), 'failed', '{}'
        FROM generate_series(0, ${TRANSFERS - 1}) n;
      INSERT INTO bank_1.incoming_transfers (transfer_id, nonce, account_id, from_account_id, amount, decided_at, rejection)
        SELECT transfer_id, nonce, to_account_id, account_id, amount, now(), rejection FROM bank_0.transfers
        WHERE transfer_id >= ${FIRST} UNION ALL
        SELECT transfer_id, gen_random_uuid(), 2, 1, 1, now(), '{}' FROM bank_0.transfers WHERE transfer_id >= ${FIRST}`);
    const sides = shards.map(({ schema }) => ({ client, schema }));
    expect(await unpairedAccounts(sides, 10)).toEqual([new Set(), new Set()]);
    const edges = [0, 4_999, 5_000, 9_999, 10_000, 19_999, 20_000, TRANSFERS - 1];
    for (const n of edges)
      await client.query('UPDATE bank_0.transfers SET account_id = $1 WHERE transfer_id = $2', [
        ...[1_001 + 2 * n, FIRST + 2 * n],
      ]);
    const [ofSource, ofTarget] = await unpairedAccounts(sides, 10);
    expect([...(ofSource ?? [])]).toEqual(edges.map((n) => String(1_001 + 2 * n)));
    expect(ofTarget).toEqual(new Set());
    expect((await unpairedAccounts(sides, 3))[0]?.size).toBe(3);
    await client.query('ROLLBACK');
  });
});
