import { Module, type DynamicModule } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import type { Config } from '../config.js';
import { dataSourceOptions, type PoolSettings } from './data-source.js';
import type { ShardAddress } from './shard-address.js';

/**
 * A shard's two pools. Readers can never take a connection that a flusher needs, and one shard's trouble never takes
 * another's.
 */
export interface ShardConnections {
  readonly index: number;
  readonly address: ShardAddress;
  /** For the group commit alone: one connection per flusher and lane. */
  readonly ledger: DataSource;
  /** For all else: reads, opening accounts, the outbox. */
  readonly general: DataSource;
}

export const SHARD_CONNECTIONS = Symbol('SHARD_CONNECTIONS');

@Module({})
export class DatabaseModule {
  /** @param shards migrated already, in the bank's order */
  static register(config: Config, shards: readonly ShardAddress[]): DynamicModule {
    const pools = shards.flatMap((address, index) => [
      { address, pool: ledgerPool(config, index) },
      { address, pool: generalPool(config, index) },
    ]);
    return {
      module: DatabaseModule,
      imports: pools.map(({ address, pool }) =>
        TypeOrmModule.forRoot({ ...dataSourceOptions(address, pool), name: pool.name, retryAttempts: 0 }),
      ),
      providers: [
        {
          provide: SHARD_CONNECTIONS,
          inject: pools.map(({ pool }) => getDataSourceToken(pool.name)),
          useFactory: (...dataSources: DataSource[]): ShardConnections[] =>
            shards.map((address, index) => ({
              index,
              address,
              ledger: dataSources[2 * index] as DataSource,
              general: dataSources[2 * index + 1] as DataSource,
            })),
        },
      ],
      exports: [SHARD_CONNECTIONS],
    };
  }
}

function ledgerPool(config: Config, index: number): PoolSettings {
  return {
    name: `bank-ledger-${index}`,
    size: config.ledger.flushers + config.ledger.lanes,
    connectTimeoutMs: config.databaseConnectTimeoutMs,
  };
}

function generalPool(config: Config, index: number): PoolSettings {
  return {
    name: `bank-general-${index}`,
    size: config.databaseReadPool,
    connectTimeoutMs: config.databaseConnectTimeoutMs,
  };
}
