import { Logger, Module, type OnApplicationShutdown } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { SHARDS } from '../sharding/sharding.module.js';
import type { Shard } from '../sharding/shard.js';
import { messageOf } from '../domain/error-message.js';
import { Metrics } from '../observability/metrics.js';
import { ApiKeys } from './api-keys.js';
import { Authenticator } from './authenticator.js';
import { ApiKeyStore } from './api-key-store.js';
import { Tokens } from './tokens.js';

/** The injection token of the {@link Authenticator}; undefined: authentication is off. */
export const AUTHENTICATOR = Symbol('AUTHENTICATOR');
/** The injection token of the {@link ApiKeys}; undefined: authentication is off. */
export const API_KEYS = Symbol('API_KEYS');

@Module({
  providers: [
    { provide: API_KEYS, inject: [CONFIG, SHARDS, Metrics], useFactory: createApiKeys },
    { provide: AUTHENTICATOR, inject: [CONFIG, API_KEYS, Metrics], useFactory: createAuthenticator },
  ],
  exports: [AUTHENTICATOR, API_KEYS],
})
export class AccessModule implements OnApplicationShutdown {
  constructor(private readonly moduleRef: ModuleRef) {}

  onApplicationShutdown(): void {
    this.moduleRef.get<ApiKeys | undefined>(API_KEYS)?.close();
  }
}

function createApiKeys({ auth }: Config, [first]: readonly Shard[], metrics: Metrics): ApiKeys | undefined {
  if (!first?.keys) return undefined;
  const logger = new Logger('Credentials');
  const store = new ApiKeyStore(first.keys, first.address.schema);
  const keys = new ApiKeys(store, auth.keysStaleMs, (problem) => {
    if (problem === undefined) return logger.log('API keys can be read again');
    const minutes = Math.round(auth.keysStaleMs / 60_000);
    logger.warn(
      `API keys can't be read (${messageOf(problem)}): those in use are believed for ${minutes} min, others get 503`,
    );
  });
  metrics.watchKeys(() => !keys.unreadable);
  return keys;
}

function createAuthenticator(
  { auth, jwt }: Config,
  keys: ApiKeys | undefined,
  metrics: Metrics,
): Authenticator | undefined {
  const tokens = jwt && new Tokens(jwt);
  return (
    keys &&
    new Authenticator(keys, tokens, auth.failuresPerMinute, (failure) =>
      metrics.authenticationFailed(failure),
    )
  );
}
