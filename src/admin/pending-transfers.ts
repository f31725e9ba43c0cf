import { recordActOn } from '../audit/audit-log.js';
import type { ShardAddress } from '../config/shard-address.js';
import type { OutgoingTransfer } from '../domain/between-shards.js';
import { messageOf } from '../domain/error-message.js';
import { locateShard } from '../sharding/shard-locator.js';
import { outgoingFromRow, selectOutgoing, type OutgoingRow } from '../storage/rows.js';
import { CommandError } from './command-error.js';
import { asService, withSession } from './shards.js';
import { withLedger, type BankSession } from './with-ledger.js';

/** The most transfers of one shard in a list. */
export const MOST_LISTED = 1_000;

export interface TransferList {
  /** By shard, the oldest first. */
  readonly transfers: readonly OutgoingTransfer[];
  /** Why shards could not be read, by their index. */
  readonly unread: ReadonlyMap<number, string>;
  /** A shard has more than are listed. */
  readonly more: boolean;
}

/** The transfers between shards that are under way, as far as their sources can be read. */
export async function listPending(shards: readonly ShardAddress[]): Promise<TransferList> {
  const read = await Promise.all(
    shards.map((shard) => pendingIn(shard).catch((error: unknown) => messageOf(error))),
  );
  const unread = read.flatMap((result, shard) =>
    typeof result === 'string' ? [[shard, result] as const] : [],
  );
  const lists = read.filter((result) => typeof result !== 'string');
  return {
    transfers: lists.flatMap((list) => list.slice(0, MOST_LISTED)),
    unread: new Map(unread),
    more: lists.some((list) => list.length > MOST_LISTED),
  };
}

async function pendingIn(shard: ShardAddress): Promise<OutgoingTransfer[]> {
  const { address } = await locateShard(shard);
  return withSession(asService(address), 'bank-transfers', async ({ client, tables }) => {
    const { rows } = await client.query<OutgoingRow>(
      `${selectOutgoing(tables)} WHERE o.status = 'pending' ORDER BY o.transfer_id LIMIT ${MOST_LISTED + 1}`,
    );
    return rows.map(outgoingFromRow);
  });
}

/**
 * Refuses a pending transfer in the name of its target, which records that: a transfer whose target does not answer can't
 * be cancelled, since the target may have credited it.
 *
 * @returns the transfer, failed; or completed, if its target had credited it before
 * @throws CommandError
 */
export function cancelTransfer(session: BankSession, transferId: number): Promise<OutgoingTransfer> {
  return withLedger(session, async ({ records, coordinator }) => {
    const transfer = (await records.of(transferId).outgoing([transferId])).get(transferId);
    if (!transfer) throw new CommandError(`there is no transfer tr${transferId} between shards`);
    if (transfer.status !== 'pending')
      throw new CommandError(`tr${transferId} is ${transfer.status} already`);
    await recordActOn(session.bank.shards, {
      action: 'transfer.cancelled',
      details: { transfer: `tr${transferId}` },
    });
    return coordinator.finish(transfer, true);
  });
}
