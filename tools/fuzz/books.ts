import { parse } from 'lossless-json';
import { Client } from 'pg';
import { verifyBank } from '../../src/admin/verify/verify.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { tablesOf } from '../../src/storage/tables.js';
import type { Answer } from './contract.js';
import type { Sent } from './draft.js';
import { centsOf, movementsIn, receiptsIn, type Asked, type Movement } from './rules.js';

/** The books as they must be according to the answers: exactly what was acknowledged. */
export class Books {
  accepted = 0;
  /** By transaction. */
  private readonly movements = new Map<string, Movement>();
  /** By account: its opening deposit, which is its first transaction. */
  private readonly openings = new Map<number, bigint>();

  record(asked: Asked, sent: Sent, answer: Answer): void {
    const isOpening = typeof asked === 'object' && asked.operationId === 'openAccount';
    if (isOpening && answer.status === 201) {
      const { accountId, balance } = parse(answer.text) as Record<string, unknown>;
      this.openings.set(Number(accountId), centsOf(balance));
    }
    for (const accepted of receiptsIn(asked, sent, answer)) {
      for (const movement of movementsIn(accepted)) this.movements.set(movement.id, movement);
      this.accepted += 1;
    }
  }

  /** Compares them with the bank's own books, which must also be consistent. */
  async problems(shard: ShardAddress): Promise<string[]> {
    const report = await verifyBank([shard]);
    const faults = report.faults.map(({ accountId, checks }) => `account ${accountId}: ${checks.join(', ')}`);
    const { accounts, rows } = await booksIn(shard);
    const stored = new Map(rows.map((row) => [row.id, row]));
    const lost = [...this.movements.values()].flatMap((movement) => {
      const row = stored.get(movement.id);
      return row?.type === movement.type && row.cents === movement.cents
        ? []
        : [`${movement.id}, ${movement.type} ${movement.cents} cents, is ${row?.type} ${row?.cents}`];
    });
    const unknown = rows.flatMap((row) =>
      this.isKnown(row) ? [] : [`nobody was told of ${row.id}, ${row.type}`],
    );
    const ids = new Set([...this.openings.keys(), ...accounts]);
    const differing = [...ids].filter((id) => !this.openings.has(id) || !accounts.includes(id));
    return [...faults, ...lost, ...unknown, ...differing.map((id) => `account ${id} is not in both books`)];
  }

  /** The release of a hold is told of by the hold, or by the debit of its capture. */
  private isKnown({ id, type, cents, version, accountId }: Row): boolean {
    if (type === 'Release' || this.movements.has(id)) return true;
    return version === 2 && type === 'Deposit' && this.openings.get(accountId) === cents;
  }
}

interface Row extends Movement {
  readonly accountId: number;
  readonly version: number;
}

const WORDS: Readonly<Record<string, string>> = {
  ...{ credit: 'Deposit', debit: 'Withdraw', hold: 'Hold', release: 'Release' },
};

async function booksIn({ url, schema }: ShardAddress): Promise<{ accounts: number[]; rows: Row[] }> {
  const tables = tablesOf(schema);
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const opened = await client.query<{ account_id: string }>(`SELECT account_id FROM ${tables.accounts}`);
    const posted = await client.query<Record<string, string>>(
      `SELECT transaction_id, account_id, type, amount, version_after FROM ${tables.allTransactions} t`,
    );
    return {
      accounts: opened.rows.map((row) => Number(row.account_id)),
      rows: posted.rows.map((row) => ({
        id: `txn${row['transaction_id']}`,
        accountId: Number(row['account_id']),
        type: WORDS[row['type'] ?? ''] ?? '',
        cents: centsOf(row['amount']),
        version: Number(row['version_after']),
      })),
    };
  } finally {
    await client.end();
  }
}
