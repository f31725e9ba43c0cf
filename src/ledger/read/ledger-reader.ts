import { Inject, Injectable } from '@nestjs/common';
import { Between, Equal, type FindOperator } from 'typeorm';
import { FIRST_VERSION, type Account, type AccountStatus, type OwnedAccount } from '../../domain/account.js';
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

/** Stands for the bank's own currency where accounts don't name it. */
export const BANK_CURRENCY = '';

export interface AccountFilter {
  /** Undefined: the accounts of all owners. */
  readonly owner?: string;
  readonly reference?: string;
  readonly status?: AccountStatus;
  /** The code of their currency, or {@link BANK_CURRENCY}. */
  readonly currency?: string;
}

/** A page of accounts, in ascending order of their ids. */
export interface AccountPage {
  readonly accounts: readonly OwnedAccount[];
  /** The next page is after this id; undefined: there is none. */
  readonly nextAfter: number | undefined;
}

/** A shard's part of such a page. */
interface ShardAccounts {
  readonly accounts: readonly OwnedAccount[];
  /** The id up to which these are all; infinite: there are no more. */
  readonly reached: number;
}

export interface TransactionFilter {
  readonly type?: TransactionType;
  /** Inclusive. In whole milliseconds, as are the times of transactions. */
  readonly from?: Date;
  /** Exclusive. In whole milliseconds. */
  readonly to?: Date;
  /** Decimal text. Inclusive, as is the next. */
  readonly minAmount?: string;
  readonly maxAmount?: string;
  readonly reference?: string;
  readonly idempotencyKey?: string;
}

/** A page of an account's transactions, newest first. */
export interface TransactionPage {
  readonly transactions: readonly Transaction[];
  /** The next page is below this version; undefined: there is none. */
  readonly nextBelow: number | undefined;
}

/** The transactions that a page examines. */
interface Window {
  /** The lowest version, and the first one above them. */
  readonly lowest: number;
  readonly below: number;
  /** Only these; undefined: all of these versions. */
  readonly ids?: readonly number[];
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
   * Accounts of all shards in ascending order of their ids. A page examines at most {@link MAX_EXAMINED} accounts of each
   * shard, so one that is filtered may hold few or none.
   *
   * @throws LedgerError DATABASE_FAILED, OVERLOADED
   */
  async accountsAfter(
    accountId: number,
    limit: number,
    filter: AccountFilter,
    user: string,
  ): Promise<AccountPage> {
    const parts = await Promise.all(
      this.router.shards.map((shard) => accountsOfShard(shard, accountId, limit + 1, filter, user)),
    );
    // What lies beyond the place that a shard has reached belongs to a later page.
    const reached = Math.min(...parts.map((part) => part.reached));
    const found = parts
      .flatMap((part) => part.accounts.filter((account) => account.accountId <= reached))
      .sort((a, b) => a.accountId - b.accountId);
    const accounts = found.slice(0, limit);
    if (found.length > limit) return { accounts, nextAfter: accounts.at(-1)?.accountId };
    return { accounts, nextAfter: reached === Infinity ? undefined : reached };
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
    const { type, from, to, minAmount, maxAmount, reference } = filter;
    const isFiltered = Object.values(filter).some((wanted) => wanted !== undefined);
    const window: Window = isFiltered
      ? await this.windowBelow(accountId, version, filter, limit, user)
      : { lowest: FIRST_VERSION, below: version };
    const { transactionDetails, allTransactions } = this.router.of(accountId).tables;
    const source =
      window.ids &&
      `(SELECT t.* FROM unnest($11::bigint[]) AS named (id),
          LATERAL (SELECT * FROM ${allTransactions} t WHERE t.transaction_id = named.id LIMIT 1) t)`;
    // The reference is looked up row by row: a join might read the details of all accounts.
    const page = `SELECT ${TRANSACTION_COLUMNS} FROM ${source ?? allTransactions} t
       WHERE account_id = $1 AND version_after < $2 AND version_after >= $3
         AND ($5::text IS NULL OR type = $5)
         AND ($6::timestamptz IS NULL OR timestamp >= $6) AND ($7::timestamptz IS NULL OR timestamp < $7)
         AND ($8::numeric IS NULL OR amount >= $8) AND ($9::numeric IS NULL OR amount <= $9)
         AND ($10::text IS NULL
           OR $10 = (SELECT d.reference FROM ${transactionDetails} d WHERE d.transaction_id = t.transaction_id))
       ORDER BY version_after DESC LIMIT $4`;
    const rows = await this.router
      .of(accountId)
      .queryLong<DetailedRow>(
        `${withDetails(page, transactionDetails)} ORDER BY version_after DESC`,
        [
          ...[accountId, window.below, window.lowest, limit + 1, type ?? null, from ?? null, to ?? null],
          ...[minAmount ?? null, maxAmount ?? null],
          ...[reference ?? null, ...(window.ids ? [plainArray(window.ids)] : [])],
        ],
        user,
        accountId,
      );
    if (rows.length === 0 && !isFiltered) await this.account(accountId, user);
    const transactions = rows.slice(0, limit).map(detailedFromRow);
    if (rows.length > limit) return { transactions, nextBelow: transactions.at(-1)?.versionAfter };
    const isLast = window.lowest <= FIRST_VERSION + 1 || filter.idempotencyKey !== undefined;
    return { transactions, nextBelow: isLast ? undefined : window.lowest };
  }

  /**
   * The versions that a filtered page examines. They have no gaps, so this many versions are this many transactions. A
   * key names one.
   */
  private async windowBelow(
    accountId: number,
    version: number,
    { idempotencyKey, reference, ...others }: TransactionFilter,
    limit: number,
    user: string,
  ): Promise<Window> {
    const below = Math.min(version, (await this.account(accountId, user)).version + 1);
    if (idempotencyKey === undefined) {
      if (reference !== undefined) {
        const isAlone = Object.values(others).every((wanted) => wanted === undefined);
        return this.windowOfReference(accountId, below, reference, isAlone ? limit + 1 : MAX_EXAMINED, user);
      }
      return { below, lowest: Math.max(below - MAX_EXAMINED, FIRST_VERSION) };
    }
    const shard = this.router.of(accountId);
    const [row] = await shard.query<{ version_after: string }>(
      `SELECT version_after FROM ${shard.tables.allTransactions} t WHERE account_id = $1 AND idempotency_key = $2`,
      [accountId, idempotencyKey],
      user,
      accountId,
    );
    // The first version is no transaction, so this is none where the key was not used.
    const lowest = Number(row?.version_after ?? FIRST_VERSION);
    return { lowest, below: Math.min(below, lowest + 1) };
  }

  /** The newest transactions with a reference, from the index of references: ids ascend with an account's versions. */
  private async windowOfReference(
    accountId: number,
    below: number,
    reference: string,
    count: number,
    user: string,
  ): Promise<Window> {
    const shard = this.router.of(accountId);
    const { transactionDetails, allTransactions } = shard.tables;
    const rows = await shard.query<{ transaction_id: string }>(
      `SELECT transaction_id FROM ${transactionDetails} WHERE account_id = $1 AND reference = $2
         AND transaction_id <=
           (SELECT transaction_id FROM ${allTransactions} t WHERE account_id = $1 AND version_after = $3 LIMIT 1)
       ORDER BY transaction_id DESC LIMIT $4`,
      [accountId, reference, below - 1, count],
      user,
      accountId,
    );
    const ids = rows.map((row) => Number(row.transaction_id));
    if (ids.length < count) return { below, lowest: FIRST_VERSION, ids };
    const [last] = await shard.query<{ version_after: string }>(
      `SELECT version_after FROM ${allTransactions} t WHERE transaction_id = $1 LIMIT 1`,
      [ids.at(-1)],
      user,
      accountId,
    );
    return { below, lowest: Number(last?.version_after), ids };
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

/**
 * The first accounts of a shard after an id that match a filter. An owner's are examined by the index of owners, so that
 * neither time nor place tells of others; else those with a reference by the index of references.
 */
async function accountsOfShard(
  shard: ShardReader,
  accountId: number,
  count: number,
  { owner, reference, status, currency }: AccountFilter,
  user: string,
): Promise<ShardAccounts> {
  const { accounts, accountDetails } = shard.tables;
  const isByReference = owner === undefined && reference !== undefined;
  const after = 'a.account_id > $1 ORDER BY a.account_id LIMIT $2';
  const examined = isByReference
    ? `SELECT account.* FROM (SELECT account_id FROM ${accountDetails} a WHERE reference = $6 AND ${after}) d
       JOIN ${accounts} account USING (account_id)`
    : `SELECT a.* FROM ${accounts} a WHERE ${owner === undefined ? '' : 'owner = $4 AND'} ${after}`;
  const found = `SELECT * FROM examined a
     WHERE ($4::text IS NULL OR owner = $4) AND ($5::text IS NULL OR status = $5)
       AND ($7::text IS NULL OR coalesce(currency, '${BANK_CURRENCY}') = $7)
       AND ($6::text IS NULL
         OR $6 = (SELECT d.reference FROM ${accountDetails} d WHERE d.account_id = a.account_id))
     ORDER BY account_id LIMIT $3`;
  // Where all that is examined matches, a page needs no more.
  const isExact =
    status === undefined && currency === undefined && (owner === undefined || reference === undefined);
  const most = isExact ? count : MAX_EXAMINED;
  const rows = await shard.query<Partial<OwnedAccountRow> & { examined: number; last_id: string | null }>(
    `WITH examined AS MATERIALIZED (${examined})
     SELECT s.examined, s.last_id, f.*
     FROM (SELECT count(*)::int AS examined, max(account_id) AS last_id FROM examined) s
     LEFT JOIN (${selectOwnedAccounts(`(${found})`, accountDetails)}) f ON true
     ORDER BY f.account_id`,
    [accountId, most, count, owner ?? null, status ?? null, reference ?? null, currency ?? null],
    user,
  );
  const accountsFound = rows
    .filter((row) => typeof row.account_id === 'string')
    .map((row) => ownedAccountFromRow(row as OwnedAccountRow));
  const [first] = rows;
  const lastExamined = first?.examined === most ? Number(first.last_id) : Infinity;
  const lastFound = accountsFound.length === count ? accountsFound.at(-1)?.accountId : undefined;
  return { accounts: accountsFound, reached: lastFound ?? lastExamined };
}
