import { connect, cutWhenLate } from './connection.js';
import type { ShardPool } from './shard-pool.js';

/**
 * Runs one statement outside a transaction, on a connection of the pool. The connection is cut when the answer is late.
 *
 * @throws DatabaseUnreachableError when there is no connection; whatever the statement fails with
 */
export async function queryOnce<Row>(
  pool: ShardPool,
  sql: string,
  parameters: readonly unknown[],
  timeoutMs: number,
): Promise<Row[]> {
  const queryRunner = pool.createQueryRunner();
  let deadline: NodeJS.Timeout | undefined;
  try {
    deadline = cutWhenLate(await connect(queryRunner), timeoutMs);
    return (await queryRunner.query(sql, [...parameters])) as Row[];
  } finally {
    clearTimeout(deadline);
    await queryRunner.release();
  }
}
