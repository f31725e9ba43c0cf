import type { PoolClient } from 'pg';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { connect } from '../storage/connection.js';
import { createDataSource } from '../storage/data-source.js';
import type { ShardAddress } from '../config/shard-address.js';
import { ShardPool } from '../storage/shard-pool.js';
import { tablesOf, type SchemaTables } from '../storage/tables.js';
import { TransactionRunner, type RunnerLimits } from '../storage/transaction-runner.js';
import { CommandError } from './command-error.js';

/** A shard of the bank, in the bank's order. */
interface OpenShard {
  readonly index: number;
  readonly address: ShardAddress;
  readonly tables: SchemaTables;
  readonly dataSource: DataSource;
}

/** For use cases that run many transactions on a shard, one after the other. */
export interface ShardRunner extends OpenShard {
  readonly runner: TransactionRunner;
}

/** For use cases that work on a shard in one long transaction, or copy it. */
export interface ShardSession extends Omit<OpenShard, 'dataSource'> {
  readonly queryRunner: QueryRunner;
  /** The same connection, for COPY and for several statements at once. */
  readonly client: PoolClient;
}

const CONNECT_TIMEOUT_MS = 10_000;

/** Generous: no client waits for an answer, and a slow disk is not a failure. */
const LIMITS: RunnerLimits = {
  transactionTimeoutMs: 120_000,
  lockTimeoutMs: 60_000,
  attempts: 5,
  resolveTimeoutMs: 10_000,
};

/** Opens every shard and closes them after the work. @throws the error of the first connection that fails */
export async function withShardRunners<T>(
  addresses: readonly ShardAddress[],
  name: string,
  work: (shards: readonly ShardRunner[]) => Promise<T>,
): Promise<T> {
  return withShards(addresses, { name, pipeline: true }, (shards) =>
    work(
      shards.map((shard) => ({
        ...shard,
        runner: new TransactionRunner(new ShardPool(shard.dataSource), LIMITS),
      })),
    ),
  );
}

/** Opens a session in every shard and ends them after the work. @throws the error of the first connection that fails */
export async function withSessions<T>(
  addresses: readonly ShardAddress[],
  name: string,
  work: (sessions: readonly ShardSession[]) => Promise<T>,
): Promise<T> {
  return withShards(addresses, { name, pipeline: false }, async (shards) => {
    const queryRunners = shards.map(({ dataSource }) => dataSource.createQueryRunner());
    try {
      const clients = await Promise.all(queryRunners.map(connect));
      return await work(
        shards.map((shard, index) => ({
          ...shard,
          queryRunner: queryRunners[index] as QueryRunner,
          client: clients[index] as PoolClient,
        })),
      );
    } finally {
      // Closing the connection rolls back whatever was not committed.
      await Promise.allSettled(queryRunners.map((queryRunner) => queryRunner.release()));
    }
  });
}

/** Addresses the shard as the service does: with its role, and through its pooler. */
export const asService = ({ url, schema }: ShardAddress): ShardAddress => ({ url, schema });

/** Opens a session in one shard. */
export async function withSession<T>(
  address: ShardAddress,
  name: string,
  work: (session: ShardSession) => Promise<T>,
): Promise<T> {
  return withSessions([address], name, ([session]) => work(session as ShardSession));
}

async function withShards<T>(
  addresses: readonly ShardAddress[],
  { name, pipeline }: { readonly name: string; readonly pipeline: boolean },
  work: (shards: readonly OpenShard[]) => Promise<T>,
): Promise<T> {
  const shards = addresses.map((address, index): OpenShard => {
    // By default as the tables' owner, over a direct connection: most use cases need rights that the service's role
    // lacks.
    const owned = { ...address, url: address.migrationUrl ?? address.url };
    const dataSource = createDataSource(owned, {
      ...{ name, size: 1, connectTimeoutMs: CONNECT_TIMEOUT_MS, pipeline },
    });
    return { index, address, tables: tablesOf(address.schema), dataSource };
  });
  try {
    const connected = await Promise.allSettled(shards.map((shard) => shard.dataSource.initialize()));
    const failed = connected.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
    return await work(shards);
  } finally {
    const up = shards.filter(({ dataSource }) => dataSource.isInitialized);
    await Promise.allSettled(up.map(({ dataSource }) => dataSource.destroy()));
  }
}

/**
 * Runs work in a transaction on the bank's first shard, which holds the keys and the audit log.
 *
 * @throws CommandError when the COMMIT did not take effect
 */
export async function inFirstShard<T>(
  addresses: readonly ShardAddress[],
  name: string,
  work: (manager: EntityManager, session: ShardSession) => Promise<T>,
): Promise<T> {
  return withSession(addresses[0] as ShardAddress, name, async (session) => {
    await session.queryRunner.startTransaction();
    const result = await work(session.queryRunner.manager, session);
    // TypeORM's commitTransaction ignores the command tag, and a COMMIT of an aborted transaction raises no error.
    const { command } = await session.client.query('COMMIT');
    if (command !== 'COMMIT') throw new CommandError(`the database answered ${command}: nothing was done`);
    return result;
  });
}
