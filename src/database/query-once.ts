import { connect, cutWhenLate } from './connection.js';
import type { ShardPool } from './shard-pool.js';

/**
 * One statement, in no transaction, on a connection of the pool, which is cut when the answer is late.
 *
 * @throws DatabaseUnreachableError when none can be had; what the statement fails with
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
