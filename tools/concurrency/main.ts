import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { accountOption, DEFAULT_ACCOUNT, serviceOption, wholeNumber } from '../../src/cli/options.js';
import { tableText } from '../../src/cli/printable.js';
import { isThisMachine } from '../../src/config/values.js';
import { formatMoney, parseMoney, type Money } from '../../src/domain/money.js';
import { UserError } from '../../src/domain/user-error.js';
import { Account } from './account.js';
import { problemsOf, versionsOfOthers, type Books } from './books.js';
import { withdrawTogether, type Withdrawal } from './withdrawals.js';

/**
 * The specification's test_concurrency, against any running service: simultaneous withdrawals, a table of the answers,
 * and a check of the books by what the API says. It knows the service as any client does: over HTTP.
 */

interface Options {
  readonly url: string;
  readonly account: number;
  readonly requests: number;
  readonly amount?: Money;
}

const DEFAULT_URL = 'http://127.0.0.1:3000';
const DEFAULT_REQUESTS = 10;
/** Each has a connection of its own. */
const MAX_REQUESTS = 500;
const CREDENTIAL = 'BANK_API_KEY';
const WRONG_USAGE = 2;

const program = new Command('npm run -s concurrency --')
  .description(
    'Withdraws from one account many times at the same moment, shows the answers, and checks by what the API says ' +
      'that exactly the accepted withdrawals were deducted. It moves real money.',
  )
  .addOption(new Option('--url <URL>', 'the service').argParser(serviceOption).default(DEFAULT_URL))
  .addOption(new Option('--account <ID>', 'the account').argParser(accountOption).default(DEFAULT_ACCOUNT))
  .addOption(
    new Option('--requests <N>', 'the number of withdrawals')
      .argParser(wholeNumber(MAX_REQUESTS))
      .default(DEFAULT_REQUESTS),
  )
  .addOption(
    new Option(
      '--amount <AMOUNT>',
      'of each withdrawal (default: together half as much again as the balance, so that some must be refused)',
    ).argParser(amountOption),
  )
  .addHelpText(
    'after',
    `\nThe variable ${CREDENTIAL} holds an API key or an access token, if the service needs one.` +
      '\nExit codes: 0 the books are right; 1 they are wrong, can not be checked, or no withdrawal was accepted; 2 wrong usage.',
  )
  .showHelpAfterError('Add --help for the options.')
  .exitOverride()
  .action(run);

/** @throws InvalidArgumentError */
function amountOption(text: string): Money {
  const amount = parseMoney(text, 2);
  if (amount !== undefined && amount > 0n) return amount;
  throw new InvalidArgumentError(
    'It must be an amount greater than zero, with at most two decimals, such as 150.00.',
  );
}

async function run({ url, account: accountId, requests, amount: wanted }: Options): Promise<void> {
  const account = new Account({ url, credential: credentialFor(url) }, accountId);
  const before = await account.balance();
  console.log(
    `Account ${accountId} at ${url}: balance ${formatMoney(before.balance, 2)}, version ${before.version}.`,
  );
  const amount = wanted ?? amountThatDoesNotFit(before.balance, requests);
  console.log(`${requests} simultaneous withdrawals of ${formatMoney(amount, 2)}:\n`);
  const withdrawals = await withdrawTogether(account, requests, amount);
  console.log(`${answersText(withdrawals)}\n`);
  const after = await account.balance();
  console.log(`Balance ${formatMoney(after.balance, 2)}, version ${after.version}.`);
  const books = {
    before,
    after,
    listed: await account.transactions(before.version, after.version),
    keys: await account.keys(before.version),
  };
  const problems = problemsOf(books, withdrawals, amount);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0 || acceptedOf(withdrawals) === 0) process.exitCode = 1;
  console.log(problems.length > 0 ? 'The books are wrong.' : verdictText(books, withdrawals));
}

/** @throws CommanderError */
function credentialFor(url: string): string | undefined {
  const credential = process.env[CREDENTIAL]?.trim();
  if (credential === undefined || credential === '') return undefined;
  const { protocol, hostname } = new URL(url);
  const problem =
    protocol !== 'https:' && !isThisMachine(hostname.replace(/^\[|\]$/g, ''))
      ? 'is sent only over TLS or to this machine'
      : !/^[\x21-\x7e]{1,8192}$/.test(credential)
        ? 'must hold one API key or access token'
        : undefined;
  return problem === undefined ? credential : program.error(`error: ${CREDENTIAL} ${problem}`);
}

/** All of them together ask for half as much again as there is. */
function amountThatDoesNotFit(balance: Money, requests: number): Money {
  const amount = (balance * 3n) / (2n * BigInt(requests));
  return amount > 0n ? amount : 1n;
}

/** The accepted ones in the order of their versions, then the others. */
function answersText(withdrawals: readonly Withdrawal[]): string {
  const versionOf = ({ outcome }: Withdrawal) => outcome.receipt?.newVersion ?? Infinity;
  const rows = withdrawals
    .toSorted((a, b) => (versionOf(a) === versionOf(b) ? a.number - b.number : versionOf(a) - versionOf(b)))
    .map(({ number, sent, ms, outcome: { status, error = '', receipt } }) => [
      String(number),
      String(status ?? '–'),
      sent > 1 ? `${error} (sent ${sent} times)` : error,
      receipt ? formatMoney(receipt.newBalance, 2) : '–',
      String(receipt?.newVersion ?? '–'),
      ms.toFixed(0),
    ]);
  return tableText([['request', 'status', 'error', 'new balance', 'version', 'ms'], ...rows]);
}

const acceptedOf = (withdrawals: readonly Withdrawal[]) =>
  withdrawals.filter(({ outcome }) => outcome.kind === 'accepted').length;

function verdictText(books: Books, withdrawals: readonly Withdrawal[]): string {
  const accepted = acceptedOf(withdrawals);
  if (accepted === 0) {
    return `Nothing was tested: none of the ${withdrawals.length} withdrawals was accepted, and nothing was deducted.`;
  }
  const others = versionsOfOthers(books, withdrawals);
  const { before, after } = books;
  const sentences = [
    `The books are right: ${accepted} of ${withdrawals.length} withdrawals were accepted, and exactly these were deducted.`,
    after.version === before.version + 1
      ? `Version ${after.version} follows version ${before.version}.`
      : `Versions ${before.version + 1} to ${after.version} follow one another without a gap.`,
    ...(others.length > 0 ? [`Others posted versions ${others.join(', ')} meanwhile.`] : []),
  ];
  return sentences.join(' ');
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has already printed what is wrong; help on request is not a failure.
    process.exitCode = error.exitCode === 0 ? 0 : WRONG_USAGE;
  } else {
    console.error(error instanceof UserError ? `error: ${error.message}` : error);
    process.exitCode = 1;
  }
}
