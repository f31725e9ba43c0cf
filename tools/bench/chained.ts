import { type ClientBase, escapeIdentifier } from 'pg';

/**
 * Hash chains for histories that benchmarks and tests write as plain SQL: an aggregate that lasts as long as the
 * session, `pg_temp.chain_hash(head, line)`, for use over a window.
 */
export async function createChainHash(client: Pick<ClientBase, 'query'>): Promise<void> {
  await client.query(`
    CREATE OR REPLACE FUNCTION pg_temp.chain_next(state text, head text, line text) RETURNS text
      LANGUAGE sql IMMUTABLE
      AS $$ SELECT encode(sha256(convert_to(coalesce(state, head) || ':' || line, 'UTF8')), 'hex') $$;
    CREATE OR REPLACE AGGREGATE pg_temp.chain_hash(text, text) (SFUNC = pg_temp.chain_next, STYPE = text)`);
}

export const GENESIS = "repeat('0', 64)";

/** The line of a transaction, from its columns; if a required one is NULL, some arbitrary text. */
export const LINE = `concat(transaction_id, ':', account_id, ':', type, ':', amount, ':', balance_after, ':', version_after, ':',
  trunc(extract(epoch FROM timestamp) * 1000), ':', coalesce('=' || idempotency_key, '-'))`;

/** Chains everything in a schema, as if it had just been posted. */
export async function chainAll(client: Pick<ClientBase, 'query'>, name: string): Promise<void> {
  const schema = escapeIdentifier(name);
  await createChainHash(client);
  await client.query(`
    CREATE TEMPORARY TABLE chained AS
      SELECT transaction_id, account_id, version_after,
        decode(pg_temp.chain_hash(${GENESIS}, ${LINE})
          OVER (PARTITION BY account_id ORDER BY version_after ROWS UNBOUNDED PRECEDING), 'hex') AS hash
      FROM (SELECT * FROM ${schema}.transactions UNION ALL SELECT * FROM ${schema}.archived_transactions) t;
    UPDATE ${schema}.transactions t SET hash = c.hash FROM chained c
      WHERE c.transaction_id = t.transaction_id AND c.version_after IS NOT DISTINCT FROM t.version_after;
    UPDATE ${schema}.archived_transactions t SET hash = c.hash FROM chained c
      WHERE c.transaction_id = t.transaction_id AND c.version_after IS NOT DISTINCT FROM t.version_after;
    UPDATE ${schema}.accounts a SET head_hash = c.hash
      FROM (SELECT DISTINCT ON (account_id) account_id, hash FROM chained
            ORDER BY account_id, version_after DESC) c
      WHERE a.account_id = c.account_id;
    DROP TABLE chained`);
}

/** The hash of a row until {@link chainAll} has chained it. */
export const UNCHAINED = `decode(${GENESIS}, 'hex')`;
