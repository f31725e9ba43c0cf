import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { recordAct, type AdministrativeAct } from '../audit/audit-log.js';
import { PooledClient } from '../storage/connection.js';
import { COMMIT_DURABLY, UNLIMITED } from '../storage/durability.js';
import { migrate, prepareTables, ShardMismatchError, type ShardPlace } from '../storage/migrate.js';
import {
  describeServer,
  describeShard,
  forwarded,
  isPostgresUrl,
  type ForwardingAddress,
  type ShardAddress,
} from '../config/shard-address.js';
import { locateShard, ShardMovingError, type ShardIdentity } from '../sharding/shard-locator.js';
import { grantServiceRole, serviceRoleOf } from '../storage/service-role.js';
import { tablesOf, type SchemaTables } from '../storage/tables.js';
import { messageOf } from '../domain/error-message.js';
import { CommandError } from '../app/user-message.js';
import {
  copyOwners,
  copyRest,
  copySince,
  cutOf,
  digestSince,
  NOTHING,
  type CopiedRound,
  type Cut,
} from './shard-copy.js';
import { verifyShard } from './verify.js';

export interface MoveOptions {
  /** Users of the shard wait at most this long for the switch; then the move gives way, and has to be run again. */
  readonly maxPauseMs: number;
  readonly onStep?: (step: string) => void;
  /** Records the move in the bank's first shard. Not called when that is the one that moves: its log moves along. */
  readonly record?: (act: AdministrativeAct) => Promise<void>;
  /** Stops between two steps; the move can be run again. */
  readonly signal?: AbortSignal;
}

export interface MoveReport {
  readonly from: string;
  readonly to: string;
  /** Copied by this run; undefined: only the end of an earlier run was left to do. */
  readonly transactions: number | undefined;
  readonly pauseMs: number;
}

/** So few transactions are copied within the pause. */
const SMALL_ROUND = 10_000;
const MAX_ROUNDS = 50;
const MAX_LOCKINGS = 20;
/** Longer than the server's deadlock_timeout, 1 s by default: only after that an autovacuum gives way. */
const LOCK_TIMEOUT_MS = 2_000;
const COMMIT_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 10_000;

/** Everything one move works with. */
interface Move {
  readonly from: ShardAddress;
  readonly to: ShardAddress;
  readonly forwarding: ForwardingAddress;
  readonly place: ShardIdentity;
  readonly tables: SchemaTables;
  /** In the source: holds the locks. */
  readonly source: Client;
  /** In the source: sees one moment. */
  readonly snapshot: Client;
  readonly target: Client;
  /** In the source: keeps owners as they are, by {@link ownersLock}, in a transaction as long as the move. */
  readonly guard: Client;
  readonly options: MoveOptions;
}

/** Held by whoever moves a shard, and shared by those who change owners: no copied transaction would tell of that. */
export const ownersLock = ({ accounts }: SchemaTables) => `bank-owners:${accounts}`;

/**
 * Moves a shard to another PostgreSQL server while the bank is open. The ledger only ever adds transactions, so its
 * history is its own log for replication: rounds copy what was added since the last one, each from a moment at which
 * nobody was writing. When a round is short, users of this shard alone wait for the last one; then the old tables
 * are renamed, which no running service can miss, and the new address is left in their place.
 *
 * Safe to interrupt and to run again: before the switch it goes on with what was copied; after it, the end is done.
 *
 * @throws CommandError, ShardMismatchError; the shard is then where it was, unless the message says otherwise
 */
export async function moveShard(
  configured: ShardAddress,
  { index, count }: ShardPlace,
  url: string,
  options: MoveOptions,
): Promise<MoveReport> {
  const { address: from, identity: place } = await locateOrMoving(configured);
  const forwarding = parseTarget(url, from);
  const to = forwarded(from, forwarding);
  const there = describeServer(to.url);
  if (describeServer(from.url) === there) {
    if (!place) await withClient(to, (client) => finish(client, to, { index, count }));
    return { from: describeServer(configured.url), to: there, transactions: undefined, pauseMs: 0 };
  }
  if (!place) {
    throw new CommandError(
      `an earlier move to ${describeServer(from.url)} is not finished: run it again first`,
    );
  }
  if (place.index !== index || place.count !== count) {
    throw new ShardMismatchError(`${describeShard(from)} holds shard ${place.index} of ${place.count}`);
  }
  await migrate(from, place, place.bankId);
  return withClients(from, to, async (clients) => {
    const move = { ...clients, from, to, forwarding, place, tables: tablesOf(from.schema), options };
    await claimTarget(move);
    await keepOwners(move);
    const copied = await copyAndVerify(move);
    const pausedAt = await switchOver(move, copied.cut);
    await finish(move.target, to, place);
    const pauseMs = performance.now() - pausedAt;
    return { from: describeServer(from.url), to: there, transactions: copied.transactions, pauseMs };
  });
}

/** No identity: it has left its old place already, and the end of its move is to be done. */
async function locateOrMoving(
  configured: ShardAddress,
): Promise<{ address: ShardAddress; identity: ShardIdentity | undefined }> {
  try {
    const { address, identity } = await locateShard(configured);
    if (!identity) throw new CommandError(`${describeShard(address)} holds no shard of a bank`);
    return { address, identity };
  } catch (error) {
    if (error instanceof ShardMovingError) return { address: error.address, identity: undefined };
    throw error;
  }
}

/** Services go on with the user and the password that they have, so these must hold at the new place. */
function parseTarget(text: string, from: ShardAddress): ForwardingAddress {
  if (!isPostgresUrl(text)) throw new CommandError('--to must be a URL like postgresql://host:5432/database');
  const url = new URL(text);
  const schema = url.searchParams.get('schema') ?? from.schema;
  if (schema !== from.schema) throw new CommandError(`the shard keeps its schema, "${from.schema}"`);
  const { username, password } = new URL(from.url);
  const other = (url.username && url.username !== username) || (url.password && url.password !== password);
  if (other) {
    throw new CommandError(
      'the services will use the user and the password of the old place: make that user at the new one, and leave it out of --to',
    );
  }
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || 5432),
    database: decodeURIComponent(url.pathname.slice(1)),
  };
}

async function withClients<T>(
  from: ShardAddress,
  to: ShardAddress,
  work: (clients: Pick<Move, 'source' | 'snapshot' | 'target' | 'guard'>) => Promise<T>,
): Promise<T> {
  return withClient(from, (source) =>
    withClient(from, (snapshot) =>
      withClient(from, (guard) => withClient(to, (target) => work({ source, snapshot, target, guard }))),
    ),
  );
}

/** Over a direct connection, where there is one. */
async function withClient<T>(
  { url, migrationUrl = url }: ShardAddress,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new PooledClient({
    connectionString: migrationUrl,
    application_name: 'bank-move',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Makes the tables, marked as a copy and as whose. What is there already, and no copy of this shard, is not touched. */
async function claimTarget({ target, tables, place, to }: Move): Promise<void> {
  const found = await locateShard(to);
  if (found.address.url !== to.url) {
    throw new CommandError(
      `${describeShard(to)} holds what an earlier move away left behind. Drop that schema if you no longer need it.`,
    );
  }
  if (found.identity) throw new ShardMismatchError(`${describeShard(to)} holds a shard already`);
  const claimed = await readClaim(target, tables);
  const mine =
    claimed?.bank_id === place.bankId &&
    claimed.shard_index === place.index &&
    claimed.shard_count === place.count;
  if (!mine && (claimed || found.inUse)) {
    throw new ShardMismatchError(`${describeShard(to)} holds something else than a copy of this shard`);
  }
  await prepareTables(to, place);
  if (mine) return;
  await target.query(
    `CREATE TABLE ${tables.shardArriving} AS
     SELECT $1::uuid AS bank_id, $2::int AS shard_index, $3::int AS shard_count`,
    [place.bankId, place.index, place.count],
  );
}

async function keepOwners({ guard, tables }: Move): Promise<void> {
  await guard.query('BEGIN');
  await guard.query(UNLIMITED);
  await guard.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [ownersLock(tables)]);
}

interface ClaimRow {
  bank_id: string;
  shard_index: number;
  shard_count: number;
}

async function readClaim(target: Client, tables: SchemaTables): Promise<ClaimRow | undefined> {
  const { rows } = await target.query<{ exists: boolean }>('SELECT to_regclass($1) IS NOT NULL AS exists', [
    tables.shardArriving,
  ]);
  if (!rows[0]?.exists) return undefined;
  return (await target.query<ClaimRow>(`SELECT * FROM ${tables.shardArriving}`)).rows[0];
}

/** Copies all, compares every row with the source, verifies the books of the copy, and catches up again. */
async function copyAndVerify(move: Move): Promise<CopiedRound> {
  const { target, tables, options, to, place } = move;
  const copied = await catchUp(move, await cutOf(target, tables), false);
  options.onStep?.('comparing every row with the source, then verifying the books of the copy');
  await target.query(`ANALYZE ${tables.accounts}, ${tables.transactions}, ${tables.archivedTransactions}`);
  const compared = await inSnapshot(move, async () => {
    const round = await copySince(move.snapshot, target, tables, copied.cut);
    // An earlier run may have copied accounts whose owner has changed since.
    await copyOwners(move.snapshot, target, tables);
    await compare(move.snapshot, move, NOTHING);
    return round;
  });
  const report = await verifyShard(to, place.index, place.count, { signal: options.signal });
  if (!report.ok)
    throw new CommandError(`the books of the copy are not whole: ${report.faulty} account(s) fail`);
  const caughtUp = await catchUp(move, compared.cut, true);
  const rounds = [copied, compared, caughtUp];
  return { cut: caughtUp.cut, transactions: rounds.reduce((sum, round) => sum + round.transactions, 0) };
}

/** Rounds until one is short. */
async function catchUp(move: Move, since: Cut, comparing: boolean): Promise<CopiedRound> {
  const { snapshot, target, tables, options } = move;
  let cut = since;
  let transactions = 0;
  for (let round = 1; round <= MAX_ROUNDS; round++) {
    options.signal?.throwIfAborted();
    options.onStep?.(`copying, round ${round}`);
    const copied = await inSnapshot(move, async () => {
      const done = await copySince(snapshot, target, tables, cut);
      if (comparing) await compare(snapshot, move, cut);
      return done;
    });
    cut = copied.cut;
    transactions += copied.transactions;
    if (copied.transactions <= SMALL_ROUND) return { cut, transactions };
  }
  throw new CommandError('the shard is written to faster than it can be copied');
}

/** Lets `snapshot` see the source at a moment when nobody was writing. Writers wait for that moment only. */
async function inSnapshot<T>(move: Move, work: () => Promise<T>): Promise<T> {
  const { source, snapshot, tables } = move;
  // Whoever writes locks an account first.
  await locked(move, `LOCK TABLE ${tables.accounts} IN EXCLUSIVE MODE`, async () => {
    await snapshot.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await snapshot.query('SELECT pg_current_snapshot()');
    await source.query('ROLLBACK');
  });
  const result = await work();
  await snapshot.query('COMMIT');
  return result;
}

/**
 * With the locks held, after other sessions' transactions have ended. Gives way and tries again, since who comes after
 * has to wait behind us.
 */
async function locked(
  { source, options }: Move,
  lock: string,
  work: (sinceMs: number) => Promise<void>,
): Promise<void> {
  let sinceMs: number;
  for (let attempt = 1; ; attempt++) {
    options.signal?.throwIfAborted();
    sinceMs = performance.now();
    try {
      await source.query(`BEGIN; SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}; ${COMMIT_DURABLY}`);
      await source.query(lock);
      break;
    } catch (error) {
      await source.query('ROLLBACK');
      const inUse =
        error instanceof Error && 'code' in error && ['55P03', '40P01'].includes(String(error.code));
      if (!inUse) throw error;
      if (attempt === MAX_LOCKINGS) {
        throw new CommandError(
          "other sessions hold the shard's tables all the time: a verification, a backup? Run the move again later",
          { cause: error },
        );
      }
      await sleep(LOCK_TIMEOUT_MS * Math.random());
    }
  }
  await work(sinceMs);
}

/** In the order in which a batch, and then the relay, takes them: another one would end in deadlocks. */
function lockAll(tables: SchemaTables): string {
  const inOrder = [
    tables.accounts,
    tables.accountOpenings,
    tables.outbox,
    tables.shardIdentity,
    tables.transactions,
    tables.archivedTransactions,
    tables.apiKeys,
    tables.auditEvents,
  ];
  return `LOCK TABLE ${inOrder.join(', ')} IN ACCESS EXCLUSIVE MODE`;
}

async function compare(source: Client, { target, tables }: Move, since: Cut): Promise<void> {
  const [theirs, ours] = await Promise.all([
    digestSince(source, tables, since),
    digestSince(target, tables, since),
  ]);
  if (JSON.stringify(theirs) !== JSON.stringify(ours)) {
    throw new CommandError(
      `the copy is not what the source holds (${ours.accounts} of ${theirs.accounts} accounts, ` +
        `${ours.transactions} of ${theirs.transactions} transactions); nothing was switched`,
    );
  }
}

/** The last round, its comparison, and the switch, while users wait. @returns since when, by performance.now() */
async function switchOver(move: Move, verified: Cut): Promise<number> {
  const { source, target, options } = move;
  const act = { action: 'shard.moved', details: movedFrom(move) };
  if (move.place.index > 0) await options.record?.(act);
  options.onStep?.('switching: users of this shard wait');
  let pausedAt = 0;
  await locked(move, lockAll(move.tables), async (sinceMs) => {
    pausedAt = sinceMs;
    let gaveWay = false;
    // A target that hangs must not hold the source: without its connection the locks are gone.
    const giveWay = () => {
      gaveWay = true;
      void Promise.all([source.end(), target.end()]);
    };
    const limit = setTimeout(giveWay, options.maxPauseMs - (performance.now() - sinceMs));
    try {
      if (move.place.index === 0) await recordAct(source, move.from.schema, act);
      await copyLast(move, verified);
      await leaveAddress(move);
    } catch (error) {
      if (!gaveWay) throw error;
      throw new CommandError(
        `its users would have waited for more than ${options.maxPauseMs} ms; the shard is where it was`,
        { cause: error },
      );
    } finally {
      clearTimeout(limit);
    }
    await commitSwitch(move);
  });
  return pausedAt;
}

function movedFrom({ place, from, to }: Move) {
  return { shard: place.index, from: describeServer(from.url), to: describeServer(to.url) };
}

async function copyLast(move: Move, verified: Cut): Promise<void> {
  const { source, target, guard, tables } = move;
  // Fails if the lock was lost on the way.
  await guard.query('SELECT');
  await copySince(source, target, tables, verified, async () => {
    await copyRest(source, target, tables);
    await keepBrokerFirst(move);
  });
  await compare(source, move, verified);
}

/** Keeps at the new place whether only relays with a broker may publish the shard's events. */
async function keepBrokerFirst({ source, target, tables }: Move): Promise<void> {
  await target.query(toBrokerColumn(tables));
  const { rows } = await source.query<{ to_broker: boolean }>(
    `SELECT relay_to_broker AS to_broker FROM ${tables.shardIdentity}`,
  );
  await target.query(`UPDATE ${tables.shardArriving} SET relay_to_broker = $1`, [rows[0]?.to_broker]);
}

/** For the claim of a move that an earlier release has begun. */
function toBrokerColumn({ shardArriving }: SchemaTables): string {
  return `ALTER TABLE ${shardArriving} ADD COLUMN IF NOT EXISTS relay_to_broker BOOLEAN NOT NULL DEFAULT false`;
}

/** From this commit on whoever looks for the shard's tables fails, and finds where they are. */
async function leaveAddress({ source, tables, forwarding, from }: Move): Promise<void> {
  // One per query, because Citus refuses several.
  for (const [table, name] of [
    [tables.accounts, 'accounts'],
    [tables.accountOpenings, 'account_openings'],
    [tables.transactions, 'transactions'],
    [tables.archivedTransactions, 'archived_transactions'],
    [tables.outbox, 'outbox'],
    [tables.shardIdentity, 'shard_identity'],
    [tables.apiKeys, 'api_keys'],
    [tables.auditEvents, 'audit_events'],
  ] as const) {
    await source.query(`ALTER TABLE ${table} RENAME TO moved_${name}`);
  }
  await source.query(
    `CREATE TABLE ${tables.shardMoved} (
       host text NOT NULL, port int NOT NULL, database text NOT NULL, moved_at timestamptz NOT NULL DEFAULT now())`,
  );
  await source.query(`INSERT INTO ${tables.shardMoved} (host, port, database) VALUES ($1, $2, $3)`, [
    forwarding.host,
    forwarding.port,
    forwarding.database,
  ]);
  const role = serviceRoleOf(from);
  if (role !== undefined) {
    await grantServiceRole(
      async (sql, values) => (await source.query<object>(sql, values)).rows,
      from.schema,
      role,
    );
  }
}

async function commitSwitch({ source, to }: Move): Promise<void> {
  let tag: string;
  const limit = setTimeout(() => void source.end(), COMMIT_TIMEOUT_MS);
  try {
    tag = (await source.query('COMMIT')).command;
  } catch (error) {
    throw new CommandError(
      `the connection was lost during the switch to ${describeServer(to.url)}; whether it took place is not known. ` +
        'Run the same command again: it finds out, and finishes.',
      { cause: error },
    );
  } finally {
    clearTimeout(limit);
  }
  if (tag !== 'COMMIT')
    throw new CommandError(`the switch was answered with ${tag}; the shard is where it was`);
}

/** Makes the copy the shard. Only once its source has left its address: never are there two. */
async function finish(target: Client, to: ShardAddress, { index, count }: ShardPlace): Promise<void> {
  const tables = tablesOf(to.schema);
  const { shardIdentity, shardArriving } = tables;
  try {
    await target.query(`BEGIN; SET LOCAL statement_timeout = ${COMMIT_TIMEOUT_MS}; ${COMMIT_DURABLY}`);
    await target.query(toBrokerColumn(tables));
    const { rowCount } = await target.query(
      `INSERT INTO ${shardIdentity} (bank_id, shard_index, shard_count, relay_to_broker)
       SELECT bank_id, shard_index, shard_count, relay_to_broker FROM ${shardArriving}
       WHERE shard_index = $1 AND shard_count = $2`,
      [index, count],
    );
    if (rowCount !== 1) {
      throw new ShardMismatchError(
        `what was copied there is not shard ${index} of ${count}: is SHARDS right?`,
      );
    }
    await target.query(`DROP TABLE ${shardArriving}`);
    await target.query('COMMIT');
  } catch (error) {
    await target.query('ROLLBACK').catch(() => undefined);
    throw new CommandError(
      `the shard has left its old place, and its new one, ${describeShard(to)}, is not ready yet: run the same ` +
        `command again, until then its accounts can't be served. (${messageOf(error)})`,
      { cause: error },
    );
  }
}

/** The report for people. */
export function moveText(index: number, { from, to, transactions, pauseMs }: MoveReport): string {
  if (transactions === undefined) return `Shard ${index} is at ${to}.`;
  return [
    `Moved shard ${index} from ${from} to ${to}: ${transactions} transactions copied, compared and verified.`,
    `Its users waited ${Math.round(pauseMs)} ms. Running services have followed, or do so at their next statement.`,
    `Now change its address in SHARDS: until then every start looks at the old place first.`,
    `The old tables are kept there, as moved_accounts and so on, for you to drop.`,
  ].join('\n');
}
