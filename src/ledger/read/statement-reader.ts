import { Inject, Injectable } from '@nestjs/common';
import type { Account } from '../../domain/account.js';
import type { Money } from '../../domain/money.js';
import type { MovementType, Transaction } from '../../domain/transaction.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import { detailedFromRow, TRANSACTION_COLUMNS, withDetails, type DetailedRow } from '../../storage/rows.js';
import { HistoryReader, type PastBalance } from './history-reader.js';
import { READERS, type ShardReader } from './shard-reader.js';

/** What an interval of an account's history covers: its transactions after one version, up to another one. */
export interface Span {
  readonly accountId: number;
  readonly opening: Account;
  readonly closing: Account;
}

export interface Turnover {
  readonly count: number;
  readonly sum: Money;
}

/** A transaction that moved the balance. */
export interface Movement extends Transaction {
  readonly type: MovementType;
}

/** An account's history around an interval, as a statement shows it. */
export interface BoundsReading {
  /** The time of the database. */
  readonly now: Date;
  readonly span: Span;
}

/** Versions that are read at once: a chunk takes a few milliseconds, and so does what is made of it. */
const CHUNK = 500;

/**
 * Reads an interval of an account's history. No snapshot is kept open: the versions at both ends are found first, and
 * the transactions between them never change, whether or not they are archived meanwhile.
 */
@Injectable()
export class StatementReader {
  constructor(
    @Inject(READERS) private readonly router: ShardRouter<ShardReader>,
    private readonly history: HistoryReader,
  ) {}

  /**
   * What an account had just before two times. Before its opening it counts as empty.
   *
   * @throws LedgerError ACCOUNT_NOT_FOUND; TIME_IN_FUTURE; DATABASE_FAILED; OVERLOADED
   */
  async bounds(accountId: number, from: Date, to: Date, user: string): Promise<BoundsReading> {
    // Transactions have times in whole milliseconds.
    const justBefore = [from, to].map((time) => time.getTime() - 1);
    const { now, balances } = await this.history.balancesAt(accountId, justBefore, user);
    const [opening, closing] = balances as [PastBalance, PastBalance];
    return { now, span: { accountId, opening, closing } };
  }

  /** What the movements of a span come to. */
  async turnover(
    { accountId, opening, closing }: Span,
    user: string,
  ): Promise<Readonly<Record<MovementType, Turnover>>> {
    const shard = this.router.of(accountId);
    const rows = await shard.queryLong<{ type: MovementType; count: number; sum: string }>(
      `SELECT type, count(*)::int AS count, replace(sum(amount)::text, '.', '') AS sum
       FROM ${shard.tables.allTransactions} t
       WHERE account_id = $1 AND version_after > $2 AND version_after <= $3 AND type IN ('credit', 'debit')
       GROUP BY type`,
      [accountId, opening.version, closing.version],
      user,
      accountId,
    );
    const of = (type: MovementType): Turnover => {
      const row = rows.find((each) => each.type === type);
      return { count: row?.count ?? 0, sum: BigInt(row?.sum ?? 0) };
    };
    return { credit: of('credit'), debit: of('debit') };
  }

  /** The movements of a span with their details, oldest first, in chunks. */
  async *movements({ accountId, opening, closing }: Span, user: string): AsyncGenerator<readonly Movement[]> {
    for (let after = opening.version; after < closing.version; after += CHUNK) {
      const shard = this.router.of(accountId);
      const chunk = `SELECT ${TRANSACTION_COLUMNS} FROM ${shard.tables.allTransactions} t
         WHERE account_id = $1 AND version_after > $2 AND version_after <= $3 AND type IN ('credit', 'debit')`;
      const rows = await shard.queryLong<DetailedRow>(
        `${withDetails(chunk, shard.tables.transactionDetails)} ORDER BY version_after`,
        [accountId, after, Math.min(after + CHUNK, closing.version)],
        user,
        accountId,
      );
      yield rows.map((row) => detailedFromRow(row) as Movement);
    }
  }
}
