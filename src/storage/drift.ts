import { createDataSource } from './data-source.js';
import type { ShardAddress } from '../config/shard-address.js';

/**
 * The statements that would bring a migrated shard in line with the entities: none, unless a migration or an entity was
 * changed without the other. Changes nothing.
 */
export async function findDrift(shard: ShardAddress): Promise<string[]> {
  const dataSource = createDataSource(shard, { name: 'bank-drift', size: 1, connectTimeoutMs: 10_000 });
  await dataSource.initialize();
  try {
    // TypeORM makes a version column an int, whatever type the entity declares; ours is a bigint.
    for (const { versionColumn } of dataSource.entityMetadatas)
      if (versionColumn) versionColumn.type = 'bigint';
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
    return upQueries.map((statement) => statement.query);
  } finally {
    await dataSource.destroy();
  }
}
