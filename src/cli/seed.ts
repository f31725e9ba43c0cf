import { Option, type Command } from 'commander';
import type { SeedReport, SeedRequest } from '../admin/seed.js';
import { formatMoney, type Money } from '../domain/money.js';
import { accountsOption, balanceOptionOf, ownerOption } from './options.js';
import { withBank, withProgress } from './session.js';

export function addSeed(program: Command): void {
  program
    .command('seed')
    .description('open many accounts at once')
    .requiredOption('--accounts <N>', 'how many accounts to open', accountsOption)
    .addOption(balanceOptionOf('what each account holds; 0: nothing'))
    .addOption(new Option('--owner <name>', 'whose they are').argParser(ownerOption))
    .action((request: SeedRequest) =>
      withBank('seed', async ({ bank, signal }) => {
        const { seedOnRecord } = await import('../admin/seed.js');
        const report = await withProgress('accounts', signal, (control) =>
          seedOnRecord(bank.shards, request, control),
        );
        console.log(seedText(report, request.balance));
        if (report.accounts < request.accounts) signal.throwIfAborted();
      }),
    );
}

/** The report for people. */
export function seedText({ accounts, firstId, lastId, durationMs }: SeedReport, balance: Money): string {
  if (accounts === 0) return 'No account was made.';
  const seconds = durationMs / 1000;
  return (
    `Made ${accounts} account(s) with ${formatMoney(balance)} each, ids from ${firstId} to ${lastId}, ` +
    `in ${seconds.toFixed(1)} s (${Math.round(accounts / seconds)} accounts/s).`
  );
}
