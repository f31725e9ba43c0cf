import { Inject, Injectable } from '@nestjs/common';
import type { KeyUse } from '../../domain/books.js';
import type { Rejection } from '../../domain/errors.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import { idFromColumn, moneyFromColumn, type TransactionRow } from '../../storage/rows.js';
import { READERS, type ShardReader } from './shard-reader.js';

/** What an account's idempotency key was used for. */
export interface UseOfKey {
  /** The owner of the account. */
  readonly owner: string | undefined;
  /** Undefined: nothing yet. */
  readonly use: KeyUse | undefined;
}

type UseRow = Pick<TransactionRow, 'type' | 'amount' | 'fingerprint' | 'transfer_id' | 'hold_id'> & {
  owner: string | null;
  transaction_id: string | null;
  refused_fingerprint: string | null;
  rejection: string | null;
};

/** Reads what became of idempotency keys. */
@Injectable()
export class KeyReader {
  constructor(@Inject(READERS) private readonly router: ShardRouter<ShardReader>) {}

  /**
   * @returns undefined: the account does not exist
   * @throws LedgerError DATABASE_FAILED, OVERLOADED
   */
  async useOf(accountId: number, idempotencyKey: string, user: string): Promise<UseOfKey | undefined> {
    const shard = this.router.of(accountId);
    const { accounts, allTransactions, refusedSubmissions } = shard.tables;
    const [row] = await shard.query<UseRow>(
      `SELECT a.owner, t.*, r.fingerprint AS refused_fingerprint, r.rejection
       FROM ${accounts} a
       LEFT JOIN LATERAL (SELECT transaction_id, type, amount, fingerprint, transfer_id, hold_id
                          FROM ${allTransactions} t
                          WHERE account_id = a.account_id AND idempotency_key = $2 LIMIT 1) t ON true
       LEFT JOIN LATERAL (SELECT fingerprint, rejection FROM ${refusedSubmissions}
                          WHERE account_id = a.account_id AND idempotency_key = $2 LIMIT 1) r ON true
       WHERE a.account_id = $1`,
      [accountId, idempotencyKey],
      user,
      accountId,
    );
    return row && { owner: row.owner ?? undefined, use: useFromRow(row) };
  }
}

function useFromRow(row: UseRow): KeyUse | undefined {
  if (row.rejection !== null) {
    const rejection = JSON.parse(row.rejection) as Rejection;
    return { rejection, fingerprint: row.refused_fingerprint ?? undefined };
  }
  if (row.transaction_id === null) return undefined;
  return {
    transactionId: Number(row.transaction_id),
    type: row.type,
    amount: moneyFromColumn(row.amount),
    fingerprint: row.fingerprint ?? undefined,
    transferId: idFromColumn(row.transfer_id),
    holdId: idFromColumn(row.hold_id),
  };
}
