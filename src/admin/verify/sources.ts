import { columnList } from '../../storage/identifiers.js';
import type { Client } from 'pg';
import { USD } from '../../config/currencies.js';
import { tablesOf } from '../../storage/tables.js';
import { columnsOf, hasTable } from '../catalogue.js';

/** What is verified, as FROM items. The columns that an older schema lacks have the values that a migration gives. */
export interface Sources {
  readonly accounts: string;
  /** Hot and archived ones. */
  readonly transactions: string;
  /** Undefined: the schema is from before openings. */
  readonly openings: string | undefined;
  /** Undefined: the schema is from before the archive. */
  readonly parts: { readonly hot: string; readonly archived: string } | undefined;
  /** False: the schema is from before the hashes. */
  readonly chained: boolean;
  /** Undefined: no transaction has any, so that none need be looked for. */
  readonly transactionDetails: string | undefined;
  /** Undefined: the schema is from before holds. */
  readonly whole: WholeSources | undefined;
  /** The code of the bank's currency. */
  readonly currency: string;
}

/** The tables that are newer than holds. */
export interface WholeSources {
  readonly accounts: string;
  readonly transactions: string;
  readonly holds: string;
  readonly transactionDetails: string;
  readonly accountDetails: string;
  readonly accountEvents: string;
  /** Undefined: the schema is from before submissions. */
  readonly refusedSubmissions: string | undefined;
  /** Undefined: the schema is from before transfers between shards. */
  readonly between: BetweenSources | undefined;
}

/** The tables of transfers between shards. */
export interface BetweenSources {
  readonly transfers: string;
  readonly incomingTransfers: string;
}

const OF_ACCOUNTS: readonly (readonly [column: string, elseItIs: string])[] = [
  ['held', '0::numeric'],
  ['overdraft_limit', '0::numeric'],
  ['status', `'open'`],
  ['created_at', 'NULL::timestamptz'],
  ['posted_at', 'NULL::timestamptz'],
  ['currency', 'NULL::varchar'],
];

const OF_TRANSACTIONS: readonly (readonly [column: string, elseItIs: string])[] = [
  ['held_after', 'NULL::numeric'],
  ...['transfer_id', 'hold_id', 'reverses_id', 'fingerprint'].map((name) => [name, 'NULL::bigint'] as const),
];

export async function sourcesIn(client: Client, schema: string): Promise<Sources> {
  const tables = tablesOf(schema);
  const { accountOpenings, transactions: hot, archivedTransactions: archived } = tables;
  const ofAccounts = await columnsOf(client, tables.accounts);
  const chained = ofAccounts.includes('head_hash');
  const parted = await hasTable(client, archived);
  const openings = (await hasTable(client, accountOpenings)) ? accountOpenings : undefined;
  const accounts = `(SELECT ${[columnList(ofAccounts), ...lacking(OF_ACCOUNTS, ofAccounts)].join(', ')} FROM ${tables.accounts})`;
  const ofTransactions = await columnsOf(client, hot);
  const columns = [columnList(ofTransactions), ...lacking(OF_TRANSACTIONS, ofTransactions)].join(', ');
  const each = (parted ? [hot, archived] : [hot]).map((part) => `SELECT ${columns} FROM ${part}`);
  const transactions = `(${each.join(' UNION ALL ')})`;
  const parts = parted ? { hot, archived } : undefined;
  const currency = await currencyIn(client, tables.shardIdentity);
  const plain = { accounts, transactions, openings, parts, chained, currency };
  if (!ofAccounts.includes('held')) return { ...plain, transactionDetails: undefined, whole: undefined };
  const { holds, transactionDetails, accountDetails, accountEvents, transfers, incomingTransfers } = tables;
  const refusedSubmissions = (await hasTable(client, tables.refusedSubmissions))
    ? tables.refusedSubmissions
    : undefined;
  const between = (await hasTable(client, transfers)) ? { transfers, incomingTransfers } : undefined;
  const { rows } = await client.query<{ some: boolean }>(
    `SELECT EXISTS (SELECT FROM ${transactionDetails}) AS some`,
  );
  return {
    ...plain,
    transactionDetails: rows[0]?.some ? transactionDetails : undefined,
    whole: {
      accounts,
      transactions,
      holds,
      transactionDetails,
      accountDetails,
      accountEvents,
      refusedSubmissions,
      between,
    },
  };
}

/** That of the bank; schemas from before it was recorded are of banks in USD. */
async function currencyIn(client: Client, shardIdentity: string): Promise<string> {
  if (!(await hasTable(client, shardIdentity))) return USD.code;
  const { rows } = await client.query<{ currency: string }>(
    `SELECT coalesce(to_jsonb(i) ->> 'currency', '${USD.code}') AS currency FROM ${shardIdentity} i`,
  );
  return rows[0]?.currency ?? USD.code;
}

function lacking(columns: typeof OF_ACCOUNTS, there: readonly string[]): string[] {
  return columns.filter(([name]) => !there.includes(name)).map(([name, value]) => `${value} AS ${name}`);
}
