import { isDeepStrictEqual } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { recordAct, recordActOn } from '../../audit/audit-log.js';
import { sqlStateOf } from '../../storage/database-errors.js';
import { COMMIT_DURABLY } from '../../storage/durability.js';
import { columnList, quoted } from '../../storage/identifiers.js';
import { migrate, prepareTables, ShardMismatchError, type ShardPlace } from '../../storage/migrate.js';
import {
  describeServer,
  describeShard,
  forwarded,
  isPostgresUrl,
  type ForwardingAddress,
  type ShardAddress,
} from '../../config/shard-address.js';
import { locateShard, ShardMovingError, type ShardIdentity } from '../../sharding/shard-locator.js';
import { grantServiceRole, serviceRoleOf } from '../../storage/service-role.js';
import { tablesOf } from '../../storage/tables.js';
import { messageOf } from '../../domain/error-message.js';
import { columnsOf, hasTable, readTables } from '../catalogue.js';
import { CommandError } from '../command-error.js';
import type { Control } from '../control.js';
import { withSession, withSessions, type ShardSession } from '../shards.js';
import { verifyShard } from '../verify/verify.js';
import {
  copyIdentity,
  copyRest,
  copySince,
  cutOf,
  digestSince,
  NOTHING,
  type CopiedRound,
  type CopySide,
  type Cut,
} from './copy.js';

export interface RelocationOptions extends Omit<Control, 'onProgress'> {
  /** How long users of the shard wait for the switch at most; after that the move gives up, and has to be run again. */
  readonly maxPauseMs: number;
}

export interface RelocationReport {
  readonly from: string;
  readonly to: string;
  /** Transactions copied by this run; undefined: it only had to finish an earlier one. */
  readonly transactions: number | undefined;
  readonly pauseMs: number;
}

/** Few enough transactions to copy within the pause. */
const SMALL_ROUND = 10_000;
const MAX_ROUNDS = 50;
const MAX_LOCKINGS = 20;
/** Longer than the server's deadlock_timeout, 1 s by default: an autovacuum gives way only after that. */
const LOCK_TIMEOUT_MS = 2_000;
const COMMIT_TIMEOUT_MS = 10_000;
const NAME = 'bank-move';

/** What one move works with. */
interface Move {
  readonly from: ShardAddress;
  readonly to: ShardAddress;
  readonly forwarding: ForwardingAddress;
  readonly place: ShardIdentity;
  /** The configured address of the bank's first shard, which holds the audit log. */
  readonly first: ShardAddress;
  /** In the source: holds the locks. */
  readonly source: CopySide;
  /** In the source: reads a snapshot. */
  readonly snapshot: CopySide;
  readonly target: CopySide;
  readonly options: RelocationOptions;
}

/**
 * Moves a shard to another PostgreSQL server while the bank is open. The ledger only ever adds transactions and events
 * of accounts, so its history is its own replication log: each round copies what was added since the last one, from a
 * snapshot taken while nobody was writing. Once a round is short, the users of this shard alone wait for the last one; then the old tables
 * are renamed, which no running service can miss, and the new address is left in their place.
 *
 * Safe to interrupt and to run again: before the switch it continues with what was copied; after it, it finishes the
 * move.
 *
 * @param configured the bank's shards, of which only this one and, for the audit log, the first need be up
 * @throws CommandError, ShardMismatchError; the shard is then where it was, unless the message says otherwise
 */
export async function relocateShard(
  configured: readonly ShardAddress[],
  index: number,
  url: string,
  options: RelocationOptions,
): Promise<RelocationReport> {
  const count = configured.length;
  const [first, shard] = [configured[0], configured[index]];
  if (!first || !shard) throw new CommandError(`there is no shard ${index}; there are 0 to ${count - 1}`);
  const { address: from, identity: place } = await locateOrMoving(shard);
  const forwarding = parseTarget(url, from);
  const to = forwarded(from, forwarding);
  const there = describeServer(to.url);
  if (describeServer(from.url) === there) {
    if (!place) await withSession(to, NAME, ({ client }) => finish(client, to, { index, count }));
    return { from: describeServer(shard.url), to: there, transactions: undefined, pauseMs: 0 };
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
  return withSessions([from, from, to], NAME, async (sessions) => {
    const [source, snapshot, target] = (await sidesOf(sessions)) as [CopySide, CopySide, CopySide];
    const move = { from, to, forwarding, place, first, source, snapshot, target, options };
    await claimTarget(move);
    const copied = await copyAndVerify(move);
    const pausedAt = await switchOver(move, copied.cut);
    await finish(target.client, to, place);
    const pauseMs = performance.now() - pausedAt;
    return { from: describeServer(from.url), to: there, transactions: copied.transactions, pauseMs };
  });
}

/** Both have the same tables: the source was just migrated, and the target is about to get them. */
async function sidesOf(sessions: readonly ShardSession[]): Promise<CopySide[]> {
  const [{ client: source, address }] = sessions as [ShardSession];
  const tables = await readTables(source, address.schema);
  return sessions.map(({ client }) => ({ client, schema: address.schema, tables }));
}

/** Without an identity, the shard has already left its old place, and its move has to be finished. */
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

/** Services keep their user and password, so these must be valid at the new place. */
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

/** Creates the tables, marked as a copy of this shard. Anything else that is there already is left untouched. */
async function claimTarget({ target, place, to }: Move): Promise<void> {
  const found = await locateShard(to);
  if (found.address.url !== to.url) {
    throw new CommandError(
      `${describeShard(to)} holds what an earlier move away left behind. Drop that schema if you no longer need it.`,
    );
  }
  if (found.identity) throw new ShardMismatchError(`${describeShard(to)} holds a shard already`);
  const { shardArriving } = tablesOf(to.schema);
  const claimed = await readClaim(target, shardArriving);
  const mine =
    claimed?.bank_id === place.bankId &&
    claimed.shard_index === place.index &&
    claimed.shard_count === place.count;
  if (!mine && (claimed || found.inUse)) {
    throw new ShardMismatchError(`${describeShard(to)} holds something else than a copy of this shard`);
  }
  await prepareTables(to, place);
  if (mine) return;
  await target.client.query(
    `CREATE TABLE ${shardArriving} AS
     SELECT $1::uuid AS bank_id, $2::int AS shard_index, $3::int AS shard_count`,
    [place.bankId, place.index, place.count],
  );
}

interface ClaimRow {
  bank_id: string;
  shard_index: number;
  shard_count: number;
}

async function readClaim({ client }: CopySide, shardArriving: string): Promise<ClaimRow | undefined> {
  if (!(await hasTable(client, shardArriving))) return undefined;
  return (await client.query<ClaimRow>(`SELECT * FROM ${shardArriving}`)).rows[0];
}

/** Copies everything, compares every row with the source, verifies the books of the copy, and catches up again. */
async function copyAndVerify(move: Move): Promise<CopiedRound> {
  const { snapshot, target, options, to, place } = move;
  const copied = await catchUp(move, await cutOf(target), false);
  options.onStep?.('comparing every row with the source, then verifying the books of the copy');
  const ledger = target.tables.filter((table) => table.ledger).map(({ sql }) => sql);
  await target.client.query(`ANALYZE ${ledger.join(', ')}`);
  const compared = await inSnapshot(move, async () => {
    const round = await copySince(snapshot, target.client, copied.cut);
    await compare(snapshot, target, NOTHING);
    return round;
  });
  const report = await verifyShard(to, place.index, place.count, { signal: options.signal });
  if (!report.ok)
    throw new CommandError(`the books of the copy are not whole: ${report.faulty} account(s) fail`);
  const caughtUp = await catchUp(move, compared.cut, true);
  const rounds = [copied, compared, caughtUp];
  return { cut: caughtUp.cut, transactions: rounds.reduce((sum, round) => sum + round.transactions, 0) };
}

/** Copies in rounds until one is short. */
async function catchUp(move: Move, since: Cut, comparing: boolean): Promise<CopiedRound> {
  const { snapshot, target, options } = move;
  let cut = since;
  let transactions = 0;
  for (let round = 1; round <= MAX_ROUNDS; round++) {
    options.signal?.throwIfAborted();
    options.onStep?.(`copying, round ${round}`);
    const copied = await inSnapshot(move, async () => {
      const done = await copySince(snapshot, target.client, cut);
      if (comparing) await compare(snapshot, target, cut);
      return done;
    });
    cut = copied.cut;
    transactions += copied.transactions;
    if (copied.transactions <= SMALL_ROUND) return { cut, transactions };
  }
  throw new CommandError('the shard is written to faster than it can be copied');
}

/**
 * Runs work with a snapshot of the source, taken while nobody is writing. Writers wait only for the moment of taking
 * it.
 */
async function inSnapshot<T>(move: Move, work: () => Promise<T>): Promise<T> {
  const { source, snapshot, from } = move;
  // Every writer locks an account first.
  await locked(move, `LOCK TABLE ${tablesOf(from.schema).accounts} IN EXCLUSIVE MODE`, async () => {
    await snapshot.client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await snapshot.client.query('SELECT pg_current_snapshot()');
    await source.client.query('ROLLBACK');
  });
  const result = await work();
  await snapshot.client.query('COMMIT');
  return result;
}

/**
 * Runs work with the locks held, once other sessions' transactions have ended. Gives way and tries again, because later
 * sessions queue behind a waiting lock.
 */
async function locked(
  { source: { client }, options }: Move,
  lock: string,
  work: (sinceMs: number) => Promise<void>,
): Promise<void> {
  let sinceMs: number;
  for (let attempt = 1; ; attempt++) {
    options.signal?.throwIfAborted();
    sinceMs = performance.now();
    try {
      await client.query(`BEGIN; SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}; ${COMMIT_DURABLY}`);
      await client.query(lock);
      break;
    } catch (error) {
      await client.query('ROLLBACK');
      if (!['55P03', '40P01'].includes(sqlStateOf(error) ?? '')) throw error;
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

async function compare(source: CopySide, target: CopySide, since: Cut): Promise<void> {
  const [theirs, ours] = await Promise.all([digestSince(source, since), digestSince(target, since)]);
  if (isDeepStrictEqual(theirs, ours)) return;
  const differing = Object.entries(theirs.rows)
    .filter(([name, rows]) => ours.rows[name] !== rows)
    .map(([name, rows]) => `${ours.rows[name]} of ${rows} ${name}`);
  const what = differing.length > 0 ? differing.join(', ') : 'as many rows, with other values';
  throw new CommandError(`the copy is not what the source holds (${what}); nothing was switched`);
}

/**
 * Runs the last round, its comparison and the switch, while users wait.
 *
 * @returns when the wait began, on the clock of performance.now()
 */
async function switchOver(move: Move, verified: Cut): Promise<number> {
  const { source, target, place, from, to, options } = move;
  const details = { shard: place.index, from: describeServer(from.url), to: describeServer(to.url) };
  const act = { action: 'shard.moved', details };
  // The first shard holds the log: its own move is recorded below, under the lock, and so moves along.
  if (place.index > 0) await recordActOn([(await locateShard(move.first)).address], act);
  options.onStep?.('switching: users of this shard wait');
  let pausedAt = 0;
  const all = source.tables.map(({ sql }) => sql).join(', ');
  await locked(move, `LOCK TABLE ${all} IN ACCESS EXCLUSIVE MODE`, async (sinceMs) => {
    pausedAt = sinceMs;
    let gaveWay = false;
    // A target that hangs must not block the source: closing the connection releases the locks.
    const giveWay = () => {
      gaveWay = true;
      void Promise.all([source.client.end(), target.client.end()]);
    };
    const limit = setTimeout(giveWay, options.maxPauseMs - (performance.now() - sinceMs));
    try {
      if (place.index === 0) await recordAct(source.client, from.schema, act);
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

async function copyLast(move: Move, verified: Cut): Promise<void> {
  const { source, target } = move;
  await copySince(source, target.client, verified, async () => {
    await copyRest(source, target.client);
    await copyIdentity(source, target.client);
  });
  await compare(source, target, verified);
}

/** From this commit on, looking for the shard's tables fails, and leads to their new address. */
async function leaveAddress({ source: { client, tables }, forwarding, from }: Move): Promise<void> {
  const { shardMoved } = tablesOf(from.schema);
  // One statement per query, because Citus refuses several.
  for (const { name, sql } of tables)
    await client.query(`ALTER TABLE ${sql} RENAME TO ${quoted(`moved_${name}`)}`);
  await client.query(
    `CREATE TABLE ${shardMoved} (
       host text NOT NULL, port int NOT NULL, database text NOT NULL, moved_at timestamptz NOT NULL DEFAULT now())`,
  );
  await client.query(`INSERT INTO ${shardMoved} (host, port, database) VALUES ($1, $2, $3)`, [
    forwarding.host,
    forwarding.port,
    forwarding.database,
  ]);
  const role = serviceRoleOf(from);
  if (role === undefined) return;
  const query = async (sql: string, values?: unknown[]) => (await client.query<object>(sql, values)).rows;
  await grantServiceRole(query, from.schema, role);
}

async function commitSwitch({ source: { client }, to }: Move): Promise<void> {
  let tag: string;
  const limit = setTimeout(() => void client.end(), COMMIT_TIMEOUT_MS);
  try {
    tag = (await client.query('COMMIT')).command;
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

/** Makes the copy the shard, only after the source has left its address: there are never two. */
async function finish(target: Client, to: ShardAddress, { index, count }: ShardPlace): Promise<void> {
  const { shardIdentity, shardArriving } = tablesOf(to.schema);
  try {
    await target.query(`BEGIN; SET LOCAL statement_timeout = ${COMMIT_TIMEOUT_MS}; ${COMMIT_DURABLY}`);
    const columns = columnList(await columnsOf(target, shardArriving));
    const { rowCount } = await target.query(
      `INSERT INTO ${shardIdentity} (${columns}) SELECT ${columns} FROM ${shardArriving}
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
