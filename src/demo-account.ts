import type { INestApplicationContext } from '@nestjs/common';
import type { Logger } from 'pino';
import { parseMoney } from './domain/money.js';
import { Ledger } from './domain/ports.js';
import { LedgerReader } from './ledger/ledger-reader.js';

const DEMO_BALANCE = parseMoney('1000.00');

/** The embedded bank is there to be tried, so it starts with an account to try. */
export async function createDemoAccount(context: INestApplicationContext, logger: Logger): Promise<void> {
  const [any] = await context.get(LedgerReader, { strict: false }).accountsAfter(0, 1);
  if (any) return;
  const { accountId } = await context.get(Ledger, { strict: false }).openAccount(DEMO_BALANCE);
  logger.info({ accountId }, 'the bank was empty: created a demo account with 1000.00');
}
