import { parse } from 'lossless-json';
import { Client } from 'pg';
import { verifyBank } from '../../src/admin/verify/verify.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { tablesOf } from '../../src/storage/tables.js';
import type { Answer } from './contract.js';
import type { Sent } from './draft.js';
import { centsOf, receiptsIn, type Asked } from './rules.js';

interface Account {
  cents: bigint;
  version: number;
}

/** The books as they must be according to the answers: exactly what was acknowledged with a 201. */
export class Books {
  accepted = 0;
  private readonly accounts = new Map<number, Account>();

  record(asked: Asked, sent: Sent, answer: Answer): void {
    const isOpening = typeof asked === 'object' && asked.operationId === 'openAccount';
    if (isOpening && answer.status === 201) {
      const { accountId, balance } = parse(answer.text) as Record<string, unknown>;
      this.book(Number(accountId), centsOf(balance));
    }
    for (const { accountId, receipt } of receiptsIn(asked, sent, answer)) {
      const cents = centsOf(receipt['amount']);
      this.book(accountId, receipt['type'] === 'Withdraw' ? -cents : cents);
      this.accepted += 1;
    }
  }

  private book(accountId: number, cents: bigint): void {
    // The answer to a transaction may arrive before the answer to the opening of its account.
    const account = this.accounts.get(accountId) ?? { cents: 0n, version: 1 };
    this.accounts.set(accountId, account);
    account.cents += cents;
    if (cents !== 0n) account.version += 1;
  }

  /** Compares them with the bank's own books, which must also be consistent. */
  async problems(shard: ShardAddress): Promise<string[]> {
    const report = await verifyBank([shard]);
    const faults = report.faults.map(({ accountId, checks }) => `account ${accountId}: ${checks.join(', ')}`);
    const stored = await accountsIn(shard);
    const ids = new Set([...this.accounts.keys(), ...stored.keys()]);
    const differences = [...ids].flatMap((id) => {
      const [ours, theirs] = [this.accounts.get(id), stored.get(id)].map(
        (account) => account && `${account.cents} cents at version ${account.version}`,
      );
      return ours === theirs ? [] : [`account ${id} has ${theirs}, by the answers ${ours}`];
    });
    return [...faults, ...differences];
  }
}

async function accountsIn({ url, schema }: ShardAddress): Promise<Map<number, Account>> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ account_id: string; balance: string; version: string }>(
      `SELECT account_id, balance, version FROM ${tablesOf(schema).accounts}`,
    );
    return new Map(
      rows.map((row) => [
        Number(row.account_id),
        { cents: centsOf(row.balance), version: Number(row.version) },
      ]),
    );
  } finally {
    await client.end();
  }
}
