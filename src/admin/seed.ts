import type { PoolClient } from 'pg';
import type { QueryRunner } from 'typeorm';
import { recordActOn } from '../audit/audit-log.js';
import { drawIds } from '../storage/ids.js';
import type { ShardAddress } from '../config/shard-address.js';
import { USD } from '../config/currencies.js';
import type { SchemaTables } from '../storage/tables.js';
import { FIRST_VERSION } from '../domain/account.js';
import { recordedCode, type Currency } from '../domain/currency.js';
import { chain, GENESIS_HASH } from '../domain/hash-chain.js';
import { formatMoney, inMinorUnits, type Decimal, type Money } from '../domain/money.js';
import type { Transaction } from '../domain/transaction.js';
import { userMessage } from '../app/user-message.js';
import { outboxRowsFor } from '../messaging/outbox-rows.js';
import { announce, insertTransactions } from '../ledger/write/batch-writes.js';
import { send } from '../storage/connection.js';
import { CommitOutcomeUnknownError } from '../storage/transaction-runner.js';
import { CommandError } from './command-error.js';
import type { Control } from './control.js';
import { withShardRunners, type ShardRunner } from './shards.js';

export interface SeedRequest {
  /** How many accounts to open, at least 1. */
  readonly accounts: number;
  /** The balance of each account; 0: no opening deposit is posted. */
  readonly balance: Money | Decimal;
  /** That of the bank; undefined: USD. */
  readonly currency?: Currency;
  /** Their owner; undefined: none. */
  readonly owner?: string;
}

export interface SeedReport {
  /** Fewer than requested if the work was stopped. */
  readonly accounts: number;
  /** The smallest and the largest id; undefined if no account was opened. */
  readonly firstId: number | undefined;
  readonly lastId: number | undefined;
  /** What each of them holds, with the decimals of its currency. */
  readonly balance: string;
  readonly durationMs: number;
}

/** Accounts per database transaction. */
const CHUNK = 10_000;

/** From this many rows on, the planner's statistics are worth renewing at once. */
const ANALYZE_FROM = 10_000;

interface Chunk {
  readonly accounts: number;
  readonly firstId: number;
  readonly lastId: number;
}

/** Seeds, and records it in the audit log. @throws as {@link seedBank} does */
export async function seedOnRecord(
  shards: readonly ShardAddress[],
  request: SeedRequest,
  control: Control = {},
): Promise<SeedReport> {
  const { accounts, owner } = request;
  const { balance, decimals } = eachOf(request);
  const details = { accounts, balance: formatMoney(balance, decimals), owner };
  await recordActOn(shards, { action: 'accounts.seeded', details });
  return seedBank(shards, request, control);
}

/**
 * Opens many accounts. The books and the outbox are then as if each account had been opened through the API with an
 * opening deposit. Accounts spread evenly over the shards, which work in parallel; each chunk commits by itself. If
 * stopped, it finishes the current chunk and keeps what it made.
 *
 * @throws CommandError that says how many accounts had been made when the work failed
 */
export async function seedBank(
  addresses: readonly ShardAddress[],
  request: SeedRequest,
  control: Control = {},
): Promise<SeedReport> {
  const { balance, decimals } = eachOf(request);
  const startedMs = performance.now();
  return withShardRunners(addresses, 'bank-seed', async (shards) => {
    const chunks = await seedInRounds(shards, request, control);
    if (chunks.accounts >= ANALYZE_FROM) await Promise.all(shards.map(analyze));
    return { ...chunks, balance: formatMoney(balance, decimals), durationMs: performance.now() - startedMs };
  });
}

/** What each account holds. @throws CommandError */
function eachOf({ balance: wanted, currency = USD }: SeedRequest) {
  const { decimals } = currency;
  const balance = inMinorUnits(wanted, decimals);
  if (balance === undefined) throw new CommandError(`amounts in ${currency.code} have ${decimals} decimals`);
  return { balance, decimals, code: recordedCode(currency, currency) };
}

/** Divides a whole number into parts that differ by at most 1, the larger ones first. */
export function shares(total: number, parts: number): number[] {
  const share = Math.floor(total / parts);
  return Array.from({ length: parts }, (_, index) => share + (index < total % parts ? 1 : 0));
}

/** In each round every shard makes one chunk. */
async function seedInRounds(
  shards: readonly ShardRunner[],
  request: SeedRequest,
  { onProgress, signal }: Control,
): Promise<Omit<SeedReport, 'balance' | 'durationMs'>> {
  let accounts = 0;
  let [firstId, lastId] = [Infinity, -Infinity];
  while (accounts < request.accounts && !signal?.aborted) {
    const round = Math.min(request.accounts - accounts, CHUNK * shards.length);
    const results = await Promise.allSettled(
      shares(round, shards.length).map((size, index) =>
        seedChunk(shards[index] as ShardRunner, size, request),
      ),
    );
    for (const result of results) {
      if (result.status === 'rejected' || result.value.accounts === 0) continue;
      accounts += result.value.accounts;
      firstId = Math.min(firstId, result.value.firstId);
      lastId = Math.max(lastId, result.value.lastId);
    }
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw seedFailure(accounts, failed.reason);
    onProgress?.(accounts, request.accounts);
  }
  return accounts === 0 ? { accounts, firstId: undefined, lastId: undefined } : { accounts, firstId, lastId };
}

function seedFailure(accounts: number, cause: unknown): CommandError {
  const doubt =
    cause instanceof CommitOutcomeUnknownError
      ? `; whether the ${(cause as CommitOutcomeUnknownError<Chunk>).value.accounts} of the last chunk were made too is not known`
      : '';
  return new CommandError(`${accounts} accounts were made${doubt}. Then: ${userMessage(cause)}`, { cause });
}

async function seedChunk(shard: ShardRunner, size: number, request: SeedRequest): Promise<Chunk> {
  if (size === 0) return { accounts: 0, firstId: 0, lastId: 0 };
  return shard.runner.run((queryRunner, client) =>
    insertAccounts(queryRunner, client, shard.tables, size, request),
  );
}

async function insertAccounts(
  queryRunner: QueryRunner,
  client: PoolClient,
  tables: SchemaTables,
  size: number,
  request: SeedRequest,
): Promise<Chunk> {
  const { balance, decimals, code } = eachOf(request);
  // The lock of an INSERT, but taken before ids are drawn: see drawIds.
  await queryRunner.query(`LOCK TABLE ${tables.accounts} IN ROW EXCLUSIVE MODE`);
  const transactions = balance === 0n ? 0 : size;
  const { ids, timestamp } = await drawIds(client, [
    { table: tables.accounts, column: 'account_id', count: size },
    { table: tables.transactions, column: 'transaction_id', count: transactions },
    { table: tables.outbox, column: 'outbox_id', count: outboxRowsFor(transactions) },
  ]);
  const [accountIds = [], transactionIds = [], outboxIds = []] = ids;
  const deposits = transactionIds.map((transactionId, index): Transaction => {
    const accountId = accountIds[index] as number;
    const after = { balanceAfter: balance, heldAfter: 0n, versionAfter: FIRST_VERSION + 1 };
    return { transactionId, accountId, type: 'credit', amount: balance, ...after, timestamp, decimals };
  });
  const hashes = chain(deposits, () => GENESIS_HASH);
  await queryRunner.query(
    `INSERT INTO ${tables.accounts} (account_id, balance, version, head_hash, owner, status, posted_at, currency)
     SELECT account_id, $2::numeric, $3::bigint, decode(head_hash, 'hex'), $5, 'open', $6::timestamptz, $7
     FROM unnest($1::bigint[], $4::text[]) AS opened (account_id, head_hash)`,
    [
      accountIds,
      formatMoney(balance, decimals),
      transactions === 0 ? FIRST_VERSION : FIRST_VERSION + 1,
      transactions === 0 ? accountIds.map(() => GENESIS_HASH) : hashes,
      request.owner ?? null,
      transactions === 0 ? null : timestamp,
      code ?? null,
    ],
  );
  const posted = { transactions: deposits, hashes, events: [], outboxIds };
  const statements = [...insertTransactions(tables, posted), ...announce(tables, posted)];
  for (const statement of transactions > 0 ? statements : []) await send(client, ...statement);
  return { accounts: size, firstId: accountIds[0] ?? 0, lastId: accountIds.at(-1) ?? 0 };
}

async function analyze({ dataSource, tables }: ShardRunner): Promise<void> {
  await dataSource.query(`ANALYZE ${tables.accounts}, ${tables.transactions}`);
}
