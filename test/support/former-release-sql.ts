import { randomUUID } from 'node:crypto';
import type { Client } from 'pg';
import { chain } from '../../src/domain/hash-chain.js';

/*
 * What the release before the whole ledger sends, as its server's log showed it (log_statement = all) under
 * postings, openings, `archive`, `backup` and a start. A test replays it beside this release.
 */

const BEGIN =
  'BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = 1000; SET LOCAL statement_timeout = 5000';

const LOCK = `SELECT "account"."account_id" AS "account_id", "account"."balance" AS "balance", "account"."version" AS "version", encode("account"."head_hash", 'hex') AS "head_hash" FROM "bank"."accounts" "account" WHERE "account"."account_id" = ANY($1) ORDER BY "account"."account_id" ASC FOR UPDATE`;

const DRAW = `SELECT ARRAY(
      SELECT nextval(sequence) FROM generate_series(1, $3::int),
        (SELECT pg_get_serial_sequence($1, $2)::regclass AS sequence OFFSET 0) named
    ) AS ids_0, ARRAY(
      SELECT nextval(sequence) FROM generate_series(1, $6::int),
        (SELECT pg_get_serial_sequence($4, $5)::regclass AS sequence OFFSET 0) named
    ) AS ids_1, date_trunc('milliseconds', clock_timestamp()) AS drawn_at`;

const INSERT_TRANSACTIONS = `INSERT INTO "bank".transactions
       (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, hash, timestamp)
     SELECT transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key,
            decode(hash, 'hex'), $9::timestamptz
     FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::numeric[], $5::numeric[], $6::bigint[], $7::text[],
                 $8::text[])
       AS p (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, hash)
     LEFT JOIN (SELECT FROM "bank".accounts LIMIT 0) nothing ON true`;

const INSERT_OUTBOX = `INSERT INTO "bank".outbox (outbox_id, transaction_ids) VALUES ($1, $2::bigint[])`;

const UPDATE_ACCOUNTS = `WITH changed AS (
         UPDATE "bank".accounts AS a
         SET balance = c.balance, version = c.version, head_hash = decode(c.head_hash, 'hex')
         FROM unnest($1::bigint[], $2::numeric[], $3::bigint[], $4::bigint[], $5::text[])
           AS c (account_id, balance, version, version_read, head_hash)
         WHERE a.account_id = c.account_id AND a.version = c.version_read
         RETURNING 1
       ), posted AS (
         SELECT FROM unnest($6::bigint[]) AS listed (listed_id),
           LATERAL (SELECT FROM "bank".transactions WHERE transaction_id = listed_id LIMIT 1) found
       ), counted AS (
         SELECT (SELECT count(*) FROM changed) AS changed, (SELECT count(*) FROM posted) AS posted
       )
       SELECT CASE WHEN changed <> $7::bigint
                   THEN ('a row changed under its lock: updated ' || changed || ' of ' || $7::bigint || ' accounts')::bigint
                   WHEN posted <> $8::bigint
                   THEN ('inserted ' || posted || ' of ' || $8::bigint || ' transactions')::bigint
              END
       FROM counted`;

/** Runs statements in a transaction, as the former release does. */
async function inTransaction<T>(client: Client, work: () => Promise<T>): Promise<T> {
  await client.query(BEGIN);
  try {
    const result = await work();
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

/** On a direct connection its statements are prepared, each once. */
const prepared = (client: Client, name: string, text: string, values: unknown[]) =>
  client.query<Record<string, string>>({ name, text, values });

async function postInside(client: Client, accountId: number, idempotencyKey: string | null): Promise<void> {
  const locked = await prepared(client, 'bank-0', LOCK, [`{${accountId}}`]);
  const [account] = locked.rows as [{ balance: string; version: string; head_hash: string }];
  const drawn = await prepared(client, 'bank-1', DRAW, [
    ...['"bank".transactions', 'transaction_id', 1],
    ...['"bank".outbox', 'outbox_id', 1],
  ]);
  const [{ ids_0, ids_1, drawn_at: timestamp }] = drawn.rows as unknown as [
    { ids_0: [string]; ids_1: [string]; drawn_at: Date },
  ];
  const cents = BigInt(account.balance.replace('.', '')) + 1n;
  const balance = `${cents / 100n}.${String(cents % 100n).padStart(2, '0')}`;
  const version = Number(account.version) + 1;
  const transaction = {
    ...({ transactionId: Number(ids_0[0]), accountId, type: 'credit', amount: 1n, timestamp } as const),
    ...{
      balanceAfter: cents,
      heldAfter: 0n,
      versionAfter: version,
      decimals: 2,
      idempotencyKey: idempotencyKey ?? undefined,
    },
  };
  const [hash] = chain([transaction], () => account.head_hash);
  const keys = idempotencyKey === null ? '{NULL}' : `{"${idempotencyKey}"}`;
  await prepared(client, 'bank-2', INSERT_TRANSACTIONS, [
    ...[`{${ids_0[0]}}`, `{${accountId}}`, '{credit}', '{0.01}', `{${balance}}`, `{${version}}`, keys],
    ...[`{${hash}}`, timestamp],
  ]);
  await prepared(client, 'bank-3', INSERT_OUTBOX, [ids_1[0], `{${ids_0[0]}}`]);
  await prepared(client, 'bank-4', UPDATE_ACCOUNTS, [
    ...[
      `{${accountId}}`,
      `{${balance}}`,
      `{${version}}`,
      `{${account.version}}`,
      `{${hash}}`,
      `{${ids_0[0]}}`,
    ],
    ...[1, 1],
  ]);
}

/** Posts a deposit of 0.01. */
export const formerPost = (client: Client, accountId: number, idempotencyKey: string | null = null) =>
  inTransaction(client, () => postInside(client, accountId, idempotencyKey));

/** Opens an account, without or with an opening deposit of 0.01. @returns its id */
export const formerOpen = (client: Client, withDeposit: boolean) =>
  inTransaction(client, async () => {
    const { rows } = await client.query<{ account_id: string }>(
      `INSERT INTO "bank"."accounts"("account_id", "balance", "version", "owner", "revision", "head_hash") VALUES (DEFAULT, $1, 1, $2, DEFAULT, DEFAULT) RETURNING "account_id", "version", "revision", "head_hash"`,
      ['0.00', null],
    );
    const accountId = Number(rows[0]?.account_id);
    if (withDeposit) await postInside(client, accountId, null);
    return accountId;
  });

/** Records an act: what `archive`, `backup`, `seed`, `reset`, `shards move` and each change of keys or owners does first. */
export const formerRecordAct = (client: Client) =>
  inTransaction(client, () =>
    client.query(
      `INSERT INTO "bank".audit_events (event_id, happened_at, action, actor, details, hash)
     VALUES ($1, $2, $3, $4, $5, decode($6, 'hex'))`,
      [1_000_000, new Date(), 'transactions.archived', 'root', '{}', '00'.repeat(32)],
    ),
  );

/** What each start and each command reads before anything else. */
export const formerStart = (client: Client) =>
  client.query(
    `SELECT "ShardIdentityEntity"."only_row" AS "ShardIdentityEntity_only_row", "ShardIdentityEntity"."bank_id" AS "ShardIdentityEntity_bank_id", "ShardIdentityEntity"."shard_index" AS "ShardIdentityEntity_shard_index", "ShardIdentityEntity"."shard_count" AS "ShardIdentityEntity_shard_count", "ShardIdentityEntity"."relay_to_broker" AS "ShardIdentityEntity_relay_to_broker", "ShardIdentityEntity"."created_at" AS "ShardIdentityEntity_created_at", "ShardIdentityEntity"."relay_id" AS "ShardIdentityEntity_relay_id", "ShardIdentityEntity"."relay_until" AS "ShardIdentityEntity_relay_until" FROM "bank"."shard_identity" "ShardIdentityEntity"`,
  );

/** Takes the lease on the outbox, reads its head, removes it. @returns how many rows it took */
export const formerRelay = (client: Client) =>
  inTransaction(client, async () => {
    const relayId = randomUUID();
    await client.query(
      `SELECT clock_timestamp() + $1 * interval '1 millisecond' AS "until" FROM "bank"."shard_identity" "shard" WHERE ("shard"."relay_until" IS NULL OR "shard"."relay_until" < clock_timestamp() OR "shard"."relay_id" = $2) AND ($3::boolean OR NOT "shard"."relay_to_broker") FOR UPDATE SKIP LOCKED`,
      [5_000, relayId, false],
    );
    await client.query(
      `UPDATE "bank"."shard_identity" SET "relay_id" = $1, "relay_until" = $2 WHERE "only_row" = $3`,
      [relayId, new Date(), true],
    );
    const { rows } = await client.query<{ outbox_id: string }>(
      `SELECT outbox_id FROM (SELECT * FROM "bank".outbox ORDER BY outbox_id LIMIT 200) head`,
    );
    await client.query(`DELETE FROM "bank"."outbox" WHERE "outbox_id" = ANY($1)`, [
      rows.map((row) => row.outbox_id),
    ]);
    return rows.length;
  });

/** What the former release reads on a connection that it keeps. */
export const formerRead = (client: Client, accountId: number) =>
  prepared(
    client,
    'bank-9',
    'SELECT account_id, balance, version, owner FROM "bank".accounts WHERE account_id = $1',
    [accountId],
  );
