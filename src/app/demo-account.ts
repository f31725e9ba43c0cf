import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Logger } from 'pino';
import { recordActOn } from '../audit/audit-log.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import type { BankShards } from '../sharding/bootstrap-shards.js';
import { formatDecimal, type Decimal } from '../domain/money.js';
import { Ledger } from '../domain/ports.js';
import { THE_SERVICE } from '../domain/sender.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import { NestLogger } from '../observability/logging.js';
import { CoreModule } from './app.module.js';

/** Gives an empty embedded bank an account to try the API with. */
export async function createDemoAccount(
  context: INestApplicationContext,
  { shards }: BankShards,
  logger: Logger,
): Promise<void> {
  const reader = context.get(LedgerReader, { strict: false });
  const { accounts } = await reader.accountsAfter(0, 1, {}, THE_SERVICE);
  if (accounts.length > 0) return;
  const { decimals } = context.get<Config>(CONFIG, { strict: false }).currency;
  const openingDeposit: Decimal = { units: 1000n * 10n ** BigInt(decimals), decimals };
  await recordActOn(shards, {
    action: 'demo_account.opened',
    details: { balance: formatDecimal(openingDeposit) },
  });
  const ledger = context.get(Ledger, { strict: false });
  const { accountId } = await ledger.openAccount({ openingDeposit }, THE_SERVICE);
  logger.info(
    { accountId },
    `the bank was empty: created a demo account with ${formatDecimal(openingDeposit)}`,
  );
}

/** Where other processes will serve the bank. */
export async function createDemoAccountAhead(
  config: Config,
  bank: BankShards,
  logger: Logger,
): Promise<void> {
  const context = await NestFactory.createApplicationContext(CoreModule.register(config, bank), {
    logger: new NestLogger(logger),
    abortOnError: false,
  });
  try {
    await createDemoAccount(context, bank, logger);
  } finally {
    await context.close();
  }
}
