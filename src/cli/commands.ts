import 'reflect-metadata';
import { isIPv6 } from 'node:net';
import type { Logger } from 'pino';
import { recordActOn, type AdministrativeAct } from '../audit/audit-log.js';
import { openDatabases, openServers, type Bank } from '../app/open-databases.js';
import { loadConfig, type Config } from '../config/config.js';
import { formatMoney, type Money } from '../domain/money.js';
import { createLogger, STDERR } from '../observability/logging.js';
import type { ShardAddress } from '../config/shard-address.js';
import { locateShard } from '../sharding/shard-locator.js';
import { InterruptedError, CommandError } from '../app/user-message.js';
import { assignAccounts, assignText, type AssignRequest } from './accounts-assign.js';
import { archiveBank, archiveText } from './archive.js';
import {
  brokenLogText,
  checkHeads,
  checkText,
  eventsText,
  exportHeads,
  exportText,
  readEvents,
} from './audit.js';
import { backupBank, backupText } from './backup.js';
import { tailEvents as runTail, type TailOptions } from './events-tail.js';
import { migrateText } from './migrate.js';
import {
  createdText,
  type KeyCreated,
  createKey,
  keysText,
  listKeys,
  revokeKey,
  rotateKey,
  type KeyRequest,
  type RotateRequest,
} from './keys.js';
import { createProgress, type Progress } from './progress.js';
import { resetAccount, resetText } from './reset.js';
import { restoreBank, restoreText, type RestoreOptions } from './restore.js';
import { moveShard as runMove, moveText } from './shard-move.js';
import { listShards as readShards, shardsText } from './shards-list.js';
import { seedBank, seedText, type SeedRequest } from './seed.js';
import { verifyText } from './verify-text.js';
import { verifyBank } from './verify.js';

interface Session {
  readonly config: Config;
  readonly logger: Logger;
  readonly bank: Bank;
  /** Aborted by SIGINT and SIGTERM, with an InterruptedError. */
  readonly signal: AbortSignal;
}

export async function migrate(): Promise<void> {
  await withBank('migrate', ({ bank }) => Promise.resolve(console.log(migrateText(bank.migrations))));
}

export async function seed(request: SeedRequest): Promise<void> {
  await withBank('seed', async ({ bank, signal }) => {
    const { accounts, balance, owner } = request;
    const details = { accounts, balance: formatMoney(balance), owner };
    await recordActOn(bank.shards, { action: 'accounts.seeded', details });
    const report = await withProgress('accounts', (onProgress) =>
      seedBank(bank.shards, request, { onProgress, signal }),
    );
    console.log(seedText(report, request.balance));
    if (report.accounts < request.accounts) signal.throwIfAborted();
  });
}

export async function reset({ account, balance }: { account: number; balance: Money }): Promise<void> {
  await withBank('reset', async ({ config, bank, logger }) => {
    // Before it is done: what is done without a trace is worse than a trace of what then failed.
    await recordActOn(bank.shards, {
      action: 'account.reset',
      details: { account, balance: formatMoney(balance) },
    });
    console.log(resetText(await resetAccount(config, bank, logger, account, balance)));
  });
}

export async function assign(request: AssignRequest): Promise<void> {
  await withBank('accounts assign', async ({ bank, signal }) => {
    console.log(assignText(await assignAccounts(bank.shards, request, signal), request.owner));
  });
}

/** Exits with 1 when the books are not whole. */
export async function verify({ json }: { json?: boolean }): Promise<void> {
  await withBank('verify', async ({ bank, signal }) => {
    const startedMs = performance.now();
    const report = await withProgress('accounts', (onProgress) =>
      verifyBank(bank.shards, { onProgress, signal }),
    );
    const { firstBroken } = await readEvents(bank.shards);
    const ok = report.ok && firstBroken === undefined;
    if (json) console.log(JSON.stringify({ ...report, ok, firstBrokenEvent: firstBroken }));
    else console.log(verifyText(report, performance.now() - startedMs));
    if (!json && firstBroken !== undefined) console.log(brokenLogText(firstBroken));
    if (!ok) process.exitCode = 1;
  });
}

/** Exits with 1 when the audit log is not whole. */
export async function listEvents({ json }: { json?: boolean }): Promise<void> {
  await withBank('audit list', async ({ bank }) => {
    const log = await readEvents(bank.shards);
    console.log(json ? JSON.stringify(log) : eventsText(log));
    if (log.firstBroken !== undefined) process.exitCode = 1;
  });
}

export async function exportAuditHeads({ to }: { to: string }): Promise<void> {
  await withBank('audit export', async ({ bank, signal }) => {
    const report = await withProgress('accounts', (onProgress) =>
      exportHeads(bank.shards, bank.bankId, to, { onProgress, signal }),
    );
    console.log(exportText(report, to));
  });
}

/** Exits with 1 when the bank does not hold what was exported any more. */
export async function checkAuditHeads({ from }: { from: string }): Promise<void> {
  await withBank('audit check', async ({ bank, signal }) => {
    const report = await withProgress('accounts', (onProgress) =>
      checkHeads(bank.shards, bank.bankId, from, { onProgress, signal }),
    );
    console.log(checkText(report));
    if (report.differing > 0 || report.eventsDiffer) process.exitCode = 1;
  });
}

export async function createApiKey({ json, ...request }: KeyRequest & { json?: boolean }): Promise<void> {
  await withBank('keys create', async ({ bank }) => {
    const created = await createKey(bank.shards, request);
    printKey(created, json);
  });
}

export async function listApiKeys({ json }: { json?: boolean }): Promise<void> {
  await withBank('keys list', async ({ bank }) => {
    const keys = await listKeys(bank.shards);
    console.log(json ? JSON.stringify(keys) : keysText(keys));
  });
}

export async function revokeApiKey(keyId: number): Promise<void> {
  await withBank('keys revoke', async ({ bank }) => {
    const { name, hint } = await revokeKey(bank.shards, keyId);
    console.log(`Revoked key ${keyId}, ${name} (${hint}). Within 5 seconds no service takes it any more.`);
  });
}

function printKey(created: KeyCreated, json: boolean | undefined): void {
  console.log(json ? JSON.stringify(created) : created.key);
  if (!json) console.error(createdText(created));
}

export async function rotateApiKey(
  keyId: number,
  { json, ...request }: RotateRequest & { json?: boolean },
): Promise<void> {
  await withBank('keys rotate', async ({ bank }) => {
    const created = await rotateKey(bank.shards, keyId, request);
    printKey(created, json);
  });
}

export async function archive(before: Date): Promise<void> {
  await withBank('archive', async ({ bank, signal }) => {
    await recordActOn(bank.shards, { action: 'transactions.archived', details: { before } });
    const report = await withProgress('transactions', (onProgress) =>
      archiveBank(bank.shards, before, { onProgress, signal }),
    );
    console.log(archiveText(report));
    if (!report.complete) signal.throwIfAborted();
  });
}

/** Exits with 1 when the books were not whole. */
export async function backup({ to }: { to: string }): Promise<void> {
  await withBank('backup', async ({ bank, signal }) => {
    const report = await backupBank(bank.shards, { to, onStep: showStep, signal });
    console.log(backupText(report));
    if (report.manifest.shards.some(({ books }) => books.faulty > 0)) process.exitCode = 1;
  });
}

/** Does not open the bank, which may not be founded yet. Exits with 1 when the books, or the audit log, are not whole. */
export async function restore(options: Pick<RestoreOptions, 'from' | 'sha256' | 'skipIds'>): Promise<void> {
  await withServers('restore', async ({ shards, signal }) => {
    const report = await restoreBank(shards, { ...options, onStep: showStep, signal });
    console.log(restoreText(report));
    const { firstBroken } = await readEvents(shards);
    if (firstBroken !== undefined) console.log(brokenLogText(firstBroken));
    if (report.totals.faulty > 0 || firstBroken !== undefined) process.exitCode = 1;
  });
}

/** To stderr: stdout is for results. */
function showStep(step: string): void {
  console.error(step);
}

export async function listShards({
  json,
  service,
  keyFile,
}: {
  json?: boolean;
  service?: string;
  keyFile?: string;
}): Promise<void> {
  await withServers('shards list', async ({ config, shards }) => {
    const list = await readShards(shards, { url: service ?? operatorsUrl(config), keyFile });
    console.log(json ? JSON.stringify(list.shards) : shardsText(list.shards));
    if (list.noQueues !== undefined) console.error(`Queues are not shown: ${list.noQueues}.`);
  });
}

/** Where a service with these settings shows its metrics. */
function operatorsUrl({ http, management }: Config): string {
  const place = management ?? http;
  const name = isIPv6(place.host) ? `[${place.host}]` : place.host;
  return `${http.tls && !management ? 'https' : 'http'}://${name}:${place.port}`;
}

export async function moveShard(
  index: number,
  { to, maxPauseMs }: { to: string; maxPauseMs: number },
): Promise<void> {
  await withServers('shards move', async ({ shards, signal }) => {
    const shard = shards[index];
    if (!shard) throw new CommandError(`there is no shard ${index}; there are 0 to ${shards.length - 1}`);
    const place = { index, count: shards.length };
    const onStep = (step: string) => showStep(`shard ${index}: ${step}`);
    const record = async (act: AdministrativeAct) => {
      await recordActOn([(await locateShard(shards[0] ?? shard)).address], act);
    };
    console.log(moveText(index, await runMove(shard, place, to, { maxPauseMs, onStep, record, signal })));
  });
}

/** Reads from the broker alone: the bank is not opened. */
export async function tailEvents(options: TailOptions): Promise<void> {
  const { rabbitmq } = loadConfig();
  if (!rabbitmq)
    throw new CommandError('RABBITMQ_URL is not set: without a broker, events stay in the service');
  const signal = onInterrupt();
  await runTail(rabbitmq, options, signal);
  signal.throwIfAborted();
}

/** For what concerns single shards, whether the others are up or not. */
async function withServers(
  command: string,
  work: (session: Omit<Session, 'bank'> & { shards: readonly ShardAddress[] }) => Promise<void>,
): Promise<void> {
  const config = loadConfig(undefined, { LOG_LEVEL: 'warn' });
  const logger = createCliLogger(config);
  const servers = await openServers(config, logger, { holder: `cli ${command}`, shareRunning: true });
  try {
    await work({ config, logger, shards: servers.shards, signal: onInterrupt() });
  } finally {
    await servers.close();
  }
}

async function withBank(command: string, work: (session: Session) => Promise<void>): Promise<void> {
  const config = loadConfig(undefined, { LOG_LEVEL: 'warn' });
  const logger = createCliLogger(config);
  const bank = await openDatabases(config, logger, {
    holder: `cli ${command}`,
    shareRunning: true,
  });
  try {
    await work({ config, logger, bank, signal: onInterrupt() });
  } finally {
    await bank.close();
  }
}

async function withProgress<T>(label: string, work: (update: Progress['update']) => Promise<T>): Promise<T> {
  const progress = createProgress(label);
  try {
    return await work((done, total) => progress.update(done, total));
  } finally {
    progress.stop();
  }
}

/** The first signal asks the work to stop where it leaves things in order; the second one ends the process. */
function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => controller.abort(new InterruptedError(signal)));
  }
  return controller.signal;
}

/** To stderr: stdout is for results. What the service tells of its ordinary course does not interest here. */
function createCliLogger({ log }: Config): Logger {
  const format = log.format === 'json' ? 'json' : 'pretty';
  return createLogger({ ...log, format }, STDERR);
}
