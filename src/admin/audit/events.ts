import { readAuditLog, type AuditLog } from '../../audit/audit-log.js';
import type { ShardAddress } from '../../config/shard-address.js';
import { withSessions, type ShardSession } from '../shards.js';

/** The bank's audit log, with the first event that was tampered with. */
export async function readEvents(shards: readonly ShardAddress[]): Promise<AuditLog> {
  return withSessions(shards.slice(0, 1), 'bank-audit', (sessions) => {
    const [{ queryRunner }] = sessions as [ShardSession];
    return readAuditLog(queryRunner.manager);
  });
}
