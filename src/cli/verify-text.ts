import { CHECKS, type VerifyFault, type VerifyReport } from './verify.js';

/** Accounts that are named one by one. */
const MAX_LISTED = 100;

/** The report for people. */
export function verifyText(report: VerifyReport, durationMs: number): string {
  const width = Math.max(...Object.keys(CHECKS).map((name) => name.length));
  return [
    `accounts      ${report.accounts}`,
    `transactions  ${report.transactions}`,
    `balances      ${report.balance} in all`,
    `time          ${(durationMs / 1000).toFixed(1)} s`,
    '',
    'Checked for each account:',
    ...Object.entries(CHECKS).map(([name, check]) => `  ${name.padEnd(width)}  ${check.says}`),
    '',
    ...verdict(report),
  ].join('\n');
}

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

/** What was changed is this row, or, where one is missing or was put in, just before it. */
function placeOf({ firstBroken }: VerifyFault): string {
  if (!firstBroken) return '';
  return ` (the chain breaks at txn${firstBroken.transactionId}, version ${firstBroken.version})`;
}

function nameOf({ accountId }: VerifyFault): string {
  return accountId === 0 ? 'rows without an account id' : `account ${accountId}`;
}
