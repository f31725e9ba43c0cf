import leven from 'leven';
import type { Config } from './config.js';
import { ENV_FILE_NAMES } from './env-file-names.js';
import { READ_BY_OPEN_TELEMETRY, RENAMED, VARIABLES } from './variables.js';

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

/**
 * Warnings about variables that are set but have no effect: removed ones, and ones that look misspelt.
 *
 * @param inFile the names in `.env`, all of which are meant for the service; the environment also has those of other
 * programs
 */
export function variableWarnings(
  config: Config,
  environment: NodeJS.ProcessEnv = process.env,
  inFile: ReadonlySet<string> = ENV_FILE_NAMES,
): string[] {
  const names = Object.keys(environment).filter((name) => environment[name] !== '');
  const gone = names
    .filter((name) => Object.hasOwn(GONE, name))
    .map((name) => {
      const instead = GONE[name]?.(config);
      return instead === undefined ? name : `${name} (fixed at ${instead})`;
    });
  const unknown = names
    .filter((name) => ![VARIABLES, RENAMED, GONE].some((known) => Object.hasOwn(known, name)))
    .filter((name) => !READ_BY_OPEN_TELEMETRY.test(name))
    .flatMap((name) => {
      const meant = nameMeantBy(name) ?? (inFile.has(name) ? nearestTo(name) : undefined);
      if (meant !== undefined) return [`${name} is not a setting and has no effect: is ${meant} meant?`];
      return inFile.has(name) ? [`${name} in .env is not a setting of the service`] : [];
    });
  return gone.length === 0
    ? unknown
    : [`these settings no longer exist and have no effect: ${gone.join(', ')}`, ...unknown];
}

const NAMES = Object.keys(VARIABLES);
const FORMS = NAMES.map((known) => ({
  known,
  letters: sortedLetters(known),
  typos: withoutOneLetter(known),
}));
const OUR_PREFIX =
  /^(LEDGER|HTTP|DATABASE|AUTH|JWT|REDIS|RABBITMQ|RATE_LIMIT|BALANCE_CACHE|TLS|SWAGGER)(_|$)/;
/** Shorter names of other programs may differ from one of ours by a letter: PORTS, POST. */
const MIN_LENGTH_FOR_TYPO = 6;

/**
 * The variable that a name in the environment is so close to that it is no other program's: the letters are the same,
 * one letter is wrong, or the end is missing behind a prefix of ours.
 */
function nameMeantBy(name: string): string | undefined {
  const given = sortedLetters(name);
  const near = new Set(name.length < MIN_LENGTH_FOR_TYPO ? [] : withoutOneLetter(name));
  return FORMS.find(
    ({ known, letters, typos }) =>
      letters === given ||
      (OUR_PREFIX.test(name) && known.startsWith(name)) ||
      typos.some((text) => near.has(text)),
  )?.known;
}

/** The same for names that differ in case, in underscores or in the order of letters. */
function sortedLetters(name: string): string {
  return Array.from(plain(name)).sort().join('');
}

/** Two names that share one of these differ by one letter or by two swapped neighbours. */
function withoutOneLetter(name: string): string[] {
  return [name, ...Array.from(name, (_, index) => name.slice(0, index) + name.slice(index + 1))];
}

/** The variable that a name resembles most: it is the beginning, or two thirds of the letters are right. */
function nearestTo(name: string): string | undefined {
  const given = plain(name);
  const isBeginning = (known: string) => given.length >= 3 && plain(known).startsWith(given);
  const distances = NAMES.map((known) => ({ known, distance: leven(given, plain(known)) }))
    .filter(({ known, distance }) => distance <= known.length / 3)
    .sort((a, b) => a.distance - b.distance);
  return NAMES.find(isBeginning) ?? distances[0]?.known;
}

function plain(name: string): string {
  return name.toUpperCase().replaceAll('_', '');
}
