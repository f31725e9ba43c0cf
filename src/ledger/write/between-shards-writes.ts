import type { IncomingTransfer, OutgoingTransfer } from '../../domain/between-shards.js';
import { formatMoney } from '../../domain/money.js';
import { plainArray, textArray } from '../../storage/array-literal.js';
import { OUTGOING_COLUMNS } from '../../storage/rows.js';
import type { SchemaTables } from '../../storage/tables.js';
import { onItsNode, type Statement } from './statement.js';

interface StepsOfBatch {
  /** New or settled. */
  readonly outgoing: readonly OutgoingTransfer[];
  readonly incoming: readonly IncomingTransfer[];
  /** The ids of `incoming`; there may be more ids. */
  readonly incomingIds: readonly number[];
}

/** Writes the steps of transfers between shards. First the source's table, then the target's: a backup locks them so. */
export function writeTransfers(
  tables: SchemaTables,
  { outgoing, incoming, incomingIds }: StepsOfBatch,
): Statement[] {
  const begun = outgoing.filter(({ status }) => status === 'pending');
  const settled = outgoing.filter(({ status }) => status !== 'pending');
  return [
    ...(begun.length > 0 ? [insertOutgoing(tables, begun)] : []),
    ...(settled.length > 0 ? [settleOutgoing(tables, settled)] : []),
    ...(incoming.length > 0 ? [insertIncoming(tables, incoming, incomingIds)] : []),
  ];
}

const valueOrNull = (value: number | string | undefined) => value ?? 'NULL';

/** Step 1. */
function insertOutgoing(tables: SchemaTables, transfers: readonly OutgoingTransfer[]): Statement {
  const columns = OUTGOING_COLUMNS.slice(0, OUTGOING_COLUMNS.indexOf(', credit_id'));
  return [
    `INSERT INTO ${tables.transfers} (${columns})
     SELECT ${columns.replace('created_at', 'created_at::timestamptz')}
     FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::numeric[], $7::bigint[],
                 $8::boolean[], $9::bigint[], $10::bigint[], $11::bigint[], $12::numeric[], $13::text[], $14::bigint[],
                 $15::text[], $16::text[]) AS p (${columns})
     ${onItsNode(tables)}`,
    [
      plainArray(transfers.map(({ transferId }) => transferId)),
      plainArray(transfers.map(({ nonce }) => nonce)),
      plainArray(transfers.map(({ accountId }) => accountId)),
      plainArray(transfers.map(({ to }) => to)),
      plainArray(transfers.map(({ toVersion }) => valueOrNull(toVersion))),
      plainArray(transfers.map(({ amount, decimals }) => formatMoney(amount, decimals))),
      plainArray(transfers.map(({ holdId }) => holdId)),
      plainArray(transfers.map(({ final }) => String(final))),
      plainArray(transfers.map(({ reverses }) => valueOrNull(reverses?.transferId))),
      plainArray(transfers.map(({ reverses }) => valueOrNull(reverses?.creditId))),
      plainArray(transfers.map(({ reverses }) => valueOrNull(reverses?.debitId))),
      plainArray(
        transfers.map(({ raised, decimals }) =>
          valueOrNull(raised === undefined ? undefined : formatMoney(raised, decimals)),
        ),
      ),
      textArray(transfers.map(({ key }) => key?.idempotencyKey)),
      plainArray(transfers.map(({ key }) => valueOrNull(key?.fingerprint))),
      textArray(transfers.map(({ createdAt }) => createdAt.toISOString())),
      plainArray(transfers.map(({ status }) => status)),
    ],
  ];
}

/** Step 3. Only a transfer that is pending is settled: the lock of its account should guarantee it, this proves it. */
function settleOutgoing(tables: SchemaTables, transfers: readonly OutgoingTransfer[]): Statement {
  const columns =
    'transfer_id, status, rejection, credit_id, credit_balance_after, credit_version_after, credited_at';
  return [
    `WITH settled AS (
       UPDATE ${tables.transfers} AS o
       SET status = c.status, rejection = c.rejection, credit_id = c.credit_id,
           credit_balance_after = c.credit_balance_after, credit_version_after = c.credit_version_after,
           credited_at = c.credited_at::timestamptz
       FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::numeric[], $6::bigint[], $7::text[])
         AS c (${columns})
       WHERE o.transfer_id = c.transfer_id AND o.status = 'pending'
       RETURNING 1)
     SELECT CASE WHEN count(*) <> $8::bigint
                 THEN ('settled ' || count(*) || ' of ' || $8::bigint || ' transfers')::bigint END FROM settled`,
    [
      plainArray(transfers.map(({ transferId }) => transferId)),
      plainArray(transfers.map(({ status }) => status)),
      textArray(transfers.map(({ rejection }) => rejection && JSON.stringify(rejection))),
      plainArray(transfers.map(({ credit }) => valueOrNull(credit?.transactionId))),
      plainArray(
        transfers.map(({ credit, decimals }) =>
          valueOrNull(credit && formatMoney(credit.balanceAfter, decimals)),
        ),
      ),
      plainArray(transfers.map(({ credit }) => valueOrNull(credit?.versionAfter))),
      textArray(transfers.map(({ credit }) => credit?.timestamp.toISOString())),
      transfers.length,
    ],
  ];
}

/** Step 2. A transfer that is decided already violates a constraint. */
function insertIncoming(
  tables: SchemaTables,
  transfers: readonly IncomingTransfer[],
  ids: readonly number[],
): Statement {
  const columns =
    'incoming_id, transfer_id, nonce, account_id, from_account_id, amount, decided_at, credit_id, rejection';
  return [
    `INSERT INTO ${tables.incomingTransfers} (${columns})
     SELECT ${columns.replace('decided_at', 'decided_at::timestamptz')}
     FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::bigint[], $5::bigint[], $6::numeric[], $7::text[],
                 $8::bigint[], $9::text[]) AS p (${columns})
     ${onItsNode(tables)}`,
    [
      plainArray(transfers.map((_, index) => valueOrNull(ids[index]))),
      plainArray(transfers.map(({ transferId }) => transferId)),
      plainArray(transfers.map(({ nonce }) => nonce)),
      plainArray(transfers.map(({ accountId }) => accountId)),
      plainArray(transfers.map(({ from }) => from)),
      plainArray(transfers.map(({ amount, decimals }) => formatMoney(amount, decimals))),
      textArray(transfers.map(({ decidedAt }) => decidedAt.toISOString())),
      plainArray(transfers.map(({ credit }) => valueOrNull(credit?.transactionId))),
      textArray(transfers.map(({ rejection }) => rejection && JSON.stringify(rejection))),
    ],
  ];
}
