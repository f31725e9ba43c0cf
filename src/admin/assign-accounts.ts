import { recordAct, userOfSystem } from '../audit/audit-log.js';
import { GENESIS_HASH, lineOfAccountEvent, nextHash } from '../domain/hash-chain.js';
import { announce, insertEvents } from '../ledger/write/batch-writes.js';
import { send } from '../storage/connection.js';
import { AccountEventEntity } from '../storage/entities/account-event.entity.js';
import { AccountEntity } from '../storage/entities/account.entity.js';
import { drawIds } from '../storage/ids.js';
import { isGone } from '../storage/shard-pool.js';
import type { ShardAddress } from '../config/shard-address.js';
import { userMessage } from '../app/user-message.js';
import { ShardRouter } from '../sharding/shard-router.js';
import { CommandError } from './command-error.js';
import { withShardRunners, type ShardRunner } from './shards.js';

export interface AssignRequest {
  readonly accounts: readonly number[];
  /** Undefined: the accounts will belong to nobody. */
  readonly owner: string | undefined;
}

export interface AssignReport {
  /** Accounts whose owner this run changed. */
  readonly changed: readonly number[];
  /** Accounts that already had this owner. */
  readonly unchanged: readonly number[];
}

/**
 * Sets the owner of accounts; the services follow within 5 seconds. Safe to run again.
 *
 * Each change is recorded before it is made. The audit log is in the bank's first shard and the account may be in
 * another, so the two can't commit together: a recorded change may have failed, but no change goes unrecorded.
 *
 * @throws CommandError that says which accounts had been changed when the work failed. Changes none if an account does
 *   not exist
 */
export async function assignAccounts(
  addresses: readonly ShardAddress[],
  { accounts, owner }: AssignRequest,
  signal?: AbortSignal,
): Promise<AssignReport> {
  return withShardRunners(addresses, 'bank-assign', async (shards) => {
    const router = new ShardRouter(shards);
    const owners = await ownersOf(router, accounts);
    const [toChange, unchanged] = [true, false].map((changes) =>
      [...owners].filter(([, before]) => (before !== owner) === changes).map(([accountId]) => accountId),
    ) as [number[], number[]];
    const changed: number[] = [];
    const schema = addresses[0]?.schema ?? '';
    for (const accountId of toChange) {
      signal?.throwIfAborted();
      const details = { accountId, owner: owner ?? null, before: owners.get(accountId) ?? null };
      try {
        await router.shards[0]?.runner.run((_, client) =>
          recordAct(client, schema, { action: 'account.owner_set', details }),
        );
        await setOwner(router.of(accountId), accountId, owner);
      } catch (error) {
        const done = changed.length === 0 ? 'no account was changed' : `changed: ${changed.join(', ')}`;
        const why = isGone(error) ? 'its shard was moved just now: run it again' : userMessage(error);
        throw new CommandError(`account ${accountId}: ${why} (${done})`, { cause: error });
      }
      changed.push(accountId);
    }
    return { changed, unchanged };
  });
}

/** @throws CommandError that names the accounts that don't exist */
async function ownersOf(
  router: ShardRouter<ShardRunner>,
  accountIds: readonly number[],
): Promise<ReadonlyMap<number, string | undefined>> {
  const owners = new Map<number, string | undefined>();
  for (const accountId of accountIds) {
    const account = await router.of(accountId).dataSource.manager.findOne(AccountEntity, {
      select: { accountId: true, owner: true },
      where: { accountId },
    });
    if (account) owners.set(accountId, account.owner ?? undefined);
  }
  const missing = accountIds.filter((accountId) => !owners.has(accountId));
  if (missing.length === 0) return owners;
  throw new CommandError(`there is no account ${missing.join(', ')}; nothing was changed`);
}

/** Changes the owner and records the change, in one commit; does nothing if it is the owner already. */
async function setOwner(
  { runner, tables }: ShardRunner,
  accountId: number,
  owner: string | undefined,
): Promise<void> {
  await runner.run(async ({ manager }, client) => {
    const { rows } = await send<{ revision: number }>(
      client,
      `UPDATE ${tables.accounts} SET owner = $2, revision = revision + 1
       WHERE account_id = $1 AND owner IS DISTINCT FROM $2 RETURNING revision`,
      [accountId, owner ?? null],
    );
    const [row] = rows;
    if (!row) return;
    // Drawn under the account's lock, so that ids ascend with its revisions: a move of the shard follows changes by them.
    const { ids, timestamp } = await drawIds(client, [
      { table: tables.accountEvents, column: 'event_id', count: 1 },
      { table: tables.outbox, column: 'outbox_id', count: 1 },
    ]);
    const [[eventId], outboxIds] = ids as [[number], number[]];
    const last = await manager.findOne(AccountEventEntity, {
      where: { accountId },
      order: { revision: 'DESC' },
    });
    const changes = JSON.stringify({ owner: owner ?? null });
    const event = {
      ...{ eventId, accountId, revision: row.revision, timestamp },
      ...{ actor: userOfSystem(), changes },
    };
    const hash = nextHash(last?.hash.toString('hex') ?? GENESIS_HASH, lineOfAccountEvent(event));
    const events = [{ ...event, hash }];
    const announcement = announce(tables, { transactions: [], events, outboxIds });
    for (const statement of [insertEvents(tables, events), ...announcement]) await send(client, ...statement);
  });
}
