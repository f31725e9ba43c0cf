import { Logger, Module, type DynamicModule, type OnModuleDestroy } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { KEY_CONNECTIONS, ledgerConnections, type Config } from '../config/config.js';
import { messageOf } from '../domain/error-message.js';
import { ShardsDownError, waitingHelps, type BankShards } from './bootstrap-shards.js';
import { dataSourceOptions, type PoolSettings } from '../storage/data-source.js';
import { Shard, type ShardDataSources } from './shard.js';

/** The injection token of the {@link Shard}s, in the bank's order. */
export const SHARDS = Symbol('SHARDS');

@Module({})
export class ShardingModule implements OnModuleDestroy {
  constructor(private readonly moduleRef: ModuleRef) {}

  /** @param bank the migrated bank; only the shards that are down are not migrated */
  static register(config: Config, bank: BankShards): DynamicModule {
    const pools = bank.shards.flatMap((address, index) =>
      poolsOf(config, index).map((pool) => ({ address, pool })),
    );
    return {
      module: ShardingModule,
      imports: pools.map(({ address, pool }) =>
        // A shard opens its pools itself: one that is down must not keep the others from starting.
        TypeOrmModule.forRoot({
          ...dataSourceOptions(address, pool),
          name: pool.name,
          manualInitialization: true,
        }),
      ),
      providers: [
        {
          provide: SHARDS,
          inject: pools.map(({ pool }) => getDataSourceToken(pool.name)),
          useFactory: (...dataSources: DataSource[]) => {
            const byName = new Map(pools.map(({ pool }, at) => [pool.name, dataSources[at] as DataSource]));
            return openShards(config, bank, byName);
          },
        },
      ],
      exports: [SHARDS],
    };
  }

  onModuleDestroy(): void {
    for (const shard of this.moduleRef.get<Shard[]>(SHARDS)) shard.close();
  }
}

/** @throws when no shard can be opened, or when one can't for a reason that waiting does not put right */
async function openShards(
  config: Config,
  bank: BankShards,
  byName: ReadonlyMap<string, DataSource>,
): Promise<Shard[]> {
  const logger = new Logger('Shards');
  const log = {
    info: (message: string) => logger.log(message),
    warn: (message: string) => logger.warn(message),
  };
  const shards = bank.shards.map((address, index) => {
    const [ledger, general, keys] = poolsOf(config, index).map(({ name }) => byName.get(name));
    const dataSources = { ledger, general, keys } as ShardDataSources;
    const identity = { bankId: bank.bankId, index, count: bank.shards.length };
    return new Shard(address, identity, dataSources, log, config.database);
  });
  const down = new Set(bank.down);
  const open = async (shard: Shard) => {
    // It was up a moment ago, but may have gone down since, or a pooler in between may be down.
    await shard.open().catch((error: unknown) => {
      if (!waitingHelps(error)) throw error;
      down.add(shard.index);
      if (down.size === shards.length)
        throw new ShardsDownError(`no shard can be opened: ${messageOf(error)}`);
    });
  };
  await Promise.all(shards.filter(({ index }) => !bank.down.has(index)).map(open));
  for (const index of down) void shards[index]?.openWhenUp();
  return shards;
}

/** In the order of {@link ShardDataSources}. Only the first shard has a pool for keys. */
function poolsOf(config: Config, index: number): PoolSettings[] {
  const { readPool, connectTimeoutMs } = config.database;
  return [
    { name: `bank-ledger-${index}`, size: ledgerConnections(config.ledger), connectTimeoutMs },
    { name: `bank-general-${index}`, size: readPool, connectTimeoutMs },
    ...(config.auth.enabled && index === 0
      ? [{ name: 'bank-keys', size: KEY_CONNECTIONS, connectTimeoutMs }]
      : []),
  ];
}
