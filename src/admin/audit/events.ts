import { readAuditLog, type AuditLog } from '../../audit/audit-log.js';
import type { ShardAddress } from '../../config/shard-address.js';
import { withSession } from '../shards.js';

/** The bank's audit log, and the first event that was tampered with. */
export async function readEvents(shards: readonly ShardAddress[]): Promise<AuditLog> {
  return withSession(shards[0] as ShardAddress, 'bank-audit', ({ queryRunner }) =>
    readAuditLog(queryRunner.manager),
  );
}
