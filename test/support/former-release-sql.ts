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

/*
 * What the release before transfers between shards sends, recorded in the same way under deposits, holds, captures,
 * voids, a recorded act, a relay and a start.
 */

const LOCK_WHOLE = `SELECT "account"."account_id" AS "account_id", "account"."balance" AS "balance", "account"."version" AS "version", CASE WHEN ("account"."held", "account"."active_holds", "account"."overdraft_limit", "account"."status", "account"."revision")
                           <> (0, 0, 0, 'open', 0) OR "account"."currency" IS NOT NULL
                      THEN json_build_object('held', CAST("account"."held" AS text), 'active_holds', "account"."active_holds", 'overdraft_limit', CAST("account"."overdraft_limit" AS text), 'status', "account"."status", 'revision', "account"."revision", 'currency', "account"."currency") END AS "special", encode("account"."head_hash", 'hex') AS "head_hash", (extract(epoch FROM "account"."posted_at") * 1000)::bigint AS "posted_ms" FROM "bank"."accounts" "account" WHERE "account"."account_id" = ANY($1) ORDER BY "account"."account_id" ASC FOR UPDATE`;

const SELECT_HOLD = `SELECT hold_id, account_id, amount, remaining, captured, status, expires_at, created_at FROM "bank".holds WHERE hold_id = ANY($1::bigint[])`;

const INSERT_LINKED = `INSERT INTO "bank".transactions (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, hash, timestamp, held_after, transfer_id, hold_id, reverses_id, fingerprint)
     SELECT transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, decode(hash, 'hex'), $9::timestamptz, held_after, transfer_id, hold_id, reverses_id, fingerprint
     FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::numeric[], $5::numeric[], $6::bigint[], $7::text[],
                 $8::text[], $10::numeric[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[])
       AS p (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, hash, held_after, transfer_id, hold_id, reverses_id, fingerprint)
     LEFT JOIN (SELECT FROM "bank".accounts LIMIT 0) nothing ON true`;

const WRITE_HOLDS = `INSERT INTO "bank".holds AS h (hold_id, account_id, amount, remaining, captured, status, expires_at, created_at)
     SELECT hold_id, account_id, amount, remaining, captured, status, expires_at::timestamptz, created_at::timestamptz
     FROM unnest($1::bigint[], $2::bigint[], $3::numeric[], $4::numeric[], $5::numeric[], $6::text[], $7::text[],
                 $8::text[]) AS p (hold_id, account_id, amount, remaining, captured, status, expires_at, created_at)
     LEFT JOIN (SELECT FROM "bank".accounts LIMIT 0) nothing ON true
     ON CONFLICT (hold_id) DO UPDATE
       SET remaining = excluded.remaining, captured = excluded.captured, status = excluded.status`;

const INSERT_WHOLE_OUTBOX = `INSERT INTO "bank".outbox (outbox_id, transaction_ids, account_event_ids)
     VALUES ($1, $2::bigint[], $3::bigint[])`;

const UPDATE_WHOLE = `WITH changed AS (
       UPDATE "bank".accounts AS a
       SET balance = c.balance, version = c.version, head_hash = decode(c.head_hash, 'hex'),
           posted_at = CASE WHEN c.version > c.version_read THEN $9::timestamptz ELSE a.posted_at END
           , held = c.held, active_holds = c.active_holds, overdraft_limit = c.overdraft_limit, status = c.status, revision = c.revision
       FROM unnest($1::bigint[], $2::numeric[], $3::bigint[], $4::bigint[], $5::text[]
                   , $10::numeric[], $11::int[], $12::numeric[], $13::text[], $14::int[])
         AS c (account_id, balance, version, version_read, head_hash, held, active_holds, overdraft_limit, status, revision)
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

/** What a hold of 0.03 may end with; undefined: it is placed. */
type HoldAct = { readonly holdId: number; readonly as: 'captured' | 'voided' } | undefined;

const asCents = (text: string) => BigInt(text.replace('.', ''));
const asMoney = (cents: bigint) => `${cents / 100n}.${String(cents % 100n).padStart(2, '0')}`;

/** The transactions of 0.03 by which a hold is placed, captured or voided; or, without a hold, one deposit. */
const TYPES = {
  placed: ['hold'],
  captured: ['release', 'debit'],
  voided: ['release'],
  none: ['credit'],
} as const;

async function postWhole(client: Client, accountId: number, what: HoldAct | 'deposit'): Promise<number> {
  const isDeposit = what === 'deposit';
  const act = isDeposit ? 'none' : (what?.as ?? 'placed');
  const { rows } = await prepared(client, 'bank-1', LOCK_WHOLE, [`{${accountId}}`]);
  const [locked] = rows as unknown as [
    { balance: string; version: string; head_hash: string; special: { held: string } | null },
  ];
  const held = asCents(locked.special?.held ?? '0.00');
  if (typeof what === 'object') await prepared(client, 'bank-2', SELECT_HOLD, [`{${what.holdId}}`]);
  const types = TYPES[act];
  const drawn = await prepared(client, 'bank-3', DRAW, [
    ...['"bank".transactions', 'transaction_id', types.length],
    ...['"bank".outbox', 'outbox_id', 1],
  ]);
  const [{ ids_0: ids, ids_1: outboxIds, drawn_at: timestamp }] = drawn.rows as unknown as [
    { ids_0: string[]; ids_1: [string]; drawn_at: Date },
  ];
  const holdId = isDeposit ? undefined : (what?.holdId ?? Number(ids[0]));
  let [balance, heldAfter] = [asCents(locked.balance), held];
  const transactions = types.map((type, place) => {
    balance += type === 'credit' ? 3n : type === 'debit' ? -3n : 0n;
    heldAfter += type === 'hold' ? 3n : type === 'release' ? -3n : 0n;
    return {
      ...{ transactionId: Number(ids[place]), accountId, type, amount: 3n, timestamp, holdId },
      ...{ balanceAfter: balance, heldAfter, versionAfter: Number(locked.version) + place + 1, decimals: 2 },
    };
  });
  const hashes = chain(transactions, () => locked.head_hash);
  const each = (of: (transaction: (typeof transactions)[0]) => unknown) =>
    `{${transactions.map(of).join(',')}}`;
  await prepared(client, 'bank-4', INSERT_LINKED, [
    ...[`{${ids.join(',')}}`, each(() => accountId), each(({ type }) => type), each(() => '0.03')],
    ...[each(({ balanceAfter }) => asMoney(balanceAfter)), each(({ versionAfter }) => versionAfter)],
    ...[each(() => 'NULL'), `{${hashes.join(',')}}`, timestamp],
    ...[each((one) => (one.heldAfter === 0n ? 'NULL' : asMoney(one.heldAfter))), each(() => 'NULL')],
    ...[each(() => holdId ?? 'NULL'), each(() => 'NULL'), each(() => 'NULL')],
  ]);
  if (!isDeposit) {
    const [remaining, captured] = [act === 'placed' ? '0.03' : '0.00', act === 'captured' ? '0.03' : '0.00'];
    const status = act === 'placed' ? 'active' : act;
    await prepared(client, 'bank-5', WRITE_HOLDS, [
      ...[`{${holdId}}`, `{${accountId}}`, '{0.03}', `{${remaining}}`, `{${captured}}`, `{${status}}`],
      ...['{NULL}', `{"${timestamp.toISOString()}"}`],
    ]);
  }
  await prepared(client, 'bank-6', INSERT_WHOLE_OUTBOX, [outboxIds[0], `{${ids.join(',')}}`, '{}']);
  const last = transactions.at(-1);
  await prepared(client, 'bank-7', UPDATE_WHOLE, [
    ...[`{${accountId}}`, `{${asMoney(balance)}}`, `{${last?.versionAfter}}`, `{${locked.version}}`],
    ...[`{${hashes.at(-1)}}`, `{${ids.join(',')}}`, 1, types.length, timestamp],
    ...[`{${asMoney(heldAfter)}}`, `{${heldAfter > 0n ? 1 : 0}}`, '{0.00}', '{open}', '{0}'],
  ]);
  return Number(ids[0]);
}

/** What an instance of the release before transfers between shards does with account 1, which has one hold at most. */
export const beforeBetweenShards = {
  /** Of 0.03. */
  deposit: (client: Client) => inTransaction(client, () => postWhole(client, 1, 'deposit')),
  /** Places a hold of 0.03. @returns its id */
  hold: (client: Client) => inTransaction(client, () => postWhole(client, 1, undefined)),
  /** Ends such a hold. */
  end: (client: Client, holdId: number, as: 'captured' | 'voided') =>
    inTransaction(client, () => postWhole(client, 1, { holdId, as })),

  /** Records an act: what an archive, a backup, a move and each change of keys or owners does first. */
  recordAct: (client: Client) =>
    inTransaction(client, async () => {
      const { rows } = await client.query<{ has_epoch: boolean }>(
        `SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'epoch') AS has_epoch`,
        ['"bank".audit_events'],
      );
      const epoch = rows[0]?.has_epoch ? [', epoch', ', 2'] : ['', ''];
      await client.query(
        `INSERT INTO "bank".audit_events (event_id, happened_at, action, actor, details, hash${epoch[0]})
     VALUES ($1, $2, $3, $4, $5, decode($6, 'hex')${epoch[1]})`,
        [1_000_000, new Date(), 'transactions.archived', 'root', '{}', '00'.repeat(32)],
      );
    }),

  /** Takes the lease on the outbox, as its relay does before it reads the outbox. */
  relay: (client: Client) =>
    inTransaction(client, async () => {
      const relayId = randomUUID();
      await client.query(
        `SELECT clock_timestamp() + $1 * interval '1 millisecond' AS "until" FROM "bank"."shard_identity" "shard" WHERE ("shard"."relay_leased_until" IS NULL OR "shard"."relay_leased_until" < clock_timestamp() OR "shard"."relay_id" = $2) AND NOT "shard"."relay_to_broker" FOR UPDATE SKIP LOCKED`,
        [5_000, relayId],
      );
      await client.query(
        `UPDATE "bank"."shard_identity" SET "relay_id" = $1, "relay_leased_until" = $2 WHERE "only_row" = $3`,
        [relayId, new Date(), true],
      );
    }),

  /** What each start reads, of the schema of the last migration that it knows. */
  start: (client: Client) =>
    client.query(
      `SELECT "ShardIdentityEntity"."only_row" AS "ShardIdentityEntity_only_row", "ShardIdentityEntity"."bank_id" AS "ShardIdentityEntity_bank_id", "ShardIdentityEntity"."shard_index" AS "ShardIdentityEntity_shard_index", "ShardIdentityEntity"."shard_count" AS "ShardIdentityEntity_shard_count", "ShardIdentityEntity"."relay_to_broker" AS "ShardIdentityEntity_relay_to_broker", "ShardIdentityEntity"."currency" AS "ShardIdentityEntity_currency", "ShardIdentityEntity"."created_at" AS "ShardIdentityEntity_created_at", "ShardIdentityEntity"."relay_id" AS "ShardIdentityEntity_relay_id", "ShardIdentityEntity"."relay_leased_until" AS "ShardIdentityEntity_relay_leased_until", "ShardIdentityEntity"."sweeper_id" AS "ShardIdentityEntity_sweeper_id", "ShardIdentityEntity"."sweeper_leased_until" AS "ShardIdentityEntity_sweeper_leased_until", "ShardIdentityEntity"."summary_id" AS "ShardIdentityEntity_summary_id", "ShardIdentityEntity"."summary_leased_until" AS "ShardIdentityEntity_summary_leased_until", "ShardIdentityEntity"."submission_secret" AS "ShardIdentityEntity_submission_secret" FROM "bank"."shard_identity" "ShardIdentityEntity"`,
    ),
};

/** What an instance of the release before the log of events does besides: its batches are those of {@link beforeBetweenShards}. */
export const beforeEventLog = {
  /** As an archive, a backup, a move and each change of keys or owners does first. */
  recordAct: (client: Client) =>
    inTransaction(client, async () => {
      const { rows } = await client.query<{ epoch_column: string | null }>(
        `SELECT (SELECT attname::text FROM pg_attribute
             WHERE attrelid = to_regclass($1) AND attname IN ('epoch', 'schema_epoch')) AS epoch_column`,
        ['"bank".audit_events'],
      );
      const epoch = rows[0]?.epoch_column ?? null;
      await client.query(
        `INSERT INTO "bank".audit_events (event_id, happened_at, action, actor, details, hash${epoch === null ? '' : `, ${epoch}`})
     VALUES ($1, $2, $3, $4, $5, decode($6, 'hex')${epoch === null ? '' : ', 2'})`,
        [1_000_000, new Date(), 'transactions.archived', 'root', '{}', '00'.repeat(32)],
      );
    }),

  /** Takes the lease on the outbox; one to a broker, too. */
  relay: (client: Client) =>
    inTransaction(client, async () => {
      const relayId = randomUUID();
      await client.query(
        `SELECT clock_timestamp() + $1 * interval '1 millisecond' AS "until" FROM "bank"."shard_identity" "shard" WHERE ("shard"."relay_lease_ends" IS NULL OR "shard"."relay_lease_ends" < clock_timestamp() OR "shard"."relay_id" = $2) AND true FOR UPDATE SKIP LOCKED`,
        [5_000, relayId],
      );
      await client.query(
        `UPDATE "bank"."shard_identity" SET "relay_to_broker" = $1, "relay_id" = $2, "relay_lease_ends" = $3 WHERE "only_row" = $4`,
        [true, relayId, new Date(), true],
      );
    }),

  /** Takes the lease on the outbox without a broker. */
  relayWithoutBroker: (client: Client) =>
    inTransaction(client, () =>
      client.query(
        `SELECT clock_timestamp() + $1 * interval '1 millisecond' AS "until" FROM "bank"."shard_identity" "shard" WHERE ("shard"."relay_lease_ends" IS NULL OR "shard"."relay_lease_ends" < clock_timestamp() OR "shard"."relay_id" = $2) AND NOT "shard"."relay_to_broker" FOR UPDATE SKIP LOCKED`,
        [5_000, randomUUID()],
      ),
    ),

  /** What each start reads. */
  start: (client: Client) =>
    client.query(
      `SELECT "ShardIdentityEntity"."only_row" AS "ShardIdentityEntity_only_row", "ShardIdentityEntity"."bank_id" AS "ShardIdentityEntity_bank_id", "ShardIdentityEntity"."relay_to_broker" AS "ShardIdentityEntity_relay_to_broker", "ShardIdentityEntity"."relay_lease_ends" AS "ShardIdentityEntity_relay_lease_ends", "ShardIdentityEntity"."transfers_id" AS "ShardIdentityEntity_transfers_id" FROM "bank"."shard_identity" "ShardIdentityEntity"`,
    ),
};
