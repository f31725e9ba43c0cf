import type { Command } from 'commander';
import type { PostingOptions } from '../admin/act-on-ledger.js';
import { availableOf, type AccountStatus, type LedgerAccount } from '../domain/account.js';
import type { OutgoingTransfer } from '../domain/between-shards.js';
import type { Effects } from '../domain/books.js';
import { formatMoney, type Money } from '../domain/money.js';
import type { Transaction } from '../domain/transaction.js';
import { idempotencyKeyOption, lineOption } from './options.js';

/** What the options of {@link postingOptions} say. */
export interface PostingFlags extends PostingOptions {
  readonly json?: true;
}

/** The options that all commands that post have in common. */
export function postingOptions(command: Command): Command {
  return command
    .option('--key <key>', 'an idempotency key: a repeat with it posts nothing', idempotencyKeyOption)
    .option('--description <text>', 'what it is for', lineOption(500))
    .option('--reference <text>', 'your own name for it', lineOption(255))
    .option('--dry-run', 'only say what would happen; posts nothing')
    .option('--json', 'print what was posted as JSON');
}

/** Prints what was done. @param head makes the first line; a dry run has no ids to name */
export function printEffects(
  effects: Effects,
  { json, dryRun }: PostingFlags,
  head: (named: (name: string) => string) => string,
): void {
  if (json) return console.log(JSON.stringify(effectsJson(effects, dryRun)));
  const pending = effects.outgoing.find(({ status }) => status === 'pending');
  if (pending) return console.log(pendingText(pending));
  if (dryRun) console.log('A dry run: nothing was posted.');
  console.log([head((name) => (dryRun ? '' : name)), ...effects.accounts.map(accountText)].join('\n'));
}

/** The service finishes it; nothing here waits for that. */
const pendingText = ({ transferId, accountId, to, amount, decimals }: OutgoingTransfer): string =>
  `Transfer tr${transferId} is pending: ${formatMoney(amount, decimals)} of account ${accountId} are on hold until the ` +
  `shard of account ${to} has decided. The service goes on with it; see \`transfers list --pending\`.`;

/** The amount of a transaction or a hold. */
export const amountText = (of: Pick<Transaction, 'amount' | 'decimals'> | undefined): string =>
  of ? formatMoney(of.amount, of.decimals) : '';

const STATUS_WORDS: Readonly<Record<AccountStatus, string>> = {
  open: '',
  debits_blocked: ', debits blocked',
  frozen: ', frozen',
  closed: ', closed',
};

/** An account in a line, with what differs from the plain case. */
export function accountText(account: LedgerAccount): string {
  const { accountId, balance, held, version, status } = account;
  const money = (amount: Money) => formatMoney(amount, account.decimals);
  const available = availableOf(account);
  return (
    `Account ${accountId}: balance ${money(balance)}` +
    (held > 0n ? `, on hold ${money(held)}` : '') +
    (available === balance ? '' : `, available ${money(available)}`) +
    `, version ${version}${STATUS_WORDS[status]}.`
  );
}

function effectsJson({ transactions, accounts, outgoing }: Effects, dryRun = false): object {
  const [transfer] = outgoing;
  return {
    ...(dryRun && { dryRun }),
    // Of one between shards.
    ...(transfer && !dryRun && { transferId: `tr${transfer.transferId}`, status: transfer.status }),
    transactions: transactions.map((transaction) => ({
      ...(!dryRun && idsOf(transaction)),
      accountId: transaction.accountId,
      type: transaction.type,
      amount: formatMoney(transaction.amount, transaction.decimals),
      balanceAfter: formatMoney(transaction.balanceAfter, transaction.decimals),
      // Of an account of another shard only the balance is known.
      ...(transaction.accountId !== transfer?.to && {
        heldAfter: formatMoney(transaction.heldAfter, transaction.decimals),
      }),
      versionAfter: transaction.versionAfter,
    })),
    accounts: accounts.map((account) => ({
      accountId: account.accountId,
      balance: formatMoney(account.balance, account.decimals),
      held: formatMoney(account.held, account.decimals),
      available: formatMoney(availableOf(account), account.decimals),
      overdraftLimit: formatMoney(account.overdraftLimit, account.decimals),
      status: account.status,
      version: account.version,
    })),
  };
}

function idsOf({ transactionId, transferId, holdId, reversesId, timestamp }: Transaction): object {
  return {
    transactionId: `txn${transactionId}`,
    ...(transferId !== undefined && { transferId: `tr${transferId}` }),
    ...(holdId !== undefined && { holdId: `hold${holdId}` }),
    ...(reversesId !== undefined && { reverses: `txn${reversesId}` }),
    timestamp: timestamp.toISOString(),
  };
}
