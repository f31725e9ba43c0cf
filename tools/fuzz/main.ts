import 'reflect-metadata';
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { startPostgres } from '../stack/servers/postgres.js';
import { fuzz, type FuzzReport } from './fuzz.js';

/** Fast, but not durable. */
const THROWAWAY = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };
const MAX_SEED = 2 ** 31 - 1;

/**
 * Starts a service and a PostgreSQL, fires requests generated from openapi.json at the service, and checks each answer,
 * the log and the books. `--requests N` (default 20,000); `--seed S` repeats a run (default: random). Exits with 1 when
 * a rule is broken, and shows the request.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { requests: { type: 'string' }, seed: { type: 'string' } } });
  const requests = wholeNumber('--requests', values.requests ?? '20000');
  const seed = wholeNumber('--seed', values.seed ?? String(randomInt(MAX_SEED)));
  const postgres = await startPostgres(THROWAWAY);
  try {
    const startedAt = performance.now();
    const report = await fuzz({ databaseUrl: postgres.url, requests, seed });
    print(report, seed, (performance.now() - startedAt) / 1000);
  } finally {
    await postgres.stop();
  }
}

function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,10}$/.test(text) || Number(text) > MAX_SEED) throw new Error(`${name} takes a whole number`);
  return Number(text);
}

function print({ attack, failures }: FuzzReport, seed: number, seconds: number): void {
  for (const failure of failures) console.error(`${failure}\n`);
  const serverErrors = [...attack.byStatus].filter(([status]) => status >= 500).map(([, count]) => count);
  const share = Math.round((attack.reachedLedger / attack.sent) * 100);
  const rows: [string, string | number][] = [
    ['requests', attack.sent],
    ...[...attack.byStatus]
      .sort(([a], [b]) => a - b)
      .map(([status, count]): [string, number] => [`  ${status}`, count]),
    ...[...attack.byOperation].sort().map(([name, count]): [string, number] => [`  ${name}`, count]),
    ['reached the ledger', `${attack.reachedLedger} (${share} %)`],
    ['accepted transactions', attack.books.accepted],
    ['compared in all forms', attack.inAllForms],
    ['5xx', serverErrors.reduce((sum, count) => sum + count, 0)],
    ['rules broken', failures.length],
    ['seconds', seconds.toFixed(1)],
    ['seed', seed],
  ];
  console.log(`| what | how many |\n|---|---|\n${rows.map((row) => `| ${row.join(' | ')} |`).join('\n')}`);
  if (failures.length > 0) {
    console.error(`\nThe same again: npm run fuzz -- --requests ${attack.sent} --seed ${seed}`);
    process.exitCode = 1;
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
