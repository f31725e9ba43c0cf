import { failureMessage } from '../app/user-message.js';
import { recordActOn } from '../audit/audit-log.js';
import type { LedgerAccount } from '../domain/account.js';
import type { PostingCommand } from '../domain/command.js';
import { LedgerError } from '../domain/errors.js';
import { formatMoney, inMinorUnits, type Decimal, type Money } from '../domain/money.js';
import type { Ledger } from '../domain/ports.js';
import { THE_SERVICE } from '../domain/sender.js';
import type { Transaction } from '../domain/transaction.js';
import { CommandError } from './command-error.js';
import { inSentences, withLedger, type BankSession } from './with-ledger.js';

export interface ResetReport {
  readonly before: LedgerAccount;
  readonly after: LedgerAccount;
  /** Undefined: the balance was right already, and nothing was posted. */
  readonly transaction: Transaction | undefined;
}

/** How many times it reads and posts before giving up on an account that others keep changing. */
const ATTEMPTS = 100;

/**
 * Brings the balance of an account to a given one by posting the difference, so that the books stay consistent, and
 * records it in the audit log. Its holds, its status and its overdraft limit stay as they are.
 *
 * @throws CommandError when the account does not exist, when its status or its holds don't allow it, when the posting
 *   failed, or after {@link ATTEMPTS} lost races
 */
export function resetAccount(
  session: BankSession,
  accountId: number,
  balance: Money | Decimal,
): Promise<ResetReport> {
  const record = (text: string) =>
    recordActOn(session.bank.shards, {
      action: 'account.reset',
      details: { account: accountId, balance: text },
    });
  return withLedger(session, ({ ledger, reader }) =>
    inSentences(accountId, () => postDifference(ledger, reader, accountId, balance, record)),
  );
}

/**
 * @param record called once, when the posting is known to be possible, and before it: a record of a reset that then
 *   failed is better than a reset without a record
 * @throws LedgerError; CommandError that says what to do first, or after {@link ATTEMPTS} lost races
 */
export async function postDifference(
  ledger: Pick<Ledger, 'execute'>,
  reader: { account(accountId: number, user: string): Promise<LedgerAccount> },
  accountId: number,
  wanted: Money | Decimal,
  record: (balance: string) => Promise<void>,
): Promise<ResetReport> {
  let isRecorded = false;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const before = await reader.account(accountId, THE_SERVICE);
    const { decimals } = before;
    const balance = inMinorUnits(wanted, decimals);
    if (balance === undefined)
      throw new LedgerError({ code: 'TOO_MANY_DECIMALS', field: 'balance', decimals });
    const difference = balance - before.balance;
    if (difference === 0n) return { before, after: before, transaction: undefined };
    const posting: PostingCommand = {
      accountId,
      type: difference > 0n ? 'credit' : 'debit',
      amount: difference > 0n ? difference : -difference,
      expectedVersion: before.version,
    };
    try {
      if (!isRecorded) {
        await ledger.execute({ ...posting, dryRun: true });
        await record(formatMoney(balance, decimals));
        isRecorded = true;
      }
      const { transactions, accounts } = await ledger.execute(posting);
      return { before, after: accounts[0] ?? before, transaction: transactions.at(-1) };
    } catch (error) {
      if (!(error instanceof LedgerError)) throw error;
      const obstacle = obstacleOf(error, before);
      if (obstacle !== undefined) throw new CommandError(obstacle, { cause: error });
      // Somebody posted between the read and the lock, so the difference has changed.
      if (error.failure.code !== 'VERSION_MISMATCH') throw error;
    }
  }
  throw new CommandError(
    `account ${accountId} changed ${ATTEMPTS} times while it was to be reset; nothing was posted`,
  );
}

/** Why an account can't be reset as it is, and what would let it be. */
function obstacleOf({ failure }: LedgerError, account: LedgerAccount): string | undefined {
  const { accountId, held, overdraftLimit, decimals } = account;
  const { code } = failure;
  if (code === 'INSUFFICIENT_BALANCE') {
    return (
      `account ${accountId} has ${formatMoney(held, decimals)} on hold, so its balance can't go below ` +
      `${formatMoney(held - overdraftLimit, decimals)}: capture or void its holds first`
    );
  }
  if (code === 'ACCOUNT_FROZEN' || code === 'DEBITS_BLOCKED')
    return `${failureMessage(failure, `account ${accountId}`)}: \`unfreeze ${accountId}\` first`;
  if (code === 'ACCOUNT_CLOSED') return `account ${accountId} is closed for ever: open another one`;
  return undefined;
}
