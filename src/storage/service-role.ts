import { quoted } from './identifiers.js';
import type { ShardAddress } from '../config/shard-address.js';
import { UserError } from '../domain/user-error.js';
import { BANK_TABLES } from './tables.js';

/** The service's privileges on each table. */
const privileges = (): Readonly<Record<string, readonly string[]>> => ({
  ...Object.fromEntries(BANK_TABLES.map(({ name, service }) => [name, service])),
  migrations: ['SELECT'],
  // Exists only at the old place of a shard that was moved.
  shard_moved: ['SELECT'],
});

/** The sequences from which the service draws ids for the existing tables. */
const sequencesOf = (tables: readonly string[]) =>
  BANK_TABLES.filter(
    ({ name, drawn, service }) => tables.includes(name) && drawn && service.includes('INSERT'),
  ).map(({ name, id }) => `${name}_${id}_seq`);

/** The tables whose rows it neither changes nor deletes: the history. */
const history = () =>
  BANK_TABLES.filter(({ service }) => !service.some((privilege) => /^(UPDATE|DELETE)/.test(privilege))).map(
    ({ name }) => name,
  );

/** Runs a statement and returns its rows. */
type Query = (sql: string, parameters?: unknown[]) => Promise<unknown>;

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
  const granted = privileges();
  const tables = await tablesThere(query, schema, Object.keys(granted));
  const wanted = tables.flatMap((table) => (granted[table] ?? []).map((privilege) => ({ table, privilege })));
  const held = await privilegesHeld(query, schema, role);
  const sequences = sequencesOf(tables);
  const complete = await hasUsage(query, schema, role, sequences);
  const same =
    complete &&
    wanted.length === held.length &&
    wanted.every(({ table, privilege }) => held.includes(`${table}: ${privilege}`));
  if (!same) await grant(query, schema, role, wanted, sequences);
  await assertNoMore(query, schema, role);
  return !same;
}

async function grant(
  query: Query,
  schema: string,
  role: string,
  wanted: readonly { readonly table: string; readonly privilege: string }[],
  sequences: readonly string[],
): Promise<void> {
  const to = `TO ${quoted(role)}`;
  const statements = [
    `REVOKE ALL ON ALL TABLES IN SCHEMA ${quoted(schema)} FROM ${quoted(role)}`,
    `GRANT USAGE ON SCHEMA ${quoted(schema)} ${to}`,
    ...wanted.map(({ table, privilege }) => `GRANT ${privilege} ON ${quoted(schema, table)} ${to}`),
    ...sequences.map((name) => `GRANT USAGE ON SEQUENCE ${quoted(schema, name)} ${to}`),
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
     WHERE relnamespace = $1::regnamespace AND relname = ANY($3)
       AND has_table_privilege($2, oid, 'UPDATE, DELETE, TRUNCATE')`,
    [quoted(schema), role, history()],
  )) as { name: string }[];
  if (rows.length === 0) return;
  throw new ServiceRoleError(
    `the role "${role}" of DATABASE_URL may change or delete ${rows.map(({ name }) => name).join(', ')} in the schema ` +
      `"${schema}", though it does not own them: take that from it (is it a superuser, or a member of the owner's role?), ` +
      'or let one user do both and leave MIGRATION_DATABASE_URL out',
  );
}

/** Whether the role may use the schema and its sequences. */
async function hasUsage(
  query: Query,
  schema: string,
  role: string,
  sequences: readonly string[],
): Promise<boolean> {
  const rows = (await query(
    `SELECT has_schema_privilege($1, $2, 'USAGE') AND coalesce(bool_and(has_sequence_privilege($1, oid, 'USAGE')), true) AS has
     FROM pg_class WHERE relnamespace = $3::regnamespace AND relname = ANY($4)`,
    [role, schema, quoted(schema), sequences],
  )) as { has: boolean }[];
  return rows[0]?.has === true;
}

async function tablesThere(query: Query, schema: string, names: string[]): Promise<string[]> {
  const rows = (await query(
    `SELECT relname AS name FROM pg_class WHERE relnamespace = $1::regnamespace AND relname = ANY($2)`,
    [quoted(schema), names],
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
    [quoted(schema), quoted(role)],
  )) as { held: string }[];
  return rows.map(({ held }) => held);
}
