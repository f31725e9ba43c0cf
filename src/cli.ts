import 'reflect-metadata';
import { Command, CommanderError, Option } from 'commander';
import { pino, type Logger } from 'pino';
import pinoPretty from 'pino-pretty';
import { openBank, type Bank } from './bank.js';
import { explain, InterruptedError } from './cli/errors.js';
import { collectMigrations, migrateText } from './cli/migrate.js';
import {
  accountOption,
  accountsOption,
  balanceOption,
  DEFAULT_ACCOUNT,
  DEFAULT_BALANCE,
} from './cli/options.js';
import { createProgress, type Progress } from './cli/progress.js';
import { resetAccount, resetText } from './cli/reset.js';
import { seedBank, seedText } from './cli/seed.js';
import { verifyText } from './cli/verify-text.js';
import { verifyBank } from './cli/verify.js';
import { loadConfig, type Config } from './config.js';
import type { Money } from './domain/money.js';

const OK = 0;
const FAILED = 1;
const WRONG_USAGE = 2;
/** What a shell reports for a process that a signal ended: 128 and the signal's number. */
const INTERRUPTED = { SIGINT: 130, SIGTERM: 143 } as const;

interface Session {
  readonly config: Config;
  readonly logger: Logger;
  readonly bank: Bank;
  /** Aborted by SIGINT and SIGTERM, with an InterruptedError. */
  readonly signal: AbortSignal;
}

function createProgram(): Command {
  const program = new Command('npm run cli --')
    .description(
      'Works on the bank of DATABASE_URL or, without it, of the data folder, whether the service runs or not.',
    )
    .addHelpText(
      'after',
      '\nExit codes: 0 done; 1 it failed, or the books are not whole; 2 wrong usage; 130 stopped.',
    )
    .showHelpAfterError('Add --help for the options.')
    .exitOverride();
  program
    .command('migrate')
    .description("bring the database's schema up to date (the other commands do it too)")
    .action(migrateCommand);
  program
    .command('seed')
    .description('open many accounts at once')
    .requiredOption('--accounts <N>', 'how many accounts to open', accountsOption)
    .addOption(balanceOptionOf('what each account holds; 0: nothing'))
    .action(seedCommand);
  program
    .command('reset')
    .description('bring the balance of an account to an amount, by posting the difference')
    .addOption(new Option('--account <ID>', 'the account').argParser(accountOption).default(DEFAULT_ACCOUNT))
    .addOption(balanceOptionOf('what the account then holds'))
    .action(resetCommand);
  program
    .command('verify')
    .description('check that the books are whole: every balance against its transactions; changes nothing')
    .option('--json', 'print the report as JSON')
    .action(verifyCommand);
  return program;
}

function balanceOptionOf(description: string): Option {
  return new Option('--balance <amount>', description)
    .argParser(balanceOption)
    .default(balanceOption(DEFAULT_BALANCE), DEFAULT_BALANCE);
}

async function migrateCommand(): Promise<void> {
  const applied: string[] = [];
  await withBank('migrate', applied, () => Promise.resolve());
  console.log(migrateText(applied));
}

async function seedCommand(request: { accounts: number; balance: Money }): Promise<void> {
  await withBank('seed', [], async ({ bank, signal }) => {
    const report = await withProgress('accounts', (onProgress) =>
      seedBank(bank.shards, request, { onProgress, signal }),
    );
    console.log(seedText(report, request.balance));
    if (report.accounts < request.accounts) signal.throwIfAborted();
  });
}

async function resetCommand({ account, balance }: { account: number; balance: Money }): Promise<void> {
  await withBank('reset', [], async ({ config, bank, logger }) => {
    console.log(resetText(await resetAccount(config, bank.shards, logger, account, balance)));
  });
}

async function verifyCommand({ json }: { json?: boolean }): Promise<void> {
  await withBank('verify', [], async ({ bank, signal }) => {
    const startedMs = performance.now();
    const report = await withProgress('accounts', (onProgress) =>
      verifyBank(bank.shards, { onProgress, signal }),
    );
    console.log(json ? JSON.stringify(report) : verifyText(report, performance.now() - startedMs));
    if (!report.ok) process.exitCode = FAILED;
  });
}

/** @param migrations takes the names of the migrations that were applied */
async function withBank(
  command: string,
  migrations: string[],
  work: (session: Session) => Promise<void>,
): Promise<void> {
  const config = loadConfig();
  const logger = createLogger(config);
  const bank = await openBank(config, collectMigrations(logger, migrations), {
    holder: `cli ${command}`,
    shareRunning: true,
  });
  try {
    await work({ config, logger, bank, signal: onInterrupt() });
  } finally {
    await bank.close();
  }
}

async function withProgress<T>(label: string, work: (update: Progress['update']) => Promise<T>): Promise<T> {
  const progress = createProgress(label);
  try {
    return await work((done, total) => progress.update(done, total));
  } finally {
    progress.stop();
  }
}

/** The first signal asks the work to stop where it leaves things in order; the second one ends the process. */
function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => controller.abort(new InterruptedError(signal)));
  }
  return controller.signal;
}

/** To stderr: stdout is for results. What the service tells of its ordinary course does not interest here. */
function createLogger(config: Config): Logger {
  const options = { level: process.env.LOG_LEVEL ? config.log.level : 'warn', base: undefined };
  if (process.env.LOG_FORMAT === 'json') return pino(options, pino.destination({ dest: 2, sync: true }));
  return pino(options, pinoPretty({ destination: 2, sync: true, translateTime: 'SYS:HH:MM:ss.l' }));
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === OK ? OK : WRONG_USAGE;
  return error instanceof InterruptedError ? INTERRUPTED[error.signal] : FAILED;
}

try {
  await createProgram().parseAsync();
} catch (error) {
  // Commander has said already what is wrong with the command line.
  if (!(error instanceof CommanderError)) console.error(`error: ${explain(error)}`);
  process.exitCode = exitCodeOf(error);
}
