import { Logger, Module, type DynamicModule, type OnModuleDestroy } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import type { Config } from '../config.js';
import { messageOf } from '../error-message.js';
import { ShardsDownError, waitingHelps, type BankShards } from './bank-shards.js';
import { dataSourceOptions, type PoolSettings } from './data-source.js';
import { Shard } from './shard.js';

/** The injection token of the {@link Shard}s, in the bank's order. */
export const SHARDS = Symbol('SHARDS');

@Module({})
export class DatabaseModule implements OnModuleDestroy {
  constructor(private readonly moduleRef: ModuleRef) {}

  /** @param bank migrated already, except for the shards that are down */
  static register(config: Config, bank: BankShards): DynamicModule {
    const pools = bank.shards.flatMap((address, index) => [
      { address, pool: ledgerPool(config, index) },
      { address, pool: generalPool(config, index) },
    ]);
    return {
      module: DatabaseModule,
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
          useFactory: (...dataSources: DataSource[]) => openShards(config, bank, dataSources),
        },
      ],
      exports: [SHARDS],
    };
  }

  onModuleDestroy(): void {
    for (const shard of this.moduleRef.get<Shard[]>(SHARDS)) shard.close();
  }
}

/** @throws when no shard can be opened, or one can't for a reason that waiting does not mend */
async function openShards(config: Config, bank: BankShards, dataSources: DataSource[]): Promise<Shard[]> {
  const logger = new Logger('Shards');
  const log = {
    info: (message: string) => logger.log(message),
    warn: (message: string) => logger.warn(message),
  };
  const shards = bank.shards.map((address, index) => {
    const [ledger, general] = dataSources.slice(2 * index) as [DataSource, DataSource];
    const identity = { bankId: bank.bankId, index, count: bank.shards.length };
    return new Shard(address, identity, { ledger, general }, log, config);
  });
  const down = new Set(bank.down);
  const open = async (shard: Shard) => {
    // It was up a moment ago; but it may have gone since, or a pooler on the way to it may be down.
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

function ledgerPool(config: Config, index: number): PoolSettings {
  return {
    name: `bank-ledger-${index}`,
    size: config.ledger.flushers + config.ledger.lanes + config.ledger.atomicBatches,
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
