import type { SchemaTables } from '../storage/tables.js';

/**
 * The name of the advisory lock that keeps owners as they are. Held by whoever moves a shard, and shared by those who
 * change owners: no copied transaction would tell of that.
 */
export function ownersLock({ accounts }: SchemaTables): string {
  return `bank-owners:${accounts}`;
}
