import { USD } from '../config/currencies.js';
import type { Currency } from '../domain/currency.js';
import { recordActOn } from '../audit/audit-log.js';
import { messageOf } from '../domain/error-message.js';
import { NotDurableError } from '../storage/durability.js';
import { migrate, ShardMismatchError, type MigrationReport } from '../storage/migrate.js';
import { ServiceRoleError } from '../storage/service-role.js';
import { describeShard, type ShardAddress } from '../config/shard-address.js';
import { locateShard, ServerTooOldError, type LocatedShard, type ShardIdentity } from './shard-locator.js';
import { UserError } from '../domain/user-error.js';

/** The shards of one bank, in the bank's order. */
export interface BankShards {
  readonly bankId: string;
  /** Where each one is now. */
  readonly shards: readonly ShardAddress[];
  /** Indexes of the shards that could not be reached, so are neither checked nor migrated yet. */
  readonly down: ReadonlySet<number>;
}

export interface BootstrappedShards extends BankShards {
  /** The names of the migrations that this start applied. */
  readonly migrations: readonly string[];
}

/** Shards that are needed to identify or complete the bank can't be reached at the moment. */
export class ShardsDownError extends UserError {}

/** A server rejects the connection for a reason that waiting does not put right. */
export class ShardUnusableError extends UserError {}

/**
 * Checks that the list is that of the bank, complete and in order, and migrates every shard. A new bank is created from
 * the last shard to the first, so a bank whose first shard is recorded is complete: then a shard without a record is a
 * wrong address, not a new shard.
 *
 * @param allowDown go on without shards that can't be reached, as long as another shard identifies the bank
 * @param currency of the bank; undefined: whatever it records, and USD for a new one
 * @throws ShardsDownError, ShardMismatchError, ShardUnusableError
 */
export async function bootstrapShards(
  configured: readonly ShardAddress[],
  { allowDown = false, currency }: { allowDown?: boolean; currency?: Currency } = {},
): Promise<BootstrappedShards> {
  const attempts = await Promise.allSettled(configured.map(locateShard));
  const located = attempts.map((attempt) => (attempt.status === 'fulfilled' ? attempt.value : undefined));
  const problems = attempts.flatMap((attempt, index) =>
    attempt.status === 'rejected' ? [problemOf(attempt.reason, configured, index)] : [],
  );
  const bankId = located.find((shard) => shard?.identity)?.identity?.bankId;
  if (problems.length > 0 && !(allowDown && bankId !== undefined))
    throw new ShardsDownError(problems.join('; '));
  located.forEach((shard, index) => shard && checkPlace(shard, { index, count: configured.length, bankId }));
  // A bank from before it was recorded is one in USD.
  const recorded =
    located.find((shard) => shard?.currency !== undefined)?.currency ??
    (located.some((shard) => shard?.inUse) ? USD.code : undefined);
  if (currency && recorded !== undefined) checkCurrency(currency.code, recorded);
  if (bankId !== undefined) checkComplete(located, bankId);
  const incomplete = bankId === undefined || located.some((shard) => shard && !shard.identity);
  const [bank, reports] = incomplete
    ? await createBank(located as LocatedShard[], bankId, recorded ?? currency?.code)
    : await migrateAll(configured, located, bankId);
  if (!bank.down.has(0)) await record(bank.shards, reports);
  return bank;
}

/**
 * Records all migrations in one event, and afterwards, because one of them may have created the audit log. While the
 * first shard is down, they are only in the log of the process.
 */
async function record(shards: readonly ShardAddress[], reports: readonly MigrationReport[]): Promise<void> {
  const applied = appliedIn(reports);
  const granted = [...new Set(reports.flatMap((report) => report.granted ?? []))];
  if (applied.length === 0 && granted.length === 0) return;
  await recordActOn(shards, { action: 'bank.migrated', details: { applied, granted } });
}

/** Migrates a shard that was down when its bank was opened. @throws like {@link bootstrapShards} */
export async function bootstrapShard(
  configured: ShardAddress,
  identity: ShardIdentity,
): Promise<ShardAddress> {
  const shard = await locateShard(configured);
  checkPlace(shard, identity);
  if (!shard.identity) throw missing(shard.address, identity.index, identity.bankId);
  const report = await migrate(shard.address, identity, identity.bankId);
  if (identity.index === 0) await record([shard.address], [report]);
  return shard.address;
}

type Bootstrapped = [BootstrappedShards, readonly MigrationReport[]];

/**
 * From the last shard to the first. Each passes the bank's id on, so that two instances that create it at once agree.
 */
async function createBank(
  located: readonly LocatedShard[],
  known: string | undefined,
  currency: string | undefined,
): Promise<Bootstrapped> {
  const count = located.length;
  const reports: MigrationReport[] = [];
  let bankId = known;
  for (const index of [...located.keys()].reverse()) {
    const { address } = located[index] as LocatedShard;
    const report = await migrate(address, { index, count }, bankId, currency);
    bankId = report.bankId;
    reports.push(report);
  }
  const shards = located.map((shard) => shard.address);
  return [{ bankId: bankId ?? '', shards, down: new Set(), migrations: appliedIn(reports) }, reports];
}

const appliedIn = (reports: readonly MigrationReport[]) => [
  ...new Set(reports.flatMap(({ applied }) => applied)),
];

async function migrateAll(
  configured: readonly ShardAddress[],
  located: readonly (LocatedShard | undefined)[],
  bankId: string,
): Promise<Bootstrapped> {
  const count = configured.length;
  const attempts = await Promise.all(
    located.map(async (shard, index) => shard && migrate(shard.address, { index, count }, bankId)),
  );
  const reports = attempts.filter((report) => report !== undefined);
  const bank = {
    bankId,
    shards: configured.map((address, index) => located[index]?.address ?? address),
    down: new Set([...located.keys()].filter((index) => !located[index])),
    migrations: appliedIn(reports),
  };
  return [bank, reports];
}

/** Compares a shard's own row with the list. @throws ShardMismatchError that names the difference */
export function checkPlace(
  { address, identity }: LocatedShard,
  place: { readonly index: number; readonly count: number; readonly bankId: string | undefined },
): void {
  if (!identity) return;
  const where = describeShard(address);
  if (identity.count !== place.count) {
    throw new ShardMismatchError(
      `the bank has ${identity.count} shard(s), as ${where} records, but the configuration lists ${place.count}`,
    );
  }
  if (identity.index !== place.index) {
    throw new ShardMismatchError(
      `the shards are listed in the wrong order: ${where} holds shard ${identity.index} (of 0 to ` +
        `${identity.count - 1}) but is listed as shard ${place.index}`,
    );
  }
  if (place.bankId !== undefined && identity.bankId !== place.bankId) {
    throw new ShardMismatchError(
      `${where} holds a shard of another bank (${identity.bankId}) than the rest of the list (${place.bankId})`,
    );
  }
}

/** Money of one currency would be read as money of another. @throws ShardMismatchError */
function checkCurrency(configured: string, recorded: string): void {
  if (configured === recorded) return;
  throw new ShardMismatchError(
    `CURRENCY is ${configured}, but the bank was made with ${recorded}, and a bank's currency never changes: ` +
      `set CURRENCY=${recorded}. Accounts in other currencies are opened with \`currency\`.`,
  );
}

/** Once one shard is recorded, all later ones must be; once any shard holds an account, all must be. */
function checkComplete(located: readonly (LocatedShard | undefined)[], bankId: string): void {
  const first = located.findIndex((shard) => shard?.identity);
  const complete =
    located.slice(first).some((shard) => shard && !shard.identity) || located.some((shard) => shard?.inUse);
  const someDown = located.includes(undefined);
  const index = located.findIndex((shard) => shard && !shard.identity);
  if (index === -1 || (!complete && !someDown)) return;
  if (!complete)
    throw new ShardsDownError('the bank is not whole yet, and not all of its shards can be reached');
  throw missing((located[index] as LocatedShard).address, index, bankId);
}

function missing(address: ShardAddress, index: number, bankId: string): ShardMismatchError {
  return new ShardMismatchError(
    `${describeShard(address)} is listed as shard ${index} of the bank ${bankId} but holds no shard: a wrong address?`,
  );
}

/** @throws ShardUnusableError if waiting does not help: wrong credentials, no such database, an old server */
function problemOf(error: unknown, configured: readonly ShardAddress[], index: number): string {
  const shard = configured[index] as ShardAddress;
  const text = messageOf(error);
  const message = configured.length === 1 ? text : `shard ${index} (${describeShard(shard)}): ${text}`;
  if (!waitingHelps(error)) throw new ShardUnusableError(message);
  return message;
}

/** False for wrong credentials, a missing database, an old or unsafe server, or the wrong shard. */
export function waitingHelps(error: unknown): boolean {
  if (
    [ServerTooOldError, ShardMismatchError, NotDurableError, ServiceRoleError].some(
      (kind) => error instanceof kind,
    )
  )
    return false;
  return !(error instanceof Error && 'code' in error && /^(28|3D|42501)/.test(String(error.code)));
}
