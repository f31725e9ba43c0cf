import { escapeIdentifier } from 'pg';
import type { ShardAddress } from '../config/shard-address.js';
import { UserError } from '../domain/user-error.js';

/**
 * All privileges of the service on the bank's tables, where it has a role of its own. None lets it rewrite history,
 * create a key or change the owner of an account. A column is named where only that column may change.
 */
const PRIVILEGES: Readonly<Record<string, readonly string[]>> = {
  accounts: ['SELECT', 'INSERT', 'UPDATE (balance)', 'UPDATE (version)', 'UPDATE (head_hash)'],
  account_openings: ['SELECT', 'INSERT'],
  transactions: ['SELECT', 'INSERT'],
  archived_transactions: ['SELECT'],
  outbox: ['SELECT', 'INSERT', 'DELETE'],
  shard_identity: ['SELECT', 'UPDATE (relay_id)', 'UPDATE (relay_until)', 'UPDATE (relay_to_broker)'],
  api_keys: ['SELECT', 'UPDATE (last_used_at)'],
  audit_events: ['SELECT'],
  migrations: ['SELECT'],
  // Exists only at the old place of a shard that was moved.
  shard_moved: ['SELECT'],
};

/** Runs a statement and returns its rows. */
type Query = (sql: string, parameters?: unknown[]) => Promise<unknown>;

const SEQUENCES = ['accounts_account_id_seq', 'transactions_transaction_id_seq', 'outbox_outbox_id_seq'];

/** The service's role has privileges that it must not have. */
export class ServiceRoleError extends UserError {}

/**
 * The user of DATABASE_URL, if migrations run as another user; undefined: one user does both, and may do everything.
 */
export function serviceRoleOf({ url, migrationUrl }: ShardAddress): string | undefined {
  if (migrationUrl === undefined) return undefined;
  const [service, owner] = [url, migrationUrl].map((text) => decodeURIComponent(new URL(text).username));
  return service === '' || service === owner ? undefined : service;
}

/**
 * Grants the service's role exactly the {@link PRIVILEGES} and revokes all others. Changes nothing if they are right
 * already.
 *
 * @param query runs a statement as the tables' owner, in a transaction
 * @returns whether anything had to be changed
 * @throws Error 42704 when there is no such role; ServiceRoleError when it could still rewrite history
 */
export async function grantServiceRole(query: Query, schema: string, role: string): Promise<boolean> {
  const tables = await tablesThere(query, schema);
  const wanted = tables.flatMap((table) =>
    (PRIVILEGES[table] ?? []).map((privilege) => ({ table, privilege })),
  );
  const held = await privilegesHeld(query, schema, role);
  const complete = await hasUsage(query, schema, role);
  const same =
    complete &&
    wanted.length === held.length &&
    wanted.every(({ table, privilege }) => held.includes(`${table}: ${privilege}`));
  if (!same) await grant(query, schema, role, wanted);
  await assertNoMore(query, schema, role);
  return !same;
}

async function grant(
  query: Query,
  schema: string,
  role: string,
  wanted: readonly { readonly table: string; readonly privilege: string }[],
): Promise<void> {
  const [quotedRole, quotedSchema] = [escapeIdentifier(role), escapeIdentifier(schema)];
  const statements = [
    `REVOKE ALL ON ALL TABLES IN SCHEMA ${quotedSchema} FROM ${quotedRole}`,
    `GRANT USAGE ON SCHEMA ${quotedSchema} TO ${quotedRole}`,
    ...wanted.map(
      ({ table, privilege }) => `GRANT ${privilege} ON ${quotedSchema}.${table} TO ${quotedRole}`,
    ),
    ...SEQUENCES.map((name) => `GRANT USAGE ON SEQUENCE ${quotedSchema}.${name} TO ${quotedRole}`),
  ];
  for (const statement of statements) await query(statement);
}

/**
 * A role may have more privileges than it was granted: as a member of another role, through PUBLIC, or as a superuser.
 *
 * @throws ServiceRoleError
 */
async function assertNoMore(query: Query, schema: string, role: string): Promise<void> {
  const rows = (await query(
    `SELECT relname AS name FROM pg_class
     WHERE relnamespace = $1::regnamespace AND relname IN ('account_openings', 'transactions', 'archived_transactions', 'audit_events')
       AND has_table_privilege($2, oid, 'UPDATE, DELETE, TRUNCATE')`,
    [escapeIdentifier(schema), role],
  )) as { name: string }[];
  if (rows.length === 0) return;
  throw new ServiceRoleError(
    `the role "${role}" of DATABASE_URL may change or delete ${rows.map(({ name }) => name).join(', ')} in the schema ` +
      `"${schema}", though it does not own them: take that from it (is it a superuser, or a member of the owner's role?), ` +
      'or let one user do both and leave MIGRATION_DATABASE_URL out',
  );
}

/** Whether the role may use the schema and its sequences. */
async function hasUsage(query: Query, schema: string, role: string): Promise<boolean> {
  const rows = (await query(
    `SELECT has_schema_privilege($1, $2, 'USAGE') AND coalesce(bool_and(has_sequence_privilege($1, oid, 'USAGE')), true) AS has
     FROM pg_class WHERE relnamespace = $3::regnamespace AND relname = ANY($4)`,
    [role, schema, escapeIdentifier(schema), SEQUENCES],
  )) as { has: boolean }[];
  return rows[0]?.has === true;
}

async function tablesThere(query: Query, schema: string): Promise<string[]> {
  const rows = (await query(
    `SELECT relname AS name FROM pg_class WHERE relnamespace = $1::regnamespace AND relname = ANY($2)`,
    [escapeIdentifier(schema), Object.keys(PRIVILEGES)],
  )) as { name: string }[];
  return rows.map(({ name }) => name);
}

/** Its privileges on all tables in the schema, as `table: PRIVILEGE` or `table: PRIVILEGE (column)`. */
async function privilegesHeld(query: Query, schema: string, role: string): Promise<string[]> {
  const rows = (await query(
    `SELECT relname || ': ' || privilege_type AS held
     FROM pg_class, aclexplode(relacl)
     WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p', 'v') AND grantee = $2::regrole
     UNION ALL
     SELECT relname || ': ' || privilege_type || ' (' || attname || ')'
     FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl)
     WHERE relnamespace = $1::regnamespace AND NOT attisdropped AND grantee = $2::regrole`,
    [escapeIdentifier(schema), escapeIdentifier(role)],
  )) as { held: string }[];
  return rows.map(({ held }) => held);
}
