import { LRUCache } from 'lru-cache';
import { plainArray } from '../database/array-literal.js';
import { LedgerError } from '../domain/errors.js';
import { THE_SERVICE } from '../domain/sender.js';
import type { ShardReader } from './shard-reader.js';
import type { ShardRouter } from './shard-router.js';
import { SingleFlight } from './single-flight.js';

/** Accounts of which it is remembered that they are their owner's; the least recently used goes first. */
const REMEMBERED = 100_000;
/** How long: then a change of their owner takes effect. */
const REMEMBERED_MS = 30_000;

/**
 * Tells which accounts are an owner's, for those who may use no others. To be asked before anything else is: what is
 * another's is then answered as what does not exist, after the same one look-up. Its index holds the owner's own
 * accounts alone, so it finds neither. Only what is found is remembered.
 *
 * Errors: where the database fails, no version is told: it could be another's.
 */
export class AccountOwners {
  private readonly remembered = new LRUCache<string, true>({ max: REMEMBERED, ttl: REMEMBERED_MS });
  /** An account that is much in use is asked for by many when it was just forgotten. */
  private readonly lookUps = new SingleFlight<string, ReadonlyMap<number, Error>>();

  constructor(private readonly router: ShardRouter<ShardReader>) {}

  /** @throws LedgerError ACCOUNT_NOT_FOUND, DATABASE_FAILED, OVERLOADED */
  async check(owner: string, accountId: number, user = THE_SERVICE): Promise<void> {
    const name = nameOf(owner, accountId);
    if (this.remembered.get(name)) return;
    // Each user's by itself: nobody is to wait for another's turn.
    const problems = await this.lookUps.run(`${user}/${name}`, () => this.problems(owner, [accountId], user));
    const problem = problems.get(accountId);
    if (problem) throw problem;
  }

  /** Of several accounts, those that can't be used, and why. One shard's failure concerns its own accounts. */
  async problems(
    owner: string,
    accountIds: readonly number[],
    user = THE_SERVICE,
  ): Promise<ReadonlyMap<number, Error>> {
    const unknown = new Set(accountIds.filter((id) => !this.remembered.get(nameOf(owner, id))));
    const problems = new Map<number, Error>();
    const byShard = Map.groupBy(unknown, (id) => this.router.of(id));
    const lookUps = [...byShard].map(async ([shard, ids]) => {
      try {
        const own = await this.lookUp(shard, owner, ids, user);
        for (const id of ids)
          if (!own.has(id)) problems.set(id, new LedgerError({ code: 'ACCOUNT_NOT_FOUND' }));
      } catch (error) {
        for (const id of ids) problems.set(id, error as Error);
      }
    });
    await Promise.all(lookUps);
    return problems;
  }

  private async lookUp(
    shard: ShardReader,
    owner: string,
    accountIds: readonly number[],
    user: string,
  ): Promise<ReadonlySet<number>> {
    const start = performance.now();
    const rows = await shard.query<{ account_id: string }>(
      `SELECT account_id FROM ${shard.tables.accounts} WHERE owner = $1 AND account_id = ANY($2::bigint[])`,
      [owner, plainArray(accountIds)],
      user,
    );
    const own = new Set(rows.map((row) => Number(row.account_id)));
    for (const id of own) this.remembered.set(nameOf(owner, id), true, { start });
    return own;
  }
}

const nameOf = (owner: string, accountId: number) => `${accountId}:${owner}`;
