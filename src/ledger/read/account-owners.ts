import { setImmediate as nextTurn } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { plainArray, textArray } from '../../storage/array-literal.js';
import { LedgerError } from '../../domain/errors.js';
import { THE_SERVICE } from '../../domain/sender.js';
import { READERS, type ShardReader } from './shard-reader.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import { SingleFlight } from '../../concurrency/single-flight.js';

/** Accounts whose owner is remembered; the least recently used is forgotten first. */
const REMEMBERED = 100_000;
/** How long a reading is valid: a change of owner takes effect everywhere within this time plus one request. */
export const VALID_MS = 4_000;
/** From this age on the next request starts a new reading, without waiting for it. */
const REFRESH_MS = 2_000;
/** Accounts that one statement reads again. */
const AT_ONCE = 1_000;

/**
 * Knows which accounts belong to an owner, for callers who may use no others. It is asked before anything else: an
 * account of another owner then gets the same answer as one that does not exist, after the same look-up in an index
 * that holds neither. Only accounts that were found are remembered. While they are in use, they are read again in the
 * background, by one statement at a time in each shard.
 *
 * Errors: when the database fails, no version is reported, since it could be that of another owner's account.
 */
@Injectable()
export class AccountOwners {
  private readonly remembered = new LRUCache<string, Remembered>({ max: REMEMBERED });
  /** The accounts to read again, by shard. A shard has an entry while it is being read. */
  private readonly toRefresh = new Map<ShardReader, Map<string, Ownership>>();
  /** Many requests ask for the same busy account just after it was forgotten. */
  private readonly lookUps = new SingleFlight<string, ReadonlyMap<number, Error>>();

  constructor(@Inject(READERS) private readonly router: ShardRouter<ShardReader>) {}

  /** @throws LedgerError ACCOUNT_NOT_FOUND, DATABASE_FAILED, OVERLOADED */
  async check(owner: string, accountId: number, user: string): Promise<void> {
    const name = nameOf(owner, accountId);
    if (this.isKnown(name, { owner, accountId })) return;
    // Shared only within one user, so that nobody waits for another user's turn.
    const problems = await this.lookUps.run(`${user}/${name}`, () => this.problems(owner, [accountId], user));
    const problem = problems.get(accountId);
    if (problem) throw problem;
  }

  /**
   * Which of several accounts can't be used, and why. One shard's failure concerns only its own accounts.
   *
   * @param owner undefined: all accounts may be used
   */
  async problems(
    owner: string | undefined,
    accountIds: readonly number[],
    user: string,
  ): Promise<ReadonlyMap<number, Error>> {
    if (owner === undefined) return new Map();
    const unknown = new Set(
      accountIds.filter((accountId) => !this.isKnown(nameOf(owner, accountId), { owner, accountId })),
    );
    const problems = new Map<number, Error>();
    const byShard = Map.groupBy(unknown, (id) => this.router.of(id));
    const lookUps = [...byShard].map(async ([shard, ids]) => {
      try {
        const ownerships = ids.map((accountId) => ({ owner, accountId }));
        const found = await this.read(shard, ownerships, user);
        for (const id of ids)
          if (!found.has(nameOf(owner, id))) problems.set(id, new LedgerError({ code: 'ACCOUNT_NOT_FOUND' }));
      } catch (error) {
        for (const id of ids) problems.set(id, error as Error);
      }
    });
    await Promise.all(lookUps);
    return problems;
  }

  private isKnown(name: string, ownership: Ownership): boolean {
    const remembered = this.remembered.get(name);
    if (!remembered) return false;
    const ageMs = performance.now() - remembered.readMs;
    if (ageMs >= VALID_MS) return false;
    if (ageMs > REFRESH_MS && !remembered.isDue) {
      remembered.isDue = true;
      this.refresh(this.router.of(ownership.accountId), name, ownership);
    }
    return true;
  }

  private refresh(shard: ShardReader, name: string, ownership: Ownership): void {
    const waiting = this.toRefresh.get(shard);
    if (waiting) return void waiting.set(name, ownership);
    const due = new Map([[name, ownership]]);
    this.toRefresh.set(shard, due);
    void this.refreshAll(shard, due);
  }

  /**
   * An account that can't be read is looked up by the next request that needs it, once its reading is no longer valid.
   */
  private async refreshAll(shard: ShardReader, due: Map<string, Ownership>): Promise<void> {
    while (due.size > 0) {
      // Accounts that become due in one turn of the event loop are read together.
      await nextTurn();
      const some = new Map([...due].slice(0, AT_ONCE));
      for (const name of some.keys()) due.delete(name);
      const found = await this.read(shard, [...some.values()], THE_SERVICE).catch(() => undefined);
      if (found) for (const name of some.keys()) if (!found.has(name)) this.remembered.delete(name);
    }
    this.toRefresh.delete(shard);
  }

  /** SQL, because it looks up pairs, 10,000 of them for a batch. */
  private async read(
    shard: ShardReader,
    ownerships: readonly Ownership[],
    user: string,
  ): Promise<ReadonlySet<string>> {
    const readMs = performance.now();
    const rows = await shard.query<{ owner: string; account_id: string }>(
      `SELECT owner, account_id FROM ${shard.tables.accounts}
       WHERE (owner, account_id) IN (SELECT * FROM unnest($1::text[], $2::bigint[]))`,
      [
        textArray(ownerships.map(({ owner }) => owner)),
        plainArray(ownerships.map(({ accountId }) => accountId)),
      ],
      user,
    );
    const found = new Set(rows.map((row) => nameOf(row.owner, Number(row.account_id))));
    for (const name of found) this.remembered.set(name, { readMs, isDue: false });
    return found;
  }
}

interface Ownership {
  readonly owner: string;
  readonly accountId: number;
}

interface Remembered {
  /** When the reading began, by performance.now(). */
  readonly readMs: number;
  /** Whether it is to be read again. */
  isDue: boolean;
}

const nameOf = (owner: string, accountId: number) => `${accountId}:${owner}`;
