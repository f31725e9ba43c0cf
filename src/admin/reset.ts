import { NestFactory } from '@nestjs/core';
import type { Logger } from 'pino';
import { CoreModule } from '../app/app.module.js';
import { recordActOn } from '../audit/audit-log.js';
import type { Config } from '../config/config.js';
import type { BankShards } from '../sharding/bootstrap-shards.js';
import type { Account } from '../domain/account.js';
import { LedgerError } from '../domain/errors.js';
import { formatMoney, type Money } from '../domain/money.js';
import { Ledger } from '../domain/ports.js';
import { THE_SERVICE } from '../domain/sender.js';
import type { Transaction } from '../domain/transaction.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import { NestLogger } from '../observability/logging.js';
import { failureMessage } from '../app/user-message.js';
import { CommandError } from './command-error.js';

export interface ResetReport {
  readonly before: Account;
  readonly after: Account;
  /** Undefined: the balance was right already, and nothing was posted. */
  readonly transaction: Transaction | undefined;
}

/** How many times it reads and posts before giving up on an account that others keep changing. */
const ATTEMPTS = 100;

/** Resets, and records it in the audit log. @throws as {@link resetAccount} does */
export async function resetOnRecord(
  config: Config,
  bank: BankShards,
  logger: Logger,
  account: number,
  balance: Money,
): Promise<ResetReport> {
  // Recorded first: a record of a reset that then failed is better than a reset without a record.
  const details = { account, balance: formatMoney(balance) };
  await recordActOn(bank.shards, { action: 'account.reset', details });
  return resetAccount(config, bank, logger, account, balance);
}

/**
 * Brings an account to a given balance by posting the difference, so that the books stay consistent.
 *
 * @throws CommandError when the account does not exist, when the posting failed, or after {@link ATTEMPTS} lost races
 */
export async function resetAccount(
  config: Config,
  bank: BankShards,
  logger: Logger,
  accountId: number,
  balance: Money,
): Promise<ResetReport> {
  // Without the events module: a relay in this short-lived process would consume the event that the service's balance
  // cache needs.
  const context = await NestFactory.createApplicationContext(CoreModule.register(config, bank), {
    logger: new NestLogger(logger),
    abortOnError: false,
  });
  try {
    const ledger = context.get(Ledger, { strict: false });
    const reader = context.get(LedgerReader, { strict: false });
    return await postDifference(ledger, reader, accountId, balance);
  } catch (error) {
    if (!(error instanceof LedgerError)) throw error;
    throw new CommandError(failureMessage(error.failure, `account ${accountId}`), { cause: error });
  } finally {
    await context.close();
  }
}

/** @throws LedgerError; CommandError after {@link ATTEMPTS} lost races */
export async function postDifference(
  ledger: Pick<Ledger, 'post'>,
  reader: { account(accountId: number, user: string): Promise<Account> },
  accountId: number,
  balance: Money,
): Promise<ResetReport> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const before = await reader.account(accountId, THE_SERVICE);
    const difference = balance - before.balance;
    if (difference === 0n) return { before, after: before, transaction: undefined };
    try {
      const transaction = await ledger.post({
        accountId,
        type: difference > 0n ? 'credit' : 'debit',
        amount: difference > 0n ? difference : -difference,
        expectedVersion: before.version,
      });
      const { balanceAfter, versionAfter } = transaction;
      return { before, after: { accountId, balance: balanceAfter, version: versionAfter }, transaction };
    } catch (error) {
      // Somebody posted between the read and the lock, so the difference has changed.
      if (!(error instanceof LedgerError && error.failure.code === 'VERSION_MISMATCH')) throw error;
    }
  }
  throw new CommandError(
    `account ${accountId} changed ${ATTEMPTS} times while it was to be reset; nothing was posted`,
  );
}
