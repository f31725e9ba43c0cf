import type { Config } from './config.js';
import { RENAMED, VARIABLES } from './variables.js';

/** The value that applies instead of a removed variable; undefined: the variable would have no effect here anyway. */
export const GONE: Readonly<Record<string, (config: Config) => number | undefined>> = {
  HTTP_MAX_PIPELINED: ({ http }) => http.maxPipelined,
  HTTP_MAX_BATCHES: ({ http }) => http.maxBatches,
  HTTP_HEADERS_TIMEOUT_MS: ({ http }) => http.headersTimeoutMs,
  HTTP_ANSWER_TIMEOUT_MS: ({ http }) => http.answerTimeoutMs,
  LEDGER_QUEUE: ({ ledger }) => ledger.queue,
  LEDGER_LANES: ({ ledger }) => ledger.lockWaiters,
  LEDGER_ATOMIC_BATCHES: ({ ledger }) => ledger.atomicBatches,
  LEDGER_LOCK_TIMEOUT_MS: ({ ledger }) => ledger.lockTimeoutMs,
  LEDGER_RESOLVE_TIMEOUT_MS: ({ ledger }) => ledger.resolveTimeoutMs,
  LEDGER_ATTEMPTS: ({ ledger }) => ledger.attempts,
  READ_TIMEOUT_MS: ({ database }) => database.readTimeoutMs,
  BALANCE_CACHE_ENTRIES: ({ balanceCache }) => balanceCache.entries,
  OUTBOX_POLL_MS: ({ outbox }) => outbox.pollMs,
  RABBITMQ_CONFIRM_TIMEOUT_MS: ({ rabbitmq }) => rabbitmq?.confirmTimeoutMs,
  AUTH_FAILURES_PER_MINUTE: ({ auth }) => auth.failuresPerMinute,
  JWT_CLOCK_TOLERANCE_S: ({ jwt }) => jwt?.clockToleranceS,
  SHUTDOWN_TIMEOUT_MS: ({ operation }) => operation.shutdownTimeoutMs,
};

/** Warnings about variables that are set but have no effect: removed ones, and ones that look misspelt. */
export function variableWarnings(config: Config, environment: NodeJS.ProcessEnv = process.env): string[] {
  const isSet = (name: string) => (environment[name] ?? '') !== '';
  const gone = Object.keys(GONE)
    .filter(isSet)
    .map((name) => {
      const instead = GONE[name]?.(config);
      return instead === undefined ? name : `${name} (fixed at ${instead})`;
    });
  const misspelt = Object.keys(environment).flatMap((name) => {
    if (!isSet(name)) return [];
    const meant = nameMeantBy(name);
    return meant === undefined ? [] : [`${name} is not a setting and has no effect: is ${meant} meant?`];
  });
  return gone.length === 0
    ? misspelt
    : [`these settings no longer exist and have no effect: ${gone.join(', ')}`, ...misspelt];
}

const OUR_PREFIX = /^(LEDGER|HTTP|DATABASE|AUTH|JWT|REDIS|RABBITMQ|RATE_LIMIT|BALANCE_CACHE)_/;

/** The variable that a misspelt name is close to: one letter is wrong, or the end is missing behind a prefix of ours. */
function nameMeantBy(name: string): string | undefined {
  if (!name.includes('_') || [VARIABLES, RENAMED, GONE].some((known) => name in known)) return undefined;
  const near = new Set(withoutOneLetter(name));
  return Object.keys(VARIABLES).find(
    (known) =>
      (OUR_PREFIX.test(name) && known.startsWith(name)) ||
      withoutOneLetter(known).some((text) => near.has(text)),
  );
}

/** Two names that share one of these differ by one letter or by two swapped neighbours. */
function withoutOneLetter(name: string): string[] {
  return [name, ...Array.from(name, (_, index) => name.slice(0, index) + name.slice(index + 1))];
}
