import type { DirectShard, Fault } from './faults.js';
import type { Instance } from './instances.js';
import type { Sender } from './senders.js';

/** A bank that is put to the test, with all that can go wrong around it. */
export interface BankUnderTest {
  readonly instances: readonly Instance[];
  readonly senders: readonly Sender[];
  /** Over connections that no fault of the wire touches. */
  readonly shards: readonly DirectShard[];
  readonly faults: readonly Fault[];
  /** Accounts that the bank had from the start. */
  readonly ownAccounts: readonly number[];
  /** Where events are published; undefined where they stay in the process. */
  readonly events: { readonly url: string; readonly exchange: string } | undefined;
  /** Faults of the list that cannot be done on this machine, and why. */
  readonly leftOut: readonly string[];
  stop(): Promise<void>;
}

export interface BankOptions {
  /** Options for the service's Node, before the program. */
  readonly nodeOptions?: readonly string[];
  /** Settings of the service, besides those that say where the parts of the bank are. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Called with every line that an instance writes. */
  readonly onLine: (instance: string, line: string) => void;
}

/** How long a balance may be answered from the cache: short, so that a run sees entries expire. */
export const CACHE_TTL_MS = 3_000;

export const SETTINGS = {
  AUTH: 'on',
  BALANCE_CACHE_TTL_MS: String(CACHE_TTL_MS),
  SLOW_REQUEST_MS: '60000',
  LOG_FORMAT: 'json',
};

/** The service with a wall clock that can be made to jump. */
export function withSteppedClock(root = process.cwd()): readonly string[] {
  return ['--import', `${root}/tools/chaos/preload/clock.mjs`];
}
