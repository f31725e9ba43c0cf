/** A shard's tables, each qualified with the shard's schema and quoted: behind PgBouncer there is no search_path. */
export interface SchemaTables {
  readonly accounts: string;
  readonly transactions: string;
  readonly outbox: string;
  readonly shardIdentity: string;
  /** TypeORM's list of the migrations that were applied. */
  readonly migrations: string;
  /** Only where the shard no longer is: the address to which it was moved. */
  readonly shardMoved: string;
  /** Only while a move fills the schema: no shard of a bank yet. */
  readonly shardArriving: string;
}

export function tablesOf(schema: string): SchemaTables {
  const quoted = `"${schema.replaceAll('"', '""')}"`;
  return {
    accounts: `${quoted}.accounts`,
    transactions: `${quoted}.transactions`,
    outbox: `${quoted}.outbox`,
    shardIdentity: `${quoted}.shard_identity`,
    migrations: `${quoted}.migrations`,
    shardMoved: `${quoted}.shard_moved`,
    shardArriving: `${quoted}.shard_arriving`,
  };
}
