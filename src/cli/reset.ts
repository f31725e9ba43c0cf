import { Option, type Command } from 'commander';
import type { ResetReport } from '../admin/reset.js';
import { formatMoney, type Decimal, type Money } from '../domain/money.js';
import { accountOption, balanceOptionOf, DEFAULT_ACCOUNT } from './options.js';
import { withBank } from './session.js';

export function addReset(program: Command): void {
  program
    .command('reset')
    .description('bring the balance of an account to an amount, by posting the difference')
    .addOption(new Option('--account <ID>', 'the account').argParser(accountOption).default(DEFAULT_ACCOUNT))
    .addOption(balanceOptionOf('its balance then, holds included'))
    .addHelpText(
      'after',
      '\nHolds, status and overdraft limit stay as they are. It refuses a balance below what is on hold less the limit, ' +
        'and an account that is frozen or closed.',
    )
    .action(({ account, balance }: { account: number; balance: Decimal }) =>
      withBank('reset', async (session) => {
        const { resetAccount } = await import('../admin/reset.js');
        console.log(resetText(await resetAccount(session, account, balance)));
      }),
    );
}

/** The report for people. */
export function resetText({ before, after, transaction }: ResetReport): string {
  const name = `Account ${after.accountId}`;
  const money = (amount: Money) => formatMoney(amount, after.decimals);
  const held = after.held > 0n ? ` ${money(after.held)} of it stay on hold.` : '';
  if (!transaction) return `${name}: already ${money(after.balance)}, version ${after.version}.${held}`;
  return (
    `${name}: ${money(before.balance)} → ${money(after.balance)}, ` +
    `version ${before.version} → ${after.version}, by the ${transaction.type} txn${transaction.transactionId}.${held}`
  );
}
