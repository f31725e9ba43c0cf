import { Module } from '@nestjs/common';
import { CONFIG } from '../config.module.js';
import type { Config } from '../config.js';
import { LedgerModule, READERS } from '../ledger/ledger.module.js';
import type { ShardReader } from '../ledger/shard-reader.js';
import type { ShardRouter } from '../ledger/shard-router.js';
import { Metrics } from '../observability/metrics.js';
import { ApiKeys } from './api-keys.js';
import { Authenticator } from './authenticator.js';
import { Tokens } from './tokens.js';

/** The injection token of the {@link Authenticator}; undefined: authentication is off. */
export const AUTHENTICATOR = Symbol('AUTHENTICATOR');

@Module({
  imports: [LedgerModule],
  providers: [
    {
      provide: AUTHENTICATOR,
      inject: [CONFIG, READERS, Metrics],
      useFactory: createAuthenticator,
    },
  ],
  exports: [AUTHENTICATOR],
})
export class AuthModule {}

function createAuthenticator(
  { auth }: Config,
  readers: ShardRouter<ShardReader>,
  metrics: Metrics,
): Authenticator | undefined {
  const [first] = readers.shards;
  if (!auth.enabled || !first) return undefined;
  const tokens = auth.jwt && new Tokens(auth.jwt);
  return new Authenticator(new ApiKeys(first), tokens, auth.failuresPerMinute, (failure) =>
    metrics.authenticationFailed(failure),
  );
}
