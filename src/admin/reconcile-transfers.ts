import { recordActOn } from '../audit/audit-log.js';
import type { ArrivedCredit, OutgoingTransfer } from '../domain/between-shards.js';
import type { Rejection } from '../domain/errors.js';
import { formatMoney } from '../domain/money.js';
import { failureMessage } from '../app/user-message.js';
import { locateShard } from '../sharding/shard-locator.js';
import {
  incomingFromRow,
  outgoingFromRow,
  selectIncoming,
  selectOutgoing,
  type IncomingRow,
  type OutgoingRow,
} from '../storage/rows.js';
import { withSessions, type ShardSession } from './shards.js';
import { unpairedTransfers, type SideRow, type Unpaired } from './verify/pairs.js';
import { withLedger, type BankSession, type LedgerAccess } from './with-ledger.js';

/** Pending transfers that are finished at a time. */
const AT_ONCE = 100;

/** A transfer between shards that is not the same to both, and what an operator should know. */
export interface Discrepancy {
  readonly transferId: number;
  readonly from: number;
  readonly to: number;
  /** As the database writes it. */
  readonly amount: string;
  readonly says: string;
}

export interface Reconciled {
  /** Transfers that were pending, and are completed or have failed now. */
  readonly finished: number;
  /** Transfers that one side had lost, and knows again as the other does. */
  readonly mended: number;
  /** What nobody but an operator can decide. */
  readonly rest: readonly Discrepancy[];
}

/**
 * Makes both sides of transfers between shards the same again, after one shard has gone back in time (a restore, a
 * recovery, a failover that lost commits). Finishes what is pending, and has a target decide again, as the source has
 * it, what it has lost. May be repeated.
 *
 * @throws CommandError
 */
export function reconcileTransfers(session: BankSession): Promise<Reconciled> {
  return withLedger(session, async (ledger) => {
    const places = await Promise.all(session.bank.shards.map(locateShard));
    const addresses = places.map(({ address }) => address);
    return withSessions(addresses, 'bank-reconcile', async (sessions) => {
      let finished = 0;
      for (const source of sessions) finished += await finishPending(source, ledger);
      let mended = 0;
      const rest: Discrepancy[] = [];
      const shards = sessions.map(({ client, address }) => ({ client, schema: address.schema }));
      for await (const pair of unpairedTransfers(shards)) {
        const says = await mend(pair, sessions, ledger, session);
        if (says === undefined) mended += 1;
        else rest.push({ ...aboutPair(pair), says });
      }
      return { finished, mended, rest };
    });
  });
}

/** Each pending transfer once, whatever comes to be pending meanwhile. @throws the first failure */
async function finishPending({ client, tables }: ShardSession, ledger: LedgerAccess): Promise<number> {
  let finished = 0;
  for (let after = 0; ;) {
    const { rows } = await client.query<OutgoingRow>(
      `${selectOutgoing(tables)} WHERE o.status = 'pending' AND o.transfer_id > $1
       ORDER BY o.transfer_id LIMIT ${AT_ONCE}`,
      [after],
    );
    const transfers = rows.map(outgoingFromRow);
    await Promise.all(transfers.map((transfer) => ledger.coordinator.finish(transfer)));
    finished += transfers.length;
    const last = transfers.at(-1);
    if (!last || transfers.length < AT_ONCE) return finished;
    after = last.transferId;
  }
}

/** @returns what is wrong; undefined: it was mended */
async function mend(
  pair: Unpaired,
  sessions: readonly ShardSession[],
  ledger: LedgerAccess,
  { bank }: BankSession,
): Promise<string | undefined> {
  const { sent, arrived, sourceIndex, targetIndex } = pair;
  if (!sent) return 'was credited, and the account that should have paid does not know it';
  const transferId = Number(sent.transfer_id);
  const transfer = (await ledger.records.of(transferId).outgoing([transferId])).get(transferId);
  if (transfer?.nonce !== sent.nonce) return 'has changed meanwhile: run this again';
  const source = sessions[sourceIndex] as ShardSession;
  if (arrived) {
    const credit = await creditOf(pair, sessions[targetIndex] as ShardSession);
    if (!credit || !differInCreditOnly(sent, arrived)) return sideBySide(sent.status, arrived.status);
    await noteCredit(source, transfer, credit);
    return undefined;
  }
  const account = { transfer: `tr${transferId}`, account: transfer.to };
  if (transfer.status === 'failed') {
    await recordActOn(bank.shards, { action: 'transfer.refused_again', details: account });
    await ledger.coordinator.finish(transfer, true);
    return undefined;
  }
  const amount = formatMoney(transfer.amount, transfer.decimals);
  await recordActOn(bank.shards, { action: 'transfer.credited_again', details: { ...account, amount } });
  const credited = await ledger.coordinator.creditAgain(transfer);
  if ('code' in credited)
    return `was lost by its target, which refuses it now: ${reasonOf(credited, transfer)}`;
  await noteCredit(source, transfer, credited);
  return undefined;
}

/** As after a run of this that ended between the two. */
const differInCreditOnly = (sent: SideRow, arrived: SideRow): boolean =>
  [sent, arrived].every(({ status }) => status === 'completed') &&
  sent.from_account_id === arrived.from_account_id &&
  sent.to_account_id === arrived.to_account_id &&
  sent.amount === arrived.amount;

async function creditOf({ arrived }: Unpaired, { client, tables }: ShardSession) {
  const { rows } = await client.query<IncomingRow>(
    `${selectIncoming(tables)} WHERE i.transfer_id = $1 AND nonce = $2`,
    [arrived?.transfer_id, arrived?.nonce],
  );
  return rows[0] && incomingFromRow(rows[0]).credit;
}

const reasonOf = (rejection: Rejection, { to }: OutgoingTransfer) =>
  failureMessage(rejection, `account ${to}`);

function sideBySide(sent: string, arrived: string): string {
  if (sent === arrived) return 'is not of the same accounts, amount or credit on both sides';
  return `is ${sent} for the account that pays, and was ${arrived === 'completed' ? 'credited' : 'refused'} by the other`;
}

/** The source shows the credit of its transfer: it has another id now. */
async function noteCredit(
  { client, tables }: ShardSession,
  { transferId, nonce, decimals }: OutgoingTransfer,
  { transactionId, balanceAfter, versionAfter, timestamp }: ArrivedCredit,
): Promise<void> {
  await client.query(
    `UPDATE ${tables.transfers}
     SET credit_id = $3, credit_balance_after = $4, credit_version_after = $5, credited_at = $6
     WHERE transfer_id = $1 AND nonce = $2 AND status = 'completed'`,
    [transferId, nonce, transactionId, formatMoney(balanceAfter, decimals), versionAfter, timestamp],
  );
}

function aboutPair({ sent, arrived }: Unpaired): Omit<Discrepancy, 'says'> {
  const row = sent ?? arrived;
  if (!row) throw new Error('a transfer is known to neither side');
  const { transfer_id: id, from_account_id: from, to_account_id: to, amount } = row;
  return { transferId: Number(id), from: Number(from), to: Number(to), amount };
}
