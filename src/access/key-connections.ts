import { queryOnce } from '../storage/query-once.js';
import type { ShardPool } from '../storage/shard-pool.js';
import { tablesOf } from '../storage/tables.js';
import type { KeyDatabase } from './key-reads.js';

/** Time limit of one statement, which reads or updates by an index. */
const STATEMENT_MS = 2_000;

/** The first shard, over connections that nothing else uses: authentication must not wait for other reads. */
export class KeyConnections implements KeyDatabase {
  readonly tables;

  constructor(
    private readonly pool: ShardPool,
    schema: string,
  ) {
    this.tables = tablesOf(schema);
  }

  query<Row>(sql: string, parameters: readonly unknown[]): Promise<Row[]> {
    return this.pool.retryIfRelocated(() => queryOnce<Row>(this.pool, sql, parameters, STATEMENT_MS));
  }
}
