import { send } from '../storage/connection.js';
import { ApiKeyEntity } from '../storage/entities/api-key.entity.js';
import type { ShardPool } from '../storage/shard-pool.js';
import { tablesOf } from '../storage/tables.js';

/** For one statement, which reads or updates by an index. */
const STATEMENT_MS = 2_000;

export type ValidKey = Pick<ApiKeyEntity, 'keyId' | 'hash' | 'scopes' | 'owner' | 'expiresAt'>;

export type NamedKey = Pick<ApiKeyEntity, 'keyId' | 'name' | 'scopes' | 'owner'>;

/**
 * API keys in the bank's first shard, over connections that nothing else uses: authentication must not wait for other
 * reads. Errors: any failure of the database or the connection, within {@link STATEMENT_MS}.
 */
export class ApiKeyStore {
  private readonly table: string;

  constructor(
    private readonly pool: ShardPool,
    schema: string,
  ) {
    this.table = tablesOf(schema).apiKeys;
  }

  /** Those keys that are valid: neither revoked nor expired. @param hashes SHA-256 */
  findValid(hashes: readonly Buffer[]): Promise<ValidKey[]> {
    return this.pool.run(STATEMENT_MS, ({ manager }) =>
      manager
        .createQueryBuilder(ApiKeyEntity, 'key')
        .select(['key.keyId', 'key.hash', 'key.scopes', 'key.owner', 'key.expiresAt'])
        .where('key.hash = ANY(:hashes)', { hashes })
        .andWhere('key.revokedAt IS NULL')
        .andWhere('(key.expiresAt IS NULL OR key.expiresAt > now())')
        .getMany(),
    );
  }

  /** The same for keys that are known by their ids or names. */
  findValidNamed(ids: readonly number[], names: readonly string[]): Promise<NamedKey[]> {
    return this.pool.run(STATEMENT_MS, ({ manager }) =>
      manager
        .createQueryBuilder(ApiKeyEntity, 'key')
        .select(['key.keyId', 'key.name', 'key.scopes', 'key.owner'])
        .where('(key.keyId = ANY(:ids) OR key.name = ANY(:names))', { ids, names })
        .andWhere('key.revokedAt IS NULL')
        .andWhere('(key.expiresAt IS NULL OR key.expiresAt > now())')
        .orderBy('key.keyId', 'ASC')
        .getMany(),
    );
  }

  /**
   * Records that keys are in use, except where that was done within `precisionMs`, or another process is just doing it:
   * SKIP LOCKED in a subquery, which is why it is SQL.
   */
  async noteUse(keyIds: readonly number[], precisionMs: number): Promise<void> {
    await this.pool.run(STATEMENT_MS, (_, client) =>
      send(
        client,
        `UPDATE ${this.table} SET last_used_at = now()
         WHERE key_id IN (
           SELECT key_id FROM ${this.table} WHERE key_id = ANY($1::bigint[])
             AND (last_used_at IS NULL OR last_used_at < now() - $2 * interval '1 millisecond')
           FOR NO KEY UPDATE SKIP LOCKED)`,
        [keyIds, precisionMs],
      ),
    );
  }
}
