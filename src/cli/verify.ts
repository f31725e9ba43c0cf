import type { Command } from 'commander';
import { CHECKS } from '../admin/verify/checks.js';
import { PAIRS } from '../admin/verify/pairs.js';
import { SHARD_CHECKS } from '../admin/verify/shard-checks.js';
import type { VerifyFault, VerifyReport } from '../admin/verify/verify.js';
import { brokenLogText } from './audit-list.js';
import { withBank, withProgress } from './session.js';

/** Exits with 1 when the books or the audit log have faults. */
export function addVerify(program: Command): void {
  program
    .command('verify')
    .description('check that the books are whole: every balance against its transactions; posts nothing')
    .option('--json', 'print the report as JSON')
    .action(({ json }: { json?: true }) =>
      withBank('verify', async ({ bank, signal }) => {
        const { verifyBankAndLog } = await import('../admin/verify/verify.js');
        const startedMs = performance.now();
        const report = await withProgress('accounts', signal, (control) =>
          verifyBankAndLog(bank.shards, control),
        );
        if (json) console.log(JSON.stringify(report));
        else console.log(verifyText(report, performance.now() - startedMs));
        if (!json && report.firstBrokenEvent !== undefined)
          console.log(brokenLogText(report.firstBrokenEvent));
        if (!report.ok) process.exitCode = 1;
      }),
    );
}

/** Maximum number of accounts listed by id. */
const MAX_LISTED = 100;

/** The report for people. */
export function verifyText(report: VerifyReport, durationMs: number): string {
  const checks = { ...CHECKS, ...SHARD_CHECKS, [PAIRS.name]: PAIRS };
  const width = Math.max(...Object.keys(checks).map((name) => name.length));
  return [
    `accounts      ${report.accounts}`,
    `transactions  ${report.transactions}`,
    `balances      ${balancesText(report)} in all`,
    `time          ${(durationMs / 1000).toFixed(1)} s`,
    '',
    'Checked for each account:',
    ...Object.entries(checks).map(([name, check]) => `  ${name.padEnd(width)}  ${check.says}`),
    '',
    ...verdict(report),
  ].join('\n');
}

/** The balances in all currencies. */
export const balancesText = ({
  balance,
  otherBalances = {},
}: Pick<VerifyReport, 'balance' | 'otherBalances'>): string =>
  [balance, ...Object.entries(otherBalances).map(([code, sum]) => `${sum} ${code}`)].join(' + ');

function verdict({ ok, faulty, faults }: VerifyReport): string[] {
  if (ok) return ['The books are whole.'];
  const listed = faults.slice(0, MAX_LISTED);
  const rest = faulty - listed.length;
  return [
    `The books are NOT whole. ${faulty} account(s) fail:`,
    ...listed.map((fault) => `  ${nameOf(fault)}: ${fault.checks.join(', ')}${placeOf(fault)}`),
    ...(rest > 0 ? [`  … and ${rest} more`] : []),
  ];
}

/** Where the fault is: this row was changed, or a row just before it is missing or was inserted. */
function placeOf({ firstBroken }: VerifyFault): string {
  if (!firstBroken) return '';
  return ` (the chain breaks at txn${firstBroken.transactionId}, version ${firstBroken.version})`;
}

function nameOf({ accountId }: VerifyFault): string {
  return accountId === 0 ? 'rows without an account id' : `account ${accountId}`;
}
