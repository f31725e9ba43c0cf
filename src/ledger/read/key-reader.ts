import { Inject, Injectable } from '@nestjs/common';
import type { KeyUse } from '../../domain/books.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import { keyUseFromRow, type KeyUseRow } from '../../storage/rows.js';
import { READERS, type ShardReader } from './shard-reader.js';

/** What an account's idempotency key was used for. */
export interface UseOfKey {
  /** The owner of the account. */
  readonly owner: string | undefined;
  /** Undefined: nothing yet. */
  readonly use: KeyUse | undefined;
}

type UseRow = { owner: string | null } & (KeyUseRow | { transaction_id: null; rejection: null });

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
    const { accounts, allTransactions, refusedSubmissions, transfers } = shard.tables;
    const [row] = await shard.query<UseRow>(
      `SELECT a.owner, coalesce(t.transaction_id, o.transfer_id) AS transaction_id, coalesce(t.type, 'debit') AS type,
              coalesce(t.amount, o.amount) AS amount, coalesce(t.transfer_id, o.transfer_id) AS transfer_id, t.hold_id,
              r.rejection, coalesce(t.fingerprint, r.fingerprint, o.fingerprint) AS fingerprint
       FROM ${accounts} a
       LEFT JOIN LATERAL (SELECT transaction_id, type, amount, fingerprint, transfer_id, hold_id
                          FROM ${allTransactions} t
                          WHERE account_id = a.account_id AND idempotency_key = $2 LIMIT 1) t ON true
       LEFT JOIN LATERAL (SELECT fingerprint, rejection FROM ${refusedSubmissions}
                          WHERE account_id = a.account_id AND idempotency_key = $2 LIMIT 1) r ON true
       LEFT JOIN LATERAL (SELECT transfer_id, amount, fingerprint FROM ${transfers}
                          WHERE account_id = a.account_id AND idempotency_key = $2 LIMIT 1) o ON true
       WHERE a.account_id = $1`,
      [accountId, idempotencyKey],
      user,
      accountId,
    );
    if (!row) return undefined;
    const isUsed = row.transaction_id !== null || row.rejection !== null;
    return { owner: row.owner ?? undefined, use: isUsed ? keyUseFromRow(row) : undefined };
  }
}
