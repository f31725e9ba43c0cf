import { NestFactory } from '@nestjs/core';
import type { Logger } from 'pino';
import { CoreModule } from '../app/app.module.js';
import { failureMessage } from '../app/user-message.js';
import type { Config } from '../config/config.js';
import { LedgerError } from '../domain/errors.js';
import { Ledger } from '../domain/ports.js';
import { HoldReader } from '../ledger/read/hold-reader.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import { TransferReader } from '../ledger/read/transfer-reader.js';
import { TRANSFER_RECORDS, type TransferRecords } from '../ledger/read/transfer-records.js';
import { TransferCoordinator } from '../ledger/transfer-coordinator.js';
import { NestLogger } from '../observability/logging.js';
import type { BankShards } from '../sharding/bootstrap-shards.js';
import type { ShardRouter } from '../sharding/shard-router.js';
import { CommandError } from './command-error.js';

/** The bank that a command works on. */
export interface BankSession {
  readonly config: Config;
  readonly bank: BankShards;
  readonly logger: Logger;
}

export interface LedgerAccess {
  readonly ledger: Ledger;
  readonly reader: LedgerReader;
  readonly holds: HoldReader;
  readonly transfers: TransferReader;
  readonly records: ShardRouter<TransferRecords>;
  readonly coordinator: TransferCoordinator;
}

/**
 * Gives a use case the ledger, without the service around it: a relay in this short-lived process would consume the
 * events that the balance caches of services need.
 *
 * @throws CommandError for each LedgerError
 */
export async function withLedger<T>(
  { config, bank, logger }: BankSession,
  work: (access: LedgerAccess) => Promise<T>,
): Promise<T> {
  const context = await NestFactory.createApplicationContext(CoreModule.register(config, bank), {
    logger: new NestLogger(logger),
    abortOnError: false,
  });
  try {
    const access = {
      ledger: context.get(Ledger, { strict: false }),
      reader: context.get(LedgerReader, { strict: false }),
      holds: context.get(HoldReader, { strict: false }),
      transfers: context.get(TransferReader, { strict: false }),
      records: context.get<ShardRouter<TransferRecords>>(TRANSFER_RECORDS, { strict: false }),
      coordinator: context.get(TransferCoordinator, { strict: false }),
    };
    return await inSentences(undefined, () => work(access));
  } finally {
    await context.close();
  }
}

/**
 * Says the failures of the ledger in a sentence.
 *
 * @param accountId the account that a failure is about, unless it names another
 * @throws CommandError for each LedgerError
 */
export async function inSentences<T>(accountId: number | undefined, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof LedgerError)) throw error;
    const { failure } = error;
    const about = ('accountId' in failure ? failure.accountId : undefined) ?? accountId;
    const name = about === undefined ? undefined : `account ${about}`;
    throw new CommandError(failureMessage(failure, name), { cause: error });
  }
}
