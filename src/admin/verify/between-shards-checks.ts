import type { ShardPlace } from '../../storage/migrate.js';
import type { ShardCheck } from './checks.js';
import type { BetweenSources, WholeSources } from './sources.js';

/** Whether an id was handed out by this shard. */
export const isOfShard = (id: string, { index, count }: ShardPlace) => `(${id} - 1) % ${count} = ${index}`;

/** Whether two ids were handed out by the same shard. */
const areOfOneShard = (one: string, other: string, { count }: ShardPlace) =>
  `(${one} - 1) % ${count} = (${other} - 1) % ${count}`;

/**
 * What one shard has of transfers from and to others; that both sides have the same is checked by `pairs.ts`. Written
 * like {@link CHECKS}.
 */
export const BETWEEN_SHARDS: Readonly<Record<string, ShardCheck>> = {
  outgoing_are_transactions: {
    says: 'each transfer to another shard is what its transactions and its hold are: pending, completed by one debit, or failed',
    sql: ofBetween(
      ({ transactions, holds, transfers }, place) => `
      SELECT o.account_id FROM (SELECT *, hold_id = transfer_id AS own FROM ${transfers}) o
      LEFT JOIN ${holds} h ON h.hold_id = o.hold_id
      LEFT JOIN (${legsOf(transactions, transfers)}) t ON t.transfer_id = o.transfer_id
      WHERE (
        h.account_id = o.account_id AND ${isOfShard('o.transfer_id', place)}
        AND o.to_account_id > 0 AND NOT ${isOfShard('o.to_account_id', place)} AND o.amount > 0
        AND coalesce(t.fit, true) AND coalesce(t.holds, 0) = o.own::int
        AND coalesce(t.debits, 0) = (o.status = 'completed')::int
        AND coalesce(t.releases, 0) = (o.own AND o.status <> 'pending')::int
        AND ${HAS_ITS_HOLD(transactions)} AND ${HAS_AN_OUTCOME(place)} AND ${REVERSES_A_CREDIT(transactions)}
      ) IS NOT TRUE`,
    ),
  },
  capturing_is_pending: {
    says: 'what is being captured of each hold is what is pending of its transfers to other shards, or all if that is final',
    sql: ofBetween(
      ({ holds, transfers }) => `
      SELECT coalesce(h.account_id, o.account_id) AS account_id FROM ${holds} h FULL JOIN (
        SELECT hold_id, min(account_id) AS account_id, sum(amount) AS amount, bool_or(final) AS is_final,
               count(*) AS transfers
        FROM ${transfers} WHERE status = 'pending' GROUP BY hold_id) o USING (hold_id)
      WHERE (
        CASE WHEN is_final THEN transfers = 1 AND h.capturing = h.remaining AND o.amount <= h.remaining
             ELSE h.capturing = coalesce(o.amount, 0) AND h.capturing <= h.remaining END) IS NOT TRUE`,
    ),
  },
  capture_keys_are_unique: {
    says: 'no idempotency key of a capture for another shard occurs twice',
    sql: ofBetween(({ transactions, transfers, refusedSubmissions }) => {
      const others = [`${transactions} t`, `${transfers} t`];
      if (refusedSubmissions !== undefined) others.push(`${refusedSubmissions} t`);
      const used = others.map((other) => {
        const apart = other === others[1] ? 'AND t.transfer_id <> o.transfer_id' : '';
        return `EXISTS (SELECT FROM ${other} WHERE t.account_id = o.account_id
                        AND t.idempotency_key = o.idempotency_key ${apart})`;
      });
      return `SELECT account_id FROM ${transfers} o
              WHERE idempotency_key IS NOT NULL AND (${used.join(' OR ')})`;
    }),
  },
  incoming_are_credits: {
    says: 'each credit from another shard is what was decided of its transfer, once; what was refused has none',
    sql: ofBetween(
      ({ transactions, incomingTransfers }, place) => `
      SELECT coalesce(i.account_id, t.account_id) AS account_id
      FROM (SELECT *, count(*) OVER (PARTITION BY transfer_id, nonce) AS copies FROM ${incomingTransfers}) i
      FULL JOIN (
        SELECT * FROM ${transactions} t
        WHERE transfer_id IS NOT NULL AND NOT ${isOfShard('transfer_id', place)}) t ON t.transaction_id = i.credit_id
      WHERE (
        i.copies = 1 AND i.transfer_id > 0 AND NOT ${isOfShard('i.transfer_id', place)} AND i.amount > 0
        AND i.from_account_id > 0 AND ${areOfOneShard('i.from_account_id', 'i.transfer_id', place)}
        AND ${isOfShard('i.account_id', place)} AND ${isOfShard('i.incoming_id', place)}
        AND num_nonnulls(i.credit_id, i.rejection) = 1
        AND (i.credit_id IS NULL OR (
          t.account_id = i.account_id AND t.type = 'credit' AND t.amount = i.amount AND t.timestamp = i.decided_at
          AND t.transfer_id = i.transfer_id AND t.hold_id IS NULL))
      ) IS NOT TRUE`,
    ),
  },
};

/** The transactions of each transfer: those that name it, and the release of its own hold, which does not. */
const legsOf = (transactions: string, transfers: string) => `
  SELECT o.transfer_id, count(*) FILTER (WHERE t.type = 'hold') AS holds,
         count(*) FILTER (WHERE t.type = 'debit') AS debits, count(*) FILTER (WHERE t.type = 'release') AS releases,
         bool_and((t.type IN ('hold', 'release', 'debit') AND t.account_id = o.account_id AND t.amount = o.amount
                   AND t.hold_id = o.hold_id AND t.reverses_id IS NOT DISTINCT FROM o.reverses_credit_id) IS TRUE) AS fit
  FROM ${transfers} o JOIN ${transactions} t
    ON o.transfer_id = coalesce(t.transfer_id, CASE t.type WHEN 'release' THEN t.hold_id END)
  GROUP BY o.transfer_id`;

/** A hold of its own with its id; or one that it captures, while no transaction has its id. */
const HAS_ITS_HOLD = (transactions: string) => `
  CASE WHEN o.own THEN
    o.final AND o.idempotency_key IS NULL AND h.amount = o.amount AND h.created_at = o.created_at
    AND h.expires_at IS NULL
    AND h.status = CASE o.status WHEN 'pending' THEN 'active' WHEN 'completed' THEN 'captured' ELSE 'voided' END
  ELSE
    h.hold_id < o.transfer_id AND o.created_at >= h.created_at
    AND (h.expires_at IS NULL OR o.created_at < h.expires_at) AND o.reverses_credit_id IS NULL
    AND NOT EXISTS (SELECT FROM ${transactions} x WHERE x.transaction_id = o.transfer_id) END`;

const HAS_AN_OUTCOME = (place: ShardPlace) => `
  o.status IN ('pending', 'completed', 'failed') AND (o.rejection IS NOT NULL) = (o.status = 'failed')
  AND num_nonnulls(o.credit_id, o.credit_balance_after, o.credit_version_after, o.credited_at)
      = CASE o.status WHEN 'completed' THEN 4 ELSE 0 END
  AND (o.credit_id IS NULL OR ${areOfOneShard('o.credit_id', 'o.to_account_id', place)})`;

/** The credit with which the transfer that it reverses has arrived. */
const REVERSES_A_CREDIT = (transactions: string) => `
  CASE num_nonnulls(o.reverses_transfer_id, o.reverses_credit_id, o.reverses_debit_id) WHEN 0 THEN true WHEN 3 THEN
    EXISTS (SELECT FROM ${transactions} c WHERE c.transaction_id = o.reverses_credit_id AND c.type = 'credit'
            AND c.account_id = o.account_id AND c.transfer_id = o.reverses_transfer_id) END`;

function ofBetween(
  sql: (sources: WholeSources & BetweenSources, place: ShardPlace) => string,
): ShardCheck['sql'] {
  return ({ whole }, place) => whole?.between && sql({ ...whole, ...whole.between }, place);
}
