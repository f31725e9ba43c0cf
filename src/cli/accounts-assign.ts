import { Option, type Command } from 'commander';
import type { AssignReport } from '../admin/assign-accounts.js';
import { accountListOption, ownerOption } from './options.js';
import { withBank } from './session.js';

export function addAccountsAssign(accounts: Command): void {
  accounts
    .command('assign')
    .description('set the owner of accounts, on record; services follow within some seconds')
    .requiredOption('--account <ID...>', 'the accounts', accountListOption)
    .addOption(new Option('--owner <name>', 'whose they are to be').argParser(ownerOption))
    .addOption(new Option('--nobody', "or nobody's").conflicts('owner'))
    .action((options: { account: number[]; owner?: string; nobody?: true }, command: Command) => {
      const { account, owner, nobody } = options;
      if (owner === undefined && !nobody) command.error('error: --owner or --nobody is needed');
      return withBank('accounts assign', async ({ bank, signal }) => {
        const { assignAccounts } = await import('../admin/assign-accounts.js');
        const report = await assignAccounts(bank.shards, { accounts: account, owner }, signal);
        console.log(assignText(report, owner));
      });
    });
}

/** The report for people. */
function assignText({ changed, unchanged }: AssignReport, owner: string | undefined): string {
  const whose = owner === undefined ? "nobody's" : `${owner}'s`;
  const lines = [
    changed.length > 0 && `Now ${whose}: ${changed.join(', ')}. Running services follow within 5 s.`,
    unchanged.length > 0 &&
      `${owner === undefined ? "Nobody's" : `${owner}'s`} already: ${unchanged.join(', ')}.`,
  ];
  return lines.filter(Boolean).join('\n');
}
