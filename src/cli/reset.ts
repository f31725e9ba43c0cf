import { Option, type Command } from 'commander';
import type { ResetReport } from '../admin/reset.js';
import { formatMoney, type Money } from '../domain/money.js';
import { accountOption, balanceOptionOf, DEFAULT_ACCOUNT } from './options.js';
import { withBank } from './session.js';

export function addReset(program: Command): void {
  program
    .command('reset')
    .description('bring the balance of an account to an amount, by posting the difference')
    .addOption(new Option('--account <ID>', 'the account').argParser(accountOption).default(DEFAULT_ACCOUNT))
    .addOption(balanceOptionOf('what the account then holds'))
    .action(({ account, balance }: { account: number; balance: Money }) =>
      withBank('reset', async ({ config, bank, logger }) => {
        const { resetOnRecord } = await import('../admin/reset.js');
        console.log(resetText(await resetOnRecord(config, bank, logger, account, balance)));
      }),
    );
}

/** The report for people. */
export function resetText({ before, after, transaction }: ResetReport): string {
  const name = `Account ${after.accountId}`;
  if (!transaction) return `${name}: already ${formatMoney(after.balance)}, version ${after.version}.`;
  return (
    `${name}: ${formatMoney(before.balance)} → ${formatMoney(after.balance)}, ` +
    `version ${before.version} → ${after.version}, by the ${transaction.type} txn${transaction.transactionId}.`
  );
}
