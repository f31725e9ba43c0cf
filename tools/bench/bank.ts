import { seedBank } from '../../src/admin/seed.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { Accounts } from './tools.js';

/** Accounts of a bank under measurement. */
export const ACCOUNTS = 10_000;
export const ALL: Accounts = { first: 1, last: ACCOUNTS };

/** Creates a bank with accounts of no owner, or of a single one. */
export async function foundBank<const Shards extends readonly ShardAddress[]>(
  shards: Shards,
  { accounts = ACCOUNTS, owner }: { readonly accounts?: number; readonly owner?: string } = {},
): Promise<Shards> {
  await bootstrapShards(shards);
  await seedBank(shards, { accounts, balance: 100_000n, owner });
  return shards;
}

/** @throws when a sum, a version, a hash or a key is wrong */
export async function checkBooks(shards: readonly ShardAddress[]): Promise<void> {
  const { ok } = await verifyBank(shards);
  if (!ok) throw new Error(`the books of ${shards.map(({ schema }) => schema).join(', ')} are not clean`);
}
