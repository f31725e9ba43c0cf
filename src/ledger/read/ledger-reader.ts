import { Inject, Injectable } from '@nestjs/common';
import { Between, Equal, type FindOperator } from 'typeorm';
import { FIRST_VERSION, type Account, type OwnedAccount } from '../../domain/account.js';
import { canonicalForm, lineOfAccountEvent } from '../../domain/hash-chain.js';
import { LedgerError } from '../../domain/errors.js';
import { BalanceCache } from '../../domain/ports.js';
import type { Transaction, TransactionType } from '../../domain/transaction.js';
import { plainArray } from '../../storage/array-literal.js';
import { AccountEventEntity } from '../../storage/entities/account-event.entity.js';
import { AccountEntity } from '../../storage/entities/account.entity.js';
import {
  detailedFromRow,
  ownedAccountFromRow,
  selectOwnedAccounts,
  TRANSACTION_COLUMNS,
  transactionFromRow,
  withDetails,
  type DetailedRow,
  type OwnedAccountRow,
  type TransactionRow,
} from '../../storage/rows.js';
import { readEach } from './read-each.js';
import { READERS, type ShardReader } from './shard-reader.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import { SingleFlight } from '../../concurrency/single-flight.js';

export interface BalanceRequest {
  /** Answer from a copy of at least this version. */
  readonly minVersion?: number;
  /** Answer from the database, not from a cache. */
  readonly noCache?: boolean;
}

export interface TransactionFilter {
  readonly type?: TransactionType;
  /** Inclusive. In whole milliseconds, as are the times of transactions. */
  readonly from?: Date;
  /** Exclusive. In whole milliseconds. */
  readonly to?: Date;
}

/** A page of an account's transactions, newest first. */
export interface TransactionPage {
  readonly transactions: readonly Transaction[];
  /** The next page is below this version; undefined: there is none. */
  readonly nextBelow: number | undefined;
}

/** The head of an account's hash chain, and the lines that lead to it. */
export interface ChainProof {
  readonly accountId: number;
  readonly version: number;
  /** The hash of the last transaction. */
  readonly hash: string;
  /** The transactions after the requested version, oldest first; at most {@link MAX_PROOF_LINES}. */
  readonly lines: readonly string[];
  /** The version to ask for next, if there are more lines; undefined: these lead to the head. */
  readonly nextFromVersion: number | undefined;
  /** The last change that is not a transaction; undefined: there is none. */
  readonly events: { readonly revision: number; readonly hash: string } | undefined;
  /** The changes from the requested revision on, oldest first; at most {@link MAX_PROOF_LINES}. */
  readonly eventLines: readonly string[];
  /** The revision to ask for next, if there are more of them. */
  readonly nextFromRevision: number | undefined;
}

export const MAX_PROOF_LINES = 1_000;

/** Rows that a filtered listing reads for one page: those that it skips cost as much as those that it shows. */
export const MAX_EXAMINED = 10_000;

/**
 * Reads accounts and transactions. Balances come from the cache where it may answer, everything else from the database.
 * Reads of the database take turns by `user`.
 */
@Injectable()
export class LedgerReader {
  private readonly accountReads = new SingleFlight<string, OwnedAccount>();

  constructor(
    @Inject(READERS) private readonly router: ShardRouter<ShardReader>,
    private readonly balances: BalanceCache,
  ) {}

  /**
   * Returns the account itself, not a promise, if it is in memory.
   *
   * @throws LedgerError, always by rejecting: ACCOUNT_NOT_FOUND; VERSION_MISMATCH when the account has not reached
   *   `minVersion`; DATABASE_FAILED; OVERLOADED
   */
  balance(accountId: number, request: BalanceRequest, user: string): Account | Promise<Account> {
    const { minVersion = 0, noCache = false } = request;
    const looked = noCache ? undefined : this.balances.get(accountId);
    if (looked && !(looked instanceof Promise) && looked.version >= minVersion) return looked;
    return this.readBalance(accountId, looked, minVersion, user);
  }

  private async readBalance(
    accountId: number,
    looked: Promise<Account | undefined> | Account | undefined,
    minVersion: number,
    user: string,
  ): Promise<Account> {
    const cached = await looked;
    if (cached && cached.version >= minVersion) return cached;
    const account = await this.account(accountId, user);
    if (account.version < minVersion) {
      throw new LedgerError({ code: 'VERSION_MISMATCH', currentVersion: account.version });
    }
    return account;
  }

  /**
   * Always reads the database; the result is no older than the call.
   *
   * @throws LedgerError ACCOUNT_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  account(accountId: number, user: string): Promise<OwnedAccount> {
    // Shared only within one user, so that nobody waits for another user's turn.
    return this.accountReads.run(`${user}/${accountId}`, () => this.readAccount(accountId, user));
  }

  /**
   * Accounts of all shards in ascending order of their ids.
   *
   * @param owner undefined: the accounts of all owners
   * @throws LedgerError DATABASE_FAILED, OVERLOADED
   */
  async accountsAfter(
    accountId: number,
    limit: number,
    owner: string | undefined,
    user: string,
  ): Promise<OwnedAccount[]> {
    const pages = await Promise.all(
      this.router.shards.map((shard) =>
        shard.query<OwnedAccountRow>(
          `${selectOwnedAccounts(shard.tables.accounts, shard.tables.accountDetails)}
           WHERE a.account_id > $1 ${owner === undefined ? '' : 'AND a.owner = $3'} ORDER BY a.account_id LIMIT $2`,
          owner === undefined ? [accountId, limit] : [accountId, limit, owner],
          user,
        ),
      ),
    );
    const accounts = pages.flat().map(ownedAccountFromRow);
    return accounts.sort((a, b) => a.accountId - b.accountId).slice(0, limit);
  }

  /**
   * An account's transactions below a version, newest first, so that new ones don't shift the pages. A page costs the
   * same however long the history is: it is read from an index, and a filter examines at most {@link MAX_EXAMINED}
   * transactions, so a filtered page may hold few or none.
   *
   * @throws LedgerError ACCOUNT_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  async transactionsBelow(
    accountId: number,
    version: number,
    limit: number,
    filter: TransactionFilter,
    user: string,
  ): Promise<TransactionPage> {
    const { type, from, to } = filter;
    const isFiltered = type !== undefined || from !== undefined || to !== undefined;
    // An account's versions have no gaps, so this many versions are this many transactions.
    const below = isFiltered ? Math.min(version, (await this.account(accountId, user)).version + 1) : version;
    const lowest = isFiltered ? Math.max(below - MAX_EXAMINED, FIRST_VERSION) : FIRST_VERSION;
    const shard = this.router.of(accountId);
    const page = `SELECT ${TRANSACTION_COLUMNS} FROM ${shard.tables.allTransactions} t
       WHERE account_id = $1 AND version_after < $2 AND version_after >= $3
         AND ($5::text IS NULL OR type = $5)
         AND ($6::timestamptz IS NULL OR timestamp >= $6) AND ($7::timestamptz IS NULL OR timestamp < $7)
       ORDER BY version_after DESC LIMIT $4`;
    const rows = await shard.queryLong<DetailedRow>(
      `${withDetails(page, shard.tables.transactionDetails)} ORDER BY version_after DESC`,
      [accountId, below, lowest, limit + 1, type ?? null, from ?? null, to ?? null],
      user,
      accountId,
    );
    if (rows.length === 0 && !isFiltered) await this.account(accountId, user);
    const transactions = rows.slice(0, limit).map(detailedFromRow);
    if (rows.length > limit) return { transactions, nextBelow: transactions.at(-1)?.versionAfter };
    return { transactions, nextBelow: lowest > FIRST_VERSION + 1 ? lowest : undefined };
  }

  /**
   * @param owner the transaction must be on an account of this owner; undefined: on any account
   * @throws LedgerError TRANSACTION_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  async transaction(transactionId: number, owner: string | undefined, user: string): Promise<Transaction> {
    const shard = this.router.of(transactionId);
    const { allTransactions, accounts, transactionDetails } = shard.tables;
    const isOwn = `AND EXISTS (SELECT FROM ${accounts} a WHERE a.account_id = t.account_id AND a.owner = $2)`;
    const [row] = await shard.query<DetailedRow>(
      withDetails(
        `SELECT ${TRANSACTION_COLUMNS} FROM ${allTransactions} t
         WHERE transaction_id = $1 ${owner === undefined ? '' : isOwn} LIMIT 1`,
        transactionDetails,
      ),
      owner === undefined ? [transactionId] : [transactionId, owner],
      user,
    );
    if (!row) throw new LedgerError({ code: 'TRANSACTION_NOT_FOUND' });
    return detailedFromRow(row);
  }

  /** {@link transaction} for several, without their details: each, or why it can't be read. */
  transactions(
    transactionIds: Iterable<number>,
    owner: string | undefined,
    user: string,
  ): Promise<ReadonlyMap<number, Transaction | Error>> {
    const read = async (shard: ShardReader, ids: readonly number[]) => {
      const { allTransactions, accounts } = shard.tables;
      const rows = await shard.query<TransactionRow>(
        `SELECT ${TRANSACTION_COLUMNS} FROM ${allTransactions} t WHERE transaction_id = ANY($1::bigint[])
           AND ($2::text IS NULL OR EXISTS
             (SELECT FROM ${accounts} a WHERE a.account_id = t.account_id AND a.owner = $2))`,
        [plainArray(ids), owner ?? null],
        user,
      );
      return new Map(rows.map((row) => [Number(row.transaction_id), transactionFromRow(row)]));
    };
    return readEach(
      this.router,
      transactionIds,
      read,
      () => new LedgerError({ code: 'TRANSACTION_NOT_FOUND' }),
    );
  }

  /**
   * The head of an account's hash chain and the lines that lead to it from a version on. Whoever has kept the hash of
   * that version computes the head from it and these lines, or finds out that the history was changed. Read from the
   * rows themselves, never from a cache.
   *
   * @param fromRevision the first change to return; undefined: none
   * @throws LedgerError ACCOUNT_NOT_FOUND; VERSION_MISMATCH when the account has not reached `fromVersion`, or the
   *   revision before `fromRevision`, so that a rollback does not look like "nothing new"; DATABASE_FAILED; OVERLOADED
   */
  async proof(
    accountId: number,
    fromVersion: number | undefined,
    user: string,
    fromRevision?: number,
  ): Promise<ChainProof> {
    const shard = this.router.of(accountId);
    const head = await shard.read(
      (manager) => manager.findOneBy(AccountEntity, { accountId }),
      user,
      accountId,
    );
    if (!head) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND' });
    const { version, revision } = head;
    if ((fromVersion ?? 0) > version || (fromRevision ?? 0) > revision + 1) {
      throw new LedgerError({ code: 'VERSION_MISMATCH', currentVersion: version });
    }
    const proof = {
      accountId,
      version,
      hash: head.headHash.toString('hex'),
      lines: [],
      nextFromVersion: undefined,
      ...(await this.proofOfEvents(head, fromRevision, user)),
    };
    if (fromVersion === undefined || fromVersion === version) return proof;
    // No snapshot is needed: transactions up to the head never change, and the query reads the archive too.
    const page = `SELECT ${TRANSACTION_COLUMNS} FROM ${shard.tables.allTransactions} t
       WHERE account_id = $1 AND version_after > $2 AND version_after <= $3
       ORDER BY version_after LIMIT ${MAX_PROOF_LINES}`;
    const rows = await shard.query<DetailedRow>(
      `${withDetails(page, shard.tables.transactionDetails)} ORDER BY version_after`,
      [accountId, fromVersion, version],
      user,
      accountId,
    );
    const last = Number(rows.at(-1)?.version_after ?? version);
    return {
      ...proof,
      lines: rows.map((row) => canonicalForm(detailedFromRow(row))),
      nextFromVersion: last < version ? last : undefined,
    };
  }

  private async proofOfEvents(
    { accountId, revision }: AccountEntity,
    fromRevision: number | undefined,
    user: string,
  ): Promise<Pick<ChainProof, 'events' | 'eventLines' | 'nextFromRevision'>> {
    const none = { events: undefined, eventLines: [], nextFromRevision: undefined };
    if (revision === 0) return none;
    const readEvents = (where: FindOperator<number>, take: number) =>
      this.router.of(accountId).read(
        (manager) =>
          manager.find(AccountEventEntity, {
            where: { accountId, revision: where },
            order: { revision: 'ASC' },
            take,
          }),
        user,
        accountId,
      );
    const [last] = await readEvents(Equal(revision), 1);
    // Those from before events were kept have none.
    if (!last) return none;
    const events = { revision, hash: last.hash.toString('hex') };
    if (fromRevision === undefined) return { ...none, events };
    const page = await readEvents(Between(fromRevision, revision), MAX_PROOF_LINES);
    const next = 1 + (page.at(-1)?.revision ?? revision);
    return {
      events,
      eventLines: page.map((event) => lineOfAccountEvent({ ...event, actor: event.actor ?? undefined })),
      nextFromRevision: next > revision ? undefined : next,
    };
  }

  /** For each shard, why its database can't be used; undefined: it answers. Takes about a second at most. */
  problems(): Promise<(string | undefined)[]> {
    return Promise.all(this.router.shards.map((shard) => shard.problem()));
  }

  private async readAccount(accountId: number, user: string): Promise<OwnedAccount> {
    const startedMs = performance.now();
    const shard = this.router.of(accountId);
    // SQL, because this read is hot where the cache can't answer, and a repository costs several times as much.
    const [row] = await shard.query<OwnedAccountRow>(
      `${selectOwnedAccounts(shard.tables.accounts, shard.tables.accountDetails)} WHERE a.account_id = $1`,
      [accountId],
      user,
      accountId,
    );
    if (!row) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND' });
    const account = ownedAccountFromRow(row);
    // Not awaited: the answer is right whether or not the cache takes it.
    void this.balances.record([account], startedMs);
    return account;
  }
}
