import { escapeLiteral } from 'pg';
import type { ShardPlace } from '../../storage/migrate.js';
import { BETWEEN_SHARDS, isOfShard } from './between-shards-checks.js';
import { decimalsOf, GENESIS, type ShardCheck } from './checks.js';
import type { WholeSources } from './sources.js';

/**
 * The checks of rows that belong together though their accounts may be far apart, each made once for a shard. Written
 * like {@link CHECKS}: in SQL, without the ledger's code and without relying on constraints.
 */
export const SHARD_CHECKS: Readonly<Record<string, ShardCheck>> = {
  ids_are_unique: {
    says: 'no id of a transaction is in the archive and outside of it',
    sql: ({ parts, transactions }) =>
      parts &&
      `SELECT account_id FROM ${transactions} t WHERE transaction_id IN
         (SELECT transaction_id FROM ${parts.archived} JOIN ${parts.hot} USING (transaction_id))`,
  },
  holds_are_held: {
    says: "what is held is what remains of the account's active holds, and their number is right",
    sql: ofWhole(
      ({ accounts, holds }) => `
      SELECT account_id FROM ${accounts} a FULL JOIN (
        SELECT account_id, sum(remaining) AS remaining, count(*) AS active FROM ${holds}
        WHERE status = 'active' GROUP BY account_id) h USING (account_id)
      WHERE (a.held = coalesce(h.remaining, 0) AND a.active_holds = coalesce(h.active, 0)) IS NOT TRUE`,
    ),
  },
  holds_are_transactions: {
    says: 'each hold is what its transactions placed, released and captured',
    sql: ofWhole(
      ({ holds, transactions, between }) => `
      SELECT coalesce(h.account_id, t.account_id) AS account_id FROM ${holds} h FULL JOIN (
        SELECT hold_id, min(account_id) AS account_id, max(account_id) AS greatest_account_id,
               count(*) FILTER (WHERE type = 'hold') AS holds, count(*) FILTER (WHERE type = 'credit') AS credits,
               min(transaction_id) AS first_id, sum(amount) FILTER (WHERE type = 'hold') AS placed,
               coalesce(sum(amount) FILTER (WHERE type = 'release'), 0) AS released,
               coalesce(sum(amount) FILTER (WHERE type = 'debit'), 0) AS captured,
               min(timestamp) AS placed_at, (array_agg(type ORDER BY transaction_id DESC))[1] AS last_type,
               max(timestamp) FILTER (WHERE type = 'debit' ${between ? NOT_BETWEEN(between.transfers) : ''}) AS captured_at,
               max(timestamp) FILTER (WHERE type = 'release') AS released_at
        FROM ${transactions} t WHERE hold_id IS NOT NULL GROUP BY hold_id) t USING (hold_id)
      WHERE (
        h.account_id = t.account_id AND h.account_id = t.greatest_account_id AND t.holds = 1 AND t.credits = 0
        AND t.first_id = h.hold_id AND h.amount = t.placed AND h.created_at = t.placed_at
        AND h.remaining = h.amount - t.released AND h.captured = t.captured AND h.remaining >= 0
        AND (t.captured_at IS NULL OR h.expires_at IS NULL OR t.captured_at < h.expires_at)
        AND CASE h.status
          WHEN 'active' THEN h.remaining > 0
          WHEN 'captured' THEN h.remaining = 0 AND t.last_type = 'debit'
          WHEN 'voided' THEN h.remaining = 0 AND t.last_type = 'release'
                             AND (h.expires_at IS NULL OR t.released_at < h.expires_at)
          WHEN 'expired' THEN h.remaining = 0 AND t.last_type = 'release' AND t.released_at >= h.expires_at
        END) IS NOT TRUE`,
    ),
  },
  releases_name_holds: {
    says: 'each hold and each release names a hold',
    sql: ofWhole(
      ({ transactions }) =>
        `SELECT account_id FROM ${transactions} t WHERE type IN ('hold', 'release') AND hold_id IS NULL`,
    ),
  },
  transfers_balance: {
    says: 'each transfer within the shard has debits of as much as its credits in each currency, two or more accounts, and the id of its first leg',
    sql: ofWhole(
      ({ transactions, accounts, between }, place) => `
      SELECT unnest(array_agg(account_id)) AS account_id FROM (
        SELECT account_id, transfer_id, transaction_id, type,
               sum(CASE type WHEN 'debit' THEN amount WHEN 'credit' THEN -amount END)
                 OVER (PARTITION BY transfer_id, currency) AS rest
        FROM ${transactions} t LEFT JOIN (SELECT account_id, currency FROM ${accounts} a) a USING (account_id)
        WHERE transfer_id IS NOT NULL
          ${between ? `AND ${isOfShard('transfer_id', place)} ${NOT_BETWEEN(between.transfers)}` : ''}) t
      GROUP BY transfer_id
      HAVING (
        bool_and(coalesce(rest = 0, false))
        AND count(*) = count(*) FILTER (WHERE type IN ('debit', 'credit'))
        AND count(DISTINCT account_id) = count(*) AND count(*) >= 2 AND min(transaction_id) = transfer_id) IS NOT TRUE`,
    ),
  },
  reversals_are_covered: {
    // A reversal between shards claims with a hold what its debit then takes, and gives it back with a release.
    says: 'each reversal is the opposite of an earlier transaction of its account, which is reversed for no more than it was',
    sql: ofWhole(
      ({ transactions, between }, place) => `
      SELECT account_id FROM (
        SELECT reverses_id, min(account_id) AS account_id, max(account_id) AS greatest_account_id,
               sum(CASE type WHEN 'release' THEN -amount ELSE amount END) AS amount,
               min(type) FILTER (WHERE type NOT IN ('hold', 'release')) AS type,
               max(type) FILTER (WHERE type NOT IN ('hold', 'release')) AS greatest_type,
               min(transaction_id) AS first_id, count(*) FILTER (WHERE type IN ('hold', 'release')) AS claims,
               count(transfer_id) AS of_transfers, count(*) FILTER (WHERE type <> 'release') AS reversals
        FROM ${transactions} t WHERE reverses_id IS NOT NULL GROUP BY reverses_id) r
      LEFT JOIN (SELECT transaction_id, account_id AS of, type AS of_type, amount AS of_amount,
                        transfer_id AS of_transfer, reverses_id AS of_reversal FROM ${transactions} t) o
        ON o.transaction_id = r.reverses_id
      WHERE (
        account_id = of AND greatest_account_id = of AND amount <= of_amount AND amount >= 0
        AND (claims > 0 AND type IS NULL
             OR type = greatest_type AND (of_type, type) IN (('credit', 'debit'), ('debit', 'credit')))
        AND (claims = 0 OR ${between ? `of_type = 'credit' AND NOT ${isOfShard('of_transfer', place)}` : 'false'})
        AND of_reversal IS NULL AND first_id > transaction_id
        AND of_transfers = CASE WHEN of_transfer IS NULL THEN 0 ELSE reversals END) IS NOT TRUE`,
    ),
  },
  details_are_theirs: {
    // A capture for another shard has no transaction at first.
    says: 'details belong to a transaction or a capture of their account; unless they were erased, they have the digest that is hashed',
    sql: ofWhole(
      ({ transactions, transactionDetails, between }) => `
      SELECT coalesce(d.account_id, t.account_id) AS account_id
      FROM ${transactionDetails} d LEFT JOIN (
        SELECT transaction_id, account_id FROM ${transactions} t
        ${between ? `UNION ALL SELECT transfer_id, account_id FROM ${between.transfers} WHERE hold_id <> transfer_id` : ''}
      ) t USING (transaction_id)
      WHERE (t.account_id = d.account_id AND ${hasDigest(`encode(d.digest, 'hex')`, 'd.salt', 'd.description', 'd.metadata')})
        IS NOT TRUE`,
    ),
  },
  refusals_stand: {
    says: 'no submission that was refused belongs to an account that does not exist, or has the key of a transaction',
    sql: ofWhole(
      ({ accounts, transactions, refusedSubmissions }) =>
        refusedSubmissions &&
        `SELECT r.account_id FROM ${refusedSubmissions} r LEFT JOIN ${accounts} a USING (account_id)
         WHERE a.account_id IS NULL
            OR EXISTS (SELECT FROM ${transactions} t
                       WHERE t.account_id = r.account_id AND t.idempotency_key = r.idempotency_key)`,
    ),
  },
  changes_run_on: {
    says: "the account's changes have its revisions without a gap, each the hash of the one before and of its own row",
    sql: ofWhole(
      (sources) => `
      SELECT account_id FROM ${sources.accounts} a FULL JOIN (
        SELECT account_id, min(revision) AS first, max(revision) AS last, count(*) AS changes,
               bool_and(chained) AS chained FROM ${eventsIn(sources)} e GROUP BY account_id) e USING (account_id)
      WHERE CASE
        WHEN e.changes IS NOT NULL THEN e.chained AND e.last = a.revision AND e.changes = 1 + e.last - e.first
                                        AND (e.first = 1 OR a.created_at IS NULL)
        ELSE a.revision = 0 OR a.created_at IS NULL END IS NOT TRUE`,
    ),
  },
  account_is_as_changed: {
    says: 'status, overdraft limit, currency, owner, reference and metadata are what the last change made them',
    sql: ofWhole(
      (sources, _place, bank) => `
      SELECT account_id FROM ${sources.accounts} a FULL JOIN ${sources.accountDetails} d USING (account_id)
      LEFT JOIN (
        SELECT e.account_id, jsonb_object_agg(key, value ORDER BY revision) AS made FROM ${eventsIn(sources)} e,
          LATERAL jsonb_each(CASE WHEN chained THEN changes::jsonb END) GROUP BY e.account_id) e USING (account_id)
      WHERE (
        a.status = coalesce(made->>'status', 'open')
        AND a.overdraft_limit =
            substring(coalesce(made->>'overdraftLimit', '0') FROM '^[0-9]+(?:\\.[0-9]+)?$')::numeric
        AND a.currency IS NOT DISTINCT FROM
            coalesce(made->>'currency', CASE WHEN ${decimalsOf(bank)} <> 2 THEN ${bank} END)
        AND CASE WHEN made ? 'owner' THEN a.owner IS NOT DISTINCT FROM made->>'owner' ELSE true END
        AND CASE WHEN made ? 'reference' THEN d.reference IS NOT DISTINCT FROM made->>'reference' ELSE true END
        AND CASE WHEN made->'metadata' = 'null' THEN d.metadata IS NULL
                 WHEN made ? 'metadata' THEN ${hasDigest(
                   `made#>>'{metadata,digest}'`,
                   ...(['d.metadata_salt', 'NULL', 'd.metadata'] as const),
                 )} ELSE true END)
        IS NOT TRUE`,
    ),
  },
  ...BETWEEN_SHARDS,
};

function ofWhole(
  sql: (sources: WholeSources, place: ShardPlace, bankCurrency: string) => string | undefined,
): ShardCheck['sql'] {
  return ({ whole, currency }, place) => whole && sql(whole, place, escapeLiteral(currency));
}

/** That a transaction `t` is not of a transfer to another shard. */
const NOT_BETWEEN = (transfers: string) =>
  `AND NOT EXISTS (SELECT FROM ${transfers} o WHERE o.transfer_id = t.transfer_id)`;

/** `=5:hello`, or `-` for NULL. */
export const measured = (text: string) =>
  `coalesce('=' || octet_length(convert_to(${text}, 'UTF8')) || ':' || ${text}, '-')`;

/** Whether a digest, in hexadecimal digits, is that of salt, description and metadata; without a salt there is no text. */
function hasDigest(digest: string, salt: string, description: string, metadata: string): string {
  const text = `encode(${salt}, 'hex') || ':' || ${measured(`${description}::text`)} || ':' || ${measured(metadata)}`;
  return `CASE WHEN ${salt} IS NULL THEN coalesce(${description}, ${metadata}) IS NULL
               ELSE ${digest} = encode(sha256(convert_to(${text}, 'UTF8')), 'hex') END`;
}

/** The changes of accounts, each with whether its hash follows from the one before and from its own row. */
function eventsIn({ accountEvents }: WholeSources): string {
  return `(
    SELECT account_id, revision, changes, coalesce(hash = sha256(convert_to(
             encode(lag(hash, 1, ${GENESIS}) OVER (PARTITION BY account_id ORDER BY revision), 'hex') || ':'
             || event_id || ':' || account_id || ':' || revision || ':' || trunc(extract(epoch FROM timestamp) * 1000)
             || ':' || ${measured('actor')} || ':' || changes, 'UTF8')), false) AS chained
    FROM ${accountEvents})`;
}
