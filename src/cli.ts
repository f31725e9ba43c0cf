import { Command, CommanderError, Option } from 'commander';
import { SCOPES } from './access/principal.js';
import {
  accountListOption,
  accountOption,
  accountsOption,
  ageOption,
  balanceOption,
  countOption,
  durationOption,
  expiryOption,
  keyArgument,
  keyNameOption,
  scopesOption,
  DEFAULT_ACCOUNT,
  DEFAULT_BALANCE,
  DEFAULT_MAX_PAUSE_MS,
  DEFAULT_OVERLAP,
  DEFAULT_SKIP_IDS,
  millisecondsOption,
  ownerOption,
  pastOption,
  queueOption,
  serviceOption,
  sha256Option,
  shardArgument,
  skipIdsOption,
} from './cli/options.js';

const WRONG_USAGE = 2;

/** Loaded when a command runs: to help, or to refuse a command line, takes none of it. */
const commands = () => import('./cli/commands.js');

function createProgram(): Command {
  const program = new Command('npm run cli --')
    .description(
      'Works on the bank of DATABASE_URL or, without it, of the data folder, whether the service runs or not.',
    )
    .addHelpText(
      'after',
      '\nExit codes: 0 done; 1 it failed, or the books are not whole; 2 wrong usage; 130 stopped by Ctrl-C.',
    )
    .showHelpAfterError('Add --help for the options.')
    .exitOverride();
  program
    .command('migrate')
    .description("bring the database's schema up to date (the other commands do it too)")
    .action(async () => (await commands()).migrate());
  program
    .command('seed')
    .description('open many accounts at once')
    .requiredOption('--accounts <N>', 'how many accounts to open', accountsOption)
    .addOption(balanceOptionOf('what each account holds; 0: nothing'))
    .addOption(new Option('--owner <name>', 'whose they are').argParser(ownerOption))
    .action(async (options: Parameters<Commands['seed']>[0]) => (await commands()).seed(options));
  program
    .command('reset')
    .description('bring the balance of an account to an amount, by posting the difference')
    .addOption(new Option('--account <ID>', 'the account').argParser(accountOption).default(DEFAULT_ACCOUNT))
    .addOption(balanceOptionOf('what the account then holds'))
    .action(async (options: Parameters<Commands['reset']>[0]) => (await commands()).reset(options));
  program
    .command('verify')
    .description('check that the books are whole: every balance against its transactions; posts nothing')
    .option('--json', 'print the report as JSON')
    .action(async (options: Parameters<Commands['verify']>[0]) => (await commands()).verify(options));
  addAccountsCommand(program);
  addKeyCommands(program);
  addAuditCommands(program);
  addArchiveCommand(program);
  addBackupCommands(program);
  addShardCommands(program);
  addEventCommands(program);
  return program;
}

function addAccountsCommand(program: Command): void {
  program
    .command('accounts')
    .description('whose accounts are whose')
    .command('assign')
    .description('set the owner of accounts, on record; services follow within some seconds')
    .requiredOption('--account <ID...>', 'the accounts', accountListOption)
    .addOption(new Option('--owner <name>', 'whose they are to be').argParser(ownerOption))
    .addOption(new Option('--nobody', "or nobody's").conflicts('owner'))
    .action(async (options: { account: number[]; owner?: string; nobody?: true }, command: Command) => {
      const { account: accounts, owner, nobody } = options;
      if (owner === undefined && !nobody) command.error('error: --owner or --nobody is needed');
      await (await commands()).assign({ accounts, owner });
    });
}

function addKeyCommands(program: Command): void {
  const keys = program.command('keys').description('credentials for services: API keys');
  keys
    .command('create')
    .description('make a key, and show it this once')
    .requiredOption('--name <name>', 'what it is for', keyNameOption)
    .requiredOption('--scopes <list>', `what it allows: ${SCOPES.join(', ')}`, scopesOption)
    .option('--owner <owner>', 'whose accounts it sees and uses (default: all)', ownerOption)
    .addOption(expiryOptionOf('when it ends: a time, or an age like 90d (default: never)'))
    .option('--json', 'print the key as JSON')
    .addHelpText(
      'after',
      '\ntransactions:write means deposits:write and withdrawals:write, but with an owner withdrawals:write only. ' +
        'docs/security.md says who should hold what.',
    )
    .action(async (options: Parameters<Commands['createApiKey']>[0]) =>
      (await commands()).createApiKey(options),
    );
  keys
    .command('list')
    .description('show all keys, what they allow and when they were last used; not the keys themselves')
    .option('--json', 'print the list as JSON')
    .action(async (options: Parameters<Commands['listApiKeys']>[0]) =>
      (await commands()).listApiKeys(options),
    );
  keys
    .command('revoke')
    .description('let nobody in by a key any more')
    .argument('<key>', 'its number, as `keys list` shows it', keyArgument)
    .action(async (key: number) => (await commands()).revokeApiKey(key));
  keys
    .command('rotate')
    .description('make a key in the place of another, which ends a little later')
    .argument('<key>', 'the number of the old one', keyArgument)
    .addOption(
      new Option('--overlap <age>', 'how long the old one stays good')
        .argParser(durationOption)
        .default(durationOption(DEFAULT_OVERLAP), DEFAULT_OVERLAP),
    )
    .addOption(
      expiryOptionOf(
        'when the new one ends: a time, or an age like 90d (default: as the old one would have)',
      ),
    )
    .option('--json', 'print the key as JSON')
    .action(async (key: number, { overlap, expires, json }: RotateOptions) =>
      (await commands()).rotateApiKey(key, { overlapMs: overlap, expires, json }),
    );
}

interface RotateOptions {
  readonly overlap: number;
  readonly expires?: Date;
  readonly json?: boolean;
}

function expiryOptionOf(description: string): Option {
  return new Option('--expires <when>', description).argParser(expiryOption);
}

function addAuditCommands(program: Command): void {
  const audit = program.command('audit').description('what shows that nobody edited the history');
  audit
    .command('list')
    .description('show what was done to the bank from the command line, and check that the list is whole')
    .option('--json', 'print the list as JSON')
    .action(async (options: Parameters<Commands['listEvents']>[0]) => (await commands()).listEvents(options));
  audit
    .command('export')
    .description("write the head of every account's chain of hashes into a file, to keep elsewhere")
    .requiredOption('--to <FILE>', 'a new file')
    .action(async (options: Parameters<Commands['exportAuditHeads']>[0]) =>
      (await commands()).exportAuditHeads(options),
    );
  audit
    .command('check')
    .description('compare an earlier export with the bank: its heads must still be part of the history')
    .requiredOption('--from <FILE>', 'the file of an earlier export')
    .action(async (options: Parameters<Commands['checkAuditHeads']>[0]) =>
      (await commands()).checkAuditHeads(options),
    );
}

function addArchiveCommand(program: Command): void {
  program
    .command('archive')
    .description('move old transactions out of the table that is written to, while the bank is open')
    .addOption(new Option('--before <time>', 'those from before a time').argParser(pastOption))
    .addOption(
      new Option('--older-than <age>', 'or those of an age, like 90d or 36h')
        .argParser(ageOption)
        .conflicts('before'),
    )
    .action(async ({ before, olderThan }: { before?: Date; olderThan?: Date }, command: Command) => {
      const time = before ?? olderThan ?? command.error('error: --before or --older-than is needed');
      await (await commands()).archive(time);
    });
}

function addBackupCommands(program: Command): void {
  program
    .command('backup')
    .description('write all that the bank holds into a folder, while the service goes on')
    .requiredOption('--to <DIR>', 'a new folder')
    .action(async (options: Parameters<Commands['backup']>[0]) => (await commands()).backup(options));
  program
    .command('restore')
    .description('fill an empty bank from a backup; stop its services first')
    .requiredOption('--from <DIR>', 'the folder of the backup')
    .addOption(
      new Option('--sha256 <HEX>', 'the SHA-256 of its manifest, which `backup` printed').argParser(
        sha256Option,
      ),
    )
    .addOption(
      new Option('--skip-ids <N>', 'ids of each shard that may have been handed out after the backup')
        .argParser(skipIdsOption)
        .default(DEFAULT_SKIP_IDS),
    )
    .action(async (options: Parameters<Commands['restore']>[0]) => (await commands()).restore(options));
}

function addShardCommands(program: Command): void {
  const shards = program.command('shards').description("the bank's shards: where they are, and moving them");
  shards
    .command('list')
    .description('show each shard: its server, schema, accounts, size and queue')
    .addOption(
      new Option(
        '--service <URL>',
        'the running service whose queues are shown (default: of the settings)',
      ).argParser(serviceOption),
    )
    .option('--key-file <FILE>', 'a file with an API key with the scope admin, if the service needs one')
    .option('--json', 'print the list as JSON')
    .action(async (options: Parameters<Commands['listShards']>[0]) => (await commands()).listShards(options));
  shards
    .command('move')
    .description('move a shard to another PostgreSQL server while the bank is open')
    .argument('<shard>', 'its number, from 0', shardArgument)
    .requiredOption('--to <URL>', 'the new server, like postgresql://host:5432/database')
    .addOption(
      new Option('--max-pause <ms>', 'how long users of the shard may have to wait for the switch, at most')
        .argParser(millisecondsOption)
        .default(DEFAULT_MAX_PAUSE_MS),
    )
    .action(async (shard: number, { to, maxPause }: { to: string; maxPause: number }) =>
      (await commands()).moveShard(shard, { to, maxPauseMs: maxPause }),
    );
}

function addEventCommands(program: Command): void {
  program
    .command('events')
    .description('what the bank publishes to RabbitMQ')
    .command('tail')
    .description('print events as they are published, each once; needs RABBITMQ_URL, and no database')
    .option('--account <ID...>', 'only those of these accounts', accountListOption)
    .option(
      '--queue <name>',
      'a durable queue that goes on where it was left, made when it is missing',
      queueOption,
    )
    .option(
      '--from-opening',
      "wait for each new account's very first event: for a queue that is older than the bank's first event",
    )
    .option('--count <N>', 'end after so many events', countOption)
    .option('--json', 'print the events themselves, one JSON text a line')
    .action(async (options: Parameters<Commands['tailEvents']>[0]) => (await commands()).tailEvents(options));
}

type Commands = Awaited<ReturnType<typeof commands>>;

function balanceOptionOf(description: string): Option {
  return new Option('--balance <amount>', description)
    .argParser(balanceOption)
    .default(balanceOption(DEFAULT_BALANCE), DEFAULT_BALANCE);
}

/** The one place where a failure becomes a message and an exit code. */
async function fail(error: unknown): Promise<void> {
  if (error instanceof CommanderError) {
    // Commander has said already what is wrong; help that was asked for is no failure.
    process.exitCode = error.exitCode === 0 ? 0 : WRONG_USAGE;
    return;
  }
  const { exitCodeOf, userMessage } = await import('./app/user-message.js');
  console.error(`error: ${userMessage(error)}`);
  process.exitCode = exitCodeOf(error);
}

await createProgram().parseAsync().catch(fail);
