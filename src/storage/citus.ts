/** Runs a statement and returns its rows. */
type Query = (sql: string, parameters?: unknown[]) => Promise<unknown>;

/** Makes later settings of the transaction apply on the worker nodes too. */
export const PROPAGATE_SETTINGS = `SET LOCAL citus.propagate_set_commands = 'local'`;

/** Whether the database belongs to a Citus cluster. */
export async function isCitus(query: Query): Promise<boolean> {
  const rows = (await query(`SELECT FROM pg_extension WHERE extname = 'citus'`)) as unknown[];
  return rows.length > 0;
}

export interface NodeSettings {
  /** `host:port` */
  readonly node: string;
  readonly settings: Readonly<Record<string, string>>;
}

/**
 * Settings on every node of a Citus cluster, as this user's sessions see them. Nodes that don't answer are left out.
 */
export async function settingsOfNodes(query: Query, names: readonly string[]): Promise<NodeSettings[]> {
  const pairs = names.map((name) => `'${name}', current_setting('${name}')`).join(', ');
  return (await query(
    `SELECT nodename || ':' || nodeport AS node, result::json AS settings
     FROM run_command_on_all_nodes($$SELECT json_build_object(${pairs})$$) JOIN pg_dist_node USING (nodeid)
     WHERE success ORDER BY nodeid`,
  )) as NodeSettings[];
}

/** The size of a schema's tables on whatever node they are; undefined: the schema is not distributed. */
export async function bytesOfDistributed(query: Query, schema: string): Promise<number | undefined> {
  const [row] = (await query(
    `SELECT sum(citus_total_relation_size(logicalrelid)) AS bytes
     FROM pg_dist_partition JOIN pg_class c ON c.oid = logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1`,
    [schema],
  )) as [{ bytes: string | null }];
  return row.bytes === null ? undefined : Number(row.bytes);
}
