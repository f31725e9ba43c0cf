import { startReplica, type Replica } from '../stack/servers/replica.js';
import { OpenApiContract } from './contract.js';
import { Attack, type Violation } from './attack.js';
import { shellCommand, type Draft, type Pair } from './draft.js';
import { ACCOUNTS } from './values.js';

export interface FuzzOptions {
  /** An empty database that nothing else uses. */
  readonly databaseUrl: string;
  readonly requests: number;
  readonly seed: number;
}

export interface FuzzReport {
  readonly attack: Attack;
  /** The violations, ready to be printed; empty: there are none. */
  readonly failures: readonly string[];
}

const SCHEMA = 'bank';
/** pino's number. */
const ERROR_LEVEL = 50;
const MAX_LOG_LINES = 20;
const METRICS_TIMEOUT_MS = 20_000;
/** From the smallest amount to nearly the limit. */
const OPENING_DEPOSITS = ['1000000.00', '500.00', '250000.00', '9999999999999990.00', '0.01', '100000.00'];

/**
 * Runs the built service on a database, fires generated requests at it, and checks the log and the books afterwards.
 */
export async function fuzz({ databaseUrl, requests, seed }: FuzzOptions): Promise<FuzzReport> {
  const complaints: string[] = [];
  const service = await startReplica({
    settings: {
      AUTH: 'off',
      DATABASE_URL: databaseUrl,
      DATABASE_SCHEMA: SCHEMA,
      BALANCE_CACHE: 'on',
      LOG_FORMAT: 'json',
      WEBHOOK_PRIVATE_ADDRESSES: 'on',
      WEBHOOK_KEYS: Buffer.alloc(32, 1).toString('base64'),
    },
    onLine: (line) => {
      if (isComplaint(line) && complaints.length < MAX_LOG_LINES) complaints.push(line);
    },
  });
  const attack = new Attack(service.url, new OpenApiContract());
  try {
    const began = await startTime(service);
    const violation = (await openAccounts(attack)) ?? (await attack.run(requests, seed));
    const failures = violation ? [describe(violation, service.url)] : [];
    if ((await startTime(service)) !== began)
      failures.push('The service hangs, or is not the process that was started.');
    failures.push(...(await attack.books.problems({ url: databaseUrl, schema: SCHEMA })));
    return { attack, failures: [...failures, ...complaints.map((line) => `The service logged: ${line}`)] };
  } finally {
    attack.close();
    await service.stop();
  }
}

/** A line of level error, or output that is not a log line. */
function isComplaint(line: string): boolean {
  try {
    return (JSON.parse(line) as { level: number }).level >= ERROR_LEVEL;
  } catch {
    return true;
  }
}

/** @returns undefined when the service does not answer */
async function startTime({ url }: Replica): Promise<string | undefined> {
  const signal = AbortSignal.timeout(METRICS_TIMEOUT_MS);
  const metrics = await fetch(`${url}/metrics`, { signal }).then(
    (response) => response.text(),
    () => '',
  );
  return /^process_start_time_seconds (\S+)$/m.exec(metrics)?.[1];
}

const LIMIT = ['limit', '1'] as const;

/** Opens accounts 1 to {@link ACCOUNTS}, each with a history of several pages, so that there are cursors to use. */
async function openAccounts(attack: Attack): Promise<Violation | undefined> {
  const deposit = '{"amount":"0.01","type":"Deposit"}';
  for (let account = 1; account <= ACCOUNTS; account++) {
    const openingDeposit = OPENING_DEPOSITS[account % OPENING_DEPOSITS.length];
    const violation =
      (await attack.fireAll([draft('POST', 'accounts', [], JSON.stringify({ openingDeposit }))])) ??
      (await attack.fireAll([draft('POST', `accounts/${account}/transactions`, [], deposit)])) ??
      (await attack.fireAll([draft('GET', `accounts/${account}/transactions`, [LIMIT])])) ??
      (await attack.fireAll([
        draft('GET', `accounts/${account}/transactions`, [LIMIT, ['type', 'Deposit']]),
      ]));
    if (violation) return violation;
  }
  const webhook = '{"url":"http://127.0.0.1:9/","eventTypes":["*"]}';
  return attack.fireAll([
    draft('GET', 'accounts', [LIMIT]),
    ...[1, 2].map(() => draft('POST', 'webhooks', [], webhook)),
    draft('GET', 'webhooks', [LIMIT]),
  ]);
}

function draft(method: string, path: string, query: readonly Pair[], body?: string): Draft {
  const headers: Pair[] = [['Host', 'bank']];
  if (body !== undefined) headers.push(['Content-Type', 'application/json']);
  return {
    method,
    segments: path.split('/'),
    query,
    protocol: 'HTTP/1.1',
    headers,
    body,
    verdict: 'well-formed',
  };
}

export function describe({ sent, answer, problems }: Violation, url: string): string {
  const headers = Object.entries(answer?.headers ?? {}).map((pair) => pair.join(': '));
  return [
    ...problems.map((problem) => `Broken: ${problem}`),
    `Request (${sent.verdict}):`,
    `  ${shellCommand(sent, url)}`,
    'Answer:',
    ...(answer ? [String(answer.status), ...headers, '', answer.text] : ['none']).map((line) => `  ${line}`),
  ].join('\n');
}
