import type { ClientBase } from 'pg';
import { recordAct } from '../audit/audit-log.js';
import { tablesOf } from '../storage/tables.js';
import { quoted } from '../storage/identifiers.js';

/** What the bank's own PostgreSQL is made of. Existing data folders have these names: they must never change. */
export const EMBEDDED_NAMES = { superuser: 'bank', role: 'bank_service', database: 'bank' } as const;

interface Owned {
  readonly schema: string;
  /** Null: the schema itself. */
  readonly name: string | null;
}

/**
 * Gives the bank to its role: in earlier releases the superuser owned it. Runs at each start.
 *
 * @param client a superuser's, in a transaction
 * @returns whether the superuser owned anything
 */
export async function handOver(client: ClientBase): Promise<boolean> {
  const role = quoted(EMBEDDED_NAMES.role);
  const owned = await ownedBySuperuser(client);
  for (const { schema, name } of owned) {
    const path = quoted(...[schema, name ?? []].flat());
    await client.query(`ALTER ${name === null ? 'SCHEMA' : 'TABLE'} ${path} OWNER TO ${role}`);
  }
  for (const schema of new Set(owned.map((each) => each.schema))) await record(client, schema);
  return owned.length > 0;
}

/** Schemas, and their tables, views and sequences. A table's own sequence follows it; extensions keep theirs. */
async function ownedBySuperuser(client: ClientBase): Promise<Owned[]> {
  const { rows } = await client.query<Owned>(
    `WITH ours AS (SELECT oid, nspname, nspowner FROM pg_namespace
                   WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
     SELECT nspname AS schema, NULL AS name FROM ours WHERE nspowner = $1::regrole
     UNION ALL
     SELECT nspname, relname FROM pg_class c JOIN ours n ON n.oid = relnamespace
     WHERE relowner = $1::regrole AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
                       AND (deptype = 'e' OR relkind = 'S' AND deptype IN ('a', 'i')))`,
    [quoted(EMBEDDED_NAMES.superuser)],
  );
  return rows;
}

/** Does nothing in a schema that is older than the audit log. */
async function record(client: ClientBase, schema: string): Promise<void> {
  const { rows } = await client.query<{ exists: boolean }>('SELECT to_regclass($1) IS NOT NULL AS exists', [
    tablesOf(schema).auditEvents,
  ]);
  if (!rows[0]?.exists) return;
  const { superuser, role } = EMBEDDED_NAMES;
  await recordAct(client, schema, { action: 'bank.handed_over', details: { from: superuser, to: role } });
}
