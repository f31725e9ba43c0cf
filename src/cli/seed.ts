import { Option, type Command } from 'commander';
import type { SeedReport, SeedRequest } from '../admin/seed.js';
import type { Decimal } from '../domain/money.js';
import { accountsOption, balanceOptionOf, ownerOption, wholeNumber } from './options.js';
import { withBank, withProgress } from './session.js';

/** As many as a 32-bit generator tells apart. */
const MAX_STORY = 2 ** 31 - 1;

export function addSeed(program: Command): void {
  program
    .command('seed')
    .description('open many accounts at once, or fill an empty bank with a made-up year')
    .addOption(new Option('--accounts <N>', 'how many accounts to open').argParser(accountsOption))
    .addOption(balanceOptionOf('what each account holds; 0: nothing'))
    .addOption(new Option('--owner <name>', 'whose they are').argParser(ownerOption))
    .addOption(
      new Option(
        '--alive [story]',
        'some people and businesses with a year of history, instead; the same number tells the same story',
      )
        .argParser(wholeNumber(MAX_STORY))
        .preset('1')
        .conflicts(['accounts', 'balance', 'owner']),
    )
    .action(async (given: Partial<SeedOptions> & { alive?: number }, command: Command) => {
      if (given.alive !== undefined) return seedAlive(given.alive);
      if (given.accounts === undefined) command.error('error: say --accounts <N> or --alive');
      await seedAccounts(given as SeedOptions);
    });
}

interface SeedOptions extends Omit<SeedRequest, 'currency'> {
  readonly balance: Decimal;
}

async function seedAccounts(given: SeedOptions): Promise<void> {
  await withBank('seed', async ({ bank, config, signal }) => {
    const request = { ...given, currency: config.currency };
    const { seedOnRecord } = await import('../admin/seed.js');
    const report = await withProgress('accounts', signal, (control) =>
      seedOnRecord(bank.shards, request, control),
    );
    console.log(seedText(report));
    if (report.accounts < request.accounts) signal.throwIfAborted();
  });
}

async function seedAlive(story: number): Promise<void> {
  await withBank('seed', async ({ bank, config, signal }) => {
    const { seedAlive } = await import('../admin/alive/import-story.js');
    const { accounts, transactions, declined } = await withProgress('scenes', signal, (control) =>
      seedAlive(bank.shards, story, config.currency, control),
    );
    console.log(
      `Made ${accounts} accounts with ${transactions} transactions of the last year; ${declined} requests were refused, as in life.`,
    );
  });
}

/** The report for people. */
export function seedText({ accounts, firstId, lastId, balance, durationMs }: SeedReport): string {
  if (accounts === 0) return 'No account was made.';
  const seconds = durationMs / 1000;
  return (
    `Made ${accounts} account(s) with ${balance} each, ids from ${firstId} to ${lastId}, ` +
    `in ${seconds.toFixed(1)} s (${Math.round(accounts / seconds)} accounts/s).`
  );
}
