import type { DirectShard, Fault } from './faults.js';
import type { Instance } from './instances.js';
import type { Sender } from './senders.js';

/** The bank under test, and everything around it that can fail. */
export interface BankUnderTest {
  readonly instances: readonly Instance[];
  readonly senders: readonly Sender[];
  /** Direct connections, which network faults do not affect. */
  readonly shards: readonly DirectShard[];
  readonly faults: readonly Fault[];
  /** Accounts that existed before the run. */
  readonly ownAccounts: readonly number[];
  /** Where events are published; undefined where they stay in the process. */
  readonly events: { readonly url: string; readonly exchange: string } | undefined;
  /** Faults that this machine cannot produce, and why. */
  readonly leftOut: readonly string[];
  stop(): Promise<void>;
}

export interface BankOptions {
  /** Node options for the service. */
  readonly nodeOptions?: readonly string[];
  /** Settings of the service, other than the addresses of the parts of the bank. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Called with every line that an instance writes. */
  readonly onLine: (instance: string, line: string) => void;
}

/** How long the cache may answer with a balance: short, so that entries expire during a run. */
export const CACHE_TTL_MS = 3_000;

export const SETTINGS = {
  AUTH: 'on',
  BALANCE_CACHE_TTL_MS: String(CACHE_TTL_MS),
  SLOW_REQUEST_MS: '60000',
  LOG_FORMAT: 'json',
};

/** Node options that give the service a wall clock that can be made to jump. */
export function withSteppedClock(root = process.cwd()): readonly string[] {
  return ['--import', `${root}/tools/chaos/preload/clock.mjs`];
}
