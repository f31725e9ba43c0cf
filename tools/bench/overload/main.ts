import 'reflect-metadata';
import { loadConfig } from '../../../src/config/config.js';
import { startPostgres } from '../../stack/servers/postgres.js';
import { ACCOUNTS, foundBank } from '../bank.js';
import { startServer } from '../tools.js';
import { bounds, printReport } from './report.js';
import { runOverload } from './run.js';

/**
 * Offers three times as many requests as the service can handle, whatever it answers, and checks that it keeps working,
 * tells the truth and recovers: `--seconds S` of overload (default 60), `--connections N` (default 4,000: the maximum
 * number of outstanding requests), `--idle N` connections that do nothing meanwhile (default 0), `--factor F` (default
 * 3). On a PostgreSQL of its own, with fsync on. Exits with 1 when a bound is broken.
 */
const LONG_KEEP_ALIVE_MS = '3600000';

async function main(): Promise<void> {
  const postgres = await startPostgres();
  try {
    const [shard] = await foundBank([{ url: postgres.url, schema: 'bank' }]);
    const environment = {
      DATABASE_URL: shard.url,
      BALANCE_CACHE: 'on',
      HTTP_KEEP_ALIVE_TIMEOUT_MS: LONG_KEEP_ALIVE_MS,
    };
    const service = await startServer('src/main.js', environment);
    const settings = {
      service,
      shard,
      accounts: ACCOUNTS,
      idle: option('--idle', 0),
      connections: option('--connections', 4_000),
      capacitySeconds: 8,
      calmSeconds: 10,
      overloadSeconds: option('--seconds', 60),
      factor: option('--factor', 3),
    };
    const report = await runOverload(settings).finally(() => service.stop());
    const checked = bounds(
      report,
      settings.connections + settings.idle,
      loadConfig(environment).ledger.commandTimeoutMs,
    );
    printReport(report, settings, checked);
    if (checked.some(({ holds }) => !holds)) process.exitCode = 1;
  } finally {
    await postgres.stop();
  }
}

function option(name: string, fallback: number): number {
  const index = process.argv.indexOf(name);
  const value = index === -1 ? fallback : Number(process.argv[index + 1]);
  if (!Number.isInteger(value) || value < 0) throw new Error(`${name} takes a whole number`);
  return value;
}

await main();
