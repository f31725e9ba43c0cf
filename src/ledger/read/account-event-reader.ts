import { Inject, Injectable } from '@nestjs/common';
import type { PoolClient } from 'pg';
import type { OwnedAccount } from '../../domain/account.js';
import type { LedgerEvent } from '../../domain/ledger-event.js';
import { EventReader } from '../../messaging/event-reader.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import { plainArray } from '../../storage/array-literal.js';
import { send } from '../../storage/connection.js';
import { READERS, type ShardReader } from './shard-reader.js';

/** Versions, or changes, that are read at once. */
const CHUNK = 200;

/** How far an account has come. */
export type AccountState = Pick<OwnedAccount, 'version' | 'revision'>;

/**
 * Makes the events of one account of its transactions and changes, however old they are: neither ever goes. Refused
 * submissions and failed transfers are not among them, since no index finds those of an account.
 */
@Injectable()
export class AccountEventReader {
  constructor(@Inject(READERS) private readonly router: ShardRouter<ShardReader>) {}

  /** The revision that an account had when it reached a version. @throws LedgerError DATABASE_FAILED, OVERLOADED */
  async revisionAt(accountId: number, version: number, user: string): Promise<number> {
    const shard = this.router.of(accountId);
    const { accountEvents, allTransactions } = shard.tables;
    // From the newest change backwards, so it costs what is to be sent. Before the first transaction there is none.
    const rows = await shard.query<{ revision: number }>(
      `SELECT revision FROM ${accountEvents}
       WHERE account_id = $1 AND timestamp < (
         SELECT timestamp FROM ${allTransactions} t WHERE account_id = $1 AND version_after = $2)
       ORDER BY revision DESC LIMIT 1`,
      [accountId, version],
      user,
      accountId,
    );
    return rows[0]?.revision ?? 0;
  }

  /**
   * The events from one state of an account to another, in chunks: first the changes, then the transactions in the order
   * of their versions. So whoever has seen a version has seen all changes before it.
   *
   * @throws LedgerError DATABASE_FAILED, OVERLOADED
   */
  async *between(
    accountId: number,
    from: AccountState,
    to: AccountState,
    user: string,
  ): AsyncGenerator<readonly LedgerEvent[]> {
    const shard = this.router.of(accountId);
    const events = new EventReader(shard.tables);
    const read = (ids: (client: PoolClient) => Promise<Partial<Ids>>) =>
      shard.transact(
        async (_, client) => (await events.read(client, [{ ...NONE, ...(await ids(client)) }]))[0] ?? [],
        user,
        accountId,
      );
    for (let after = from.revision; after < to.revision; after += CHUNK) {
      const last = Math.min(to.revision, after + CHUNK);
      yield await read((client) => changesIn(client, shard, accountId, after, last));
    }
    for (let after = from.version; after < to.version; after += CHUNK) {
      const last = Math.min(to.version, after + CHUNK);
      yield await read((client) => transactionsIn(client, shard, accountId, after, last));
    }
  }
}

const NONE = {
  transactionIds: [],
  accountEventIds: [],
  refusalIds: [],
  failedTransferIds: [],
  createdAt: new Date(0),
};

interface Ids {
  readonly transactionIds: readonly string[];
  readonly accountEventIds: readonly string[];
}

/** Revisions have no gaps, and neither have versions. */
async function changesIn(
  client: PoolClient,
  { tables }: ShardReader,
  accountId: number,
  after: number,
  last: number,
): Promise<Partial<Ids>> {
  const { rows } = await send<{ event_id: string }>(
    client,
    `SELECT event_id FROM ${tables.accountEvents}
     WHERE account_id = $1 AND revision > $2 AND revision <= $3 ORDER BY revision`,
    [accountId, after, last],
  );
  return { accountEventIds: rows.map(({ event_id }) => event_id) };
}

/** With the other legs of their transfers: the events of a transfer are made of all its legs. */
async function transactionsIn(
  client: PoolClient,
  { tables: { allTransactions } }: ShardReader,
  accountId: number,
  after: number,
  last: number,
): Promise<Partial<Ids>> {
  const { rows: own } = await send<{ transaction_id: string; transfer_id: string | null }>(
    client,
    `SELECT transaction_id, CASE WHEN type IN ('debit', 'credit') THEN transfer_id END AS transfer_id
     FROM ${allTransactions} t WHERE account_id = $1 AND version_after > $2 AND version_after <= $3`,
    [accountId, after, last],
  );
  const transfers = own.flatMap(({ transfer_id }) => transfer_id ?? []);
  const { rows: legs } =
    transfers.length === 0
      ? { rows: [] }
      : await send<{ transaction_id: string }>(
          client,
          `SELECT transaction_id FROM ${allTransactions} t
           WHERE transfer_id = ANY($1::bigint[]) AND type IN ('debit', 'credit')`,
          [plainArray(transfers)],
        );
  const ids = new Set([...own, ...legs].map(({ transaction_id }) => transaction_id));
  // Ids are drawn in the order in which transactions are made.
  return { transactionIds: [...ids].sort((one, other) => Number(one) - Number(other)) };
}
