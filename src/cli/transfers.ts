import type { Command } from 'commander';
import type { TransferList } from '../admin/pending-transfers.js';
import type { Reconciled } from '../admin/reconcile-transfers.js';
import type { OutgoingTransfer } from '../domain/between-shards.js';
import { formatMoney } from '../domain/money.js';
import { transferArgument } from './options.js';
import { tableText } from './printable.js';
import { withBank, withServers } from './session.js';

export function addTransfersList(transfers: Command): void {
  transfers
    .command('list')
    .description('show the transfers between shards that are under way, the oldest of each shard first')
    .requiredOption('--pending', 'those that are not decided, or whose decision is not carried out')
    .option('--json', 'print the list as JSON')
    .action(({ json }: { json?: true }) =>
      withServers('transfers list', async ({ shards }) => {
        const { listPending } = await import('../admin/pending-transfers.js');
        const list = await listPending(shards);
        if (json) console.log(JSON.stringify(list.transfers.map((each) => jsonOf(each, shards.length))));
        else console.log(textOf(list, shards.length));
        for (const [shard, problem] of list.unread) console.error(`shard ${shard} can't be read: ${problem}`);
        if (list.unread.size > 0) process.exitCode = 1;
      }),
    );
}

export function addTransfersCancel(transfers: Command): void {
  transfers
    .command('cancel')
    .description('refuse a pending transfer in the name of its target, which must answer; on record')
    .argument('<transfer>', 'like tr17', transferArgument)
    .action((transferId: number) =>
      withBank('transfers cancel', async (session) => {
        const { cancelTransfer } = await import('../admin/pending-transfers.js');
        const transfer = await cancelTransfer(session, transferId);
        const { status, accountId, to } = transfer;
        const amount = amountOf(transfer);
        if (status === 'failed')
          return console.log(`tr${transferId} is cancelled: account ${accountId} keeps its ${amount}.`);
        console.log(`Too late: tr${transferId} is completed. Account ${to} had got its ${amount} before.`);
        process.exitCode = 1;
      }),
    );
}

export function addTransfersReconcile(transfers: Command): void {
  transfers
    .command('reconcile')
    .description(
      'after one shard has gone back in time: finish what is pending, mend what a target has lost, and name the rest; ' +
        'on record',
    )
    .option('--json', 'print the result as JSON')
    .action(({ json }: { json?: true }) =>
      withBank('transfers reconcile', async (session) => {
        const { reconcileTransfers } = await import('../admin/reconcile-transfers.js');
        const result = await reconcileTransfers(session);
        console.log(json ? JSON.stringify(result) : reconciledText(result));
        if (result.rest.length > 0) process.exitCode = 1;
      }),
    );
}

function reconciledText({ finished, mended, rest }: Reconciled): string {
  const lines = rest.map(
    ({ transferId, amount, from, to, says }) =>
      `tr${transferId}: ${amount} from account ${from} to account ${to} ${says}.`,
  );
  const done = `${finished} pending transfer(s) finished, ${mended} mended that one side had lost.`;
  return [done, ...(rest.length === 0 ? ['Both sides of every transfer are the same.'] : lines)].join('\n');
}

const amountOf = ({ amount, decimals, currency }: OutgoingTransfer): string =>
  formatMoney(amount, decimals) + (currency === undefined ? '' : ` ${currency}`);

const targetOf = ({ to }: OutgoingTransfer, shardCount: number): number => (to - 1) % shardCount;

function textOf({ transfers, unread, more }: TransferList, shardCount: number): string {
  if (transfers.length === 0)
    return unread.size > 0 ? 'None where it can be told.' : 'No transfer is pending.';
  const head = ['transfer', 'since', 'from', 'to', 'in', 'amount', 'hold'];
  const rows = transfers.map((transfer) => [
    `tr${transfer.transferId}`,
    transfer.createdAt.toISOString(),
    `account ${transfer.accountId}`,
    `account ${transfer.to}`,
    `shard ${targetOf(transfer, shardCount)}`,
    amountOf(transfer),
    `hold${transfer.holdId}`,
  ]);
  return tableText([head, ...rows]) + (more ? '\nThere are more.' : '');
}

function jsonOf(transfer: OutgoingTransfer, shardCount: number): object {
  const { transferId, accountId, to, createdAt, holdId, currency } = transfer;
  return {
    transferId: `tr${transferId}`,
    since: createdAt.toISOString(),
    ...{ from: accountId, to, targetShard: targetOf(transfer, shardCount) },
    ...{ amount: formatMoney(transfer.amount, transfer.decimals), currency, holdId: `hold${holdId}` },
  };
}
