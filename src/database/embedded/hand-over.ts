import { type Client, escapeIdentifier, escapeLiteral } from 'pg';
import { recordAct } from '../../audit/audit-log.js';
import { tablesOf } from '../../storage/tables.js';
import { connectTo, DATABASE, ROLE, rolePassword, SUPERUSER, type ServerAddress } from './connection.js';

/** A new role has no others. Named for a role of this name that somebody made before. */
const RIGHTS = 'LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS';

interface Owned {
  readonly schema: string;
  /** Null: the schema itself. */
  readonly name: string | null;
}

/**
 * Gives the bank to {@link ROLE}: in earlier releases the superuser owned it. To be called by the owner of the server,
 * before anything else connects. Runs in one transaction, so it is safe to interrupt, and runs at each start.
 *
 * @returns whether the superuser owned anything
 */
export async function handOver(address: ServerAddress): Promise<boolean> {
  const client = await connectTo(address, DATABASE);
  try {
    await client.query('BEGIN');
    await settleRole(client, rolePassword(address.password));
    const owned = await ownedBySuperuser(client);
    for (const { schema, name } of owned) {
      const path = [schema, name ?? []].flat().map(escapeIdentifier).join('.');
      await client.query(
        `ALTER ${name === null ? 'SCHEMA' : 'TABLE'} ${path} OWNER TO ${escapeIdentifier(ROLE)}`,
      );
    }
    for (const schema of new Set(owned.map((each) => each.schema))) await record(client, schema);
    await client.query('COMMIT');
    return owned.length > 0;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function settleRole(client: Client, password: string): Promise<void> {
  const role = escapeIdentifier(ROLE);
  const { rowCount } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [ROLE]);
  if (rowCount === 0) await client.query(`CREATE ROLE ${role}`);
  await client.query(`ALTER ROLE ${role} ${RIGHTS} PASSWORD ${escapeLiteral(password)}`);
  // The owner of the database may make schemas in it.
  await client.query(`ALTER DATABASE ${escapeIdentifier(DATABASE)} OWNER TO ${role}`);
}

/** Schemas, and the tables, views and sequences in them. A table's own sequence follows it; those of extensions stay. */
async function ownedBySuperuser(client: Client): Promise<Owned[]> {
  const { rows } = await client.query<Owned>(
    `WITH ours AS (SELECT oid, nspname, nspowner FROM pg_namespace
                   WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
     SELECT nspname AS schema, NULL AS name FROM ours WHERE nspowner = $1::regrole
     UNION ALL
     SELECT nspname, relname FROM pg_class c JOIN ours n ON n.oid = relnamespace
     WHERE relowner = $1::regrole AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
                       AND (deptype = 'e' OR relkind = 'S' AND deptype IN ('a', 'i')))`,
    [escapeIdentifier(SUPERUSER)],
  );
  return rows;
}

/** Does nothing in a schema that is older than the audit log. */
async function record(client: Client, schema: string): Promise<void> {
  const { rows } = await client.query<{ exists: boolean }>('SELECT to_regclass($1) IS NOT NULL AS exists', [
    tablesOf(schema).auditEvents,
  ]);
  if (!rows[0]?.exists) return;
  await recordAct(client, schema, { action: 'bank.handed_over', details: { from: SUPERUSER, to: ROLE } });
}
