import type { SchemaTables } from '../storage/tables.js';

/**
 * The name of the advisory lock on owners. Moving a shard takes it exclusively, and changing an owner takes it shared,
 * because no copied transaction would show a change of owner.
 */
export function ownersLock({ accounts }: SchemaTables): string {
  return `bank-owners:${accounts}`;
}
