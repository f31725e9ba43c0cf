import { Module } from '@nestjs/common';
import { CONFIG } from '../config.module.js';
import type { Config } from '../config.js';
import { BalanceCache } from '../domain/ports.js';
import { LocalBalanceCache } from './local-balance-cache.js';

@Module({
  providers: [
    {
      provide: BalanceCache,
      inject: [CONFIG],
      useFactory: (config: Config) => new LocalBalanceCache(config.balanceCache),
    },
  ],
  exports: [BalanceCache],
})
export class CacheModule {}
