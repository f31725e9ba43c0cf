import { Client, escapeIdentifier } from 'pg';

/** A row of `transactions` or of the archive. Amounts are in minor units. */
export interface Posting {
  readonly id: string;
  readonly accountId: number;
  readonly type: string;
  readonly amount: number;
  readonly balance: number;
  readonly version: number;
  readonly key: string | undefined;
}

export interface AccountBook {
  readonly balance: number;
  readonly version: number;
  /** In the order of their versions; the first posting of sound books has version 2. */
  readonly postings: Posting[];
}

/** The contents of the databases after the run, read by the checker's own statements. */
export interface Books {
  readonly accounts: ReadonlyMap<number, AccountBook>;
  readonly byId: ReadonlyMap<string, Posting>;
  /** Operation → the postings whose amount is its number. */
  readonly byOperation: ReadonlyMap<number, readonly Posting[]>;
  /** Outbox rows that were never published. */
  readonly unpublished: number;
}

interface Row {
  transaction_id: string;
  account_id: string;
  type: string;
  amount: string;
  balance_after: string;
  version_after: string;
  idempotency_key: string | null;
}

/**
 * @param shards direct connections
 * @param except accounts that existed before the run
 */
export async function readBooks(
  shards: readonly { readonly url: string; readonly schema: string }[],
  except: readonly number[],
): Promise<Books> {
  const accounts = new Map<number, AccountBook>();
  const byId = new Map<string, Posting>();
  const byOperation = new Map<number, Posting[]>();
  let unpublished = 0;
  for (const { url, schema: name } of shards) {
    const schema = escapeIdentifier(name);
    const client = new Client({ connectionString: url });
    await client.connect();
    try {
      const opened = await client.query<{ account_id: string; balance: string; version: string }>(
        `SELECT account_id, balance, version FROM ${schema}.accounts WHERE NOT account_id = ANY($1)`,
        [except],
      );
      for (const row of opened.rows) {
        const { account_id: id, balance, version } = row;
        accounts.set(Number(id), { balance: minorUnits(balance), version: Number(version), postings: [] });
      }
      const columns =
        'transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key';
      const posted = await client.query<Row>(
        `SELECT ${columns}
         FROM (SELECT ${columns} FROM ${schema}.transactions
               UNION ALL SELECT ${columns} FROM ${schema}.archived_transactions) posted
         WHERE NOT account_id = ANY($1) ORDER BY account_id, version_after, transaction_id`,
        [except],
      );
      for (const posting of posted.rows.map(postingOf)) {
        accounts.get(posting.accountId)?.postings.push(posting);
        byId.set(posting.id, posting);
        const same = byOperation.get(posting.amount);
        if (same) same.push(posting);
        else byOperation.set(posting.amount, [posting]);
      }
      unpublished += (await client.query(`SELECT FROM ${schema}.outbox`)).rowCount ?? 0;
    } finally {
      await client.end();
    }
  }
  return { accounts, byId, byOperation, unpublished };
}

function postingOf(row: Row): Posting {
  return {
    id: `txn${row.transaction_id}`,
    accountId: Number(row.account_id),
    type: row.type,
    amount: minorUnits(row.amount),
    balance: minorUnits(row.balance_after),
    version: Number(row.version_after),
    key: row.idempotency_key ?? undefined,
  };
}

/** The minor units of a numeric(18,2) column. A run's sums stay far below 2^53. */
function minorUnits(text: string): number {
  return Number(text.replace('.', ''));
}

/** An account's balance at a version; undefined when it never had that version. */
export function balanceAt(book: AccountBook, version: number): number | undefined {
  return version === 1 ? 0 : book.postings[version - 2]?.balance;
}
