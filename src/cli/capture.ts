import type { Command } from 'commander';
import type { CaptureRequest } from '../admin/act-on-ledger.js';
import { formatMoney } from '../domain/money.js';
import { accountOption, amountOption, holdArgument } from './options.js';
import { amountText, postingOptions, printEffects, type PostingFlags } from './posting.js';
import { withBank } from './session.js';

export function addCapture(program: Command): void {
  const command = program
    .command('capture')
    .description('take money that is on hold, out of the bank or to another account, on record')
    .argument('<hold>', 'like hold17', holdArgument)
    .option('--amount <amount>', 'how much (default: all that remains)', amountOption)
    .option('--to <ID>', 'the account that receives it (default: none)', accountOption)
    .option('--keep-rest', 'leave the rest on hold (default: the hold ends)');
  postingOptions(command).action((holdId: number, request: CaptureRequest & PostingFlags) =>
    withBank('capture', async (session) => {
      const { captureHold } = await import('../admin/act-on-ledger.js');
      const effects = await captureHold(session, holdId, request);
      const debit = effects.transactions.find(({ type }) => type === 'debit');
      const hold = effects.holds.at(-1);
      const rest =
        hold?.status === 'active' ? `; ${formatMoney(hold.remaining, hold.decimals)} stay on hold` : '';
      const to = request.to === undefined ? '' : ` to account ${request.to}`;
      const by =
        debit?.transferId === undefined ? `the debit txn${debit?.transactionId}` : `tr${debit.transferId}`;
      printEffects(
        effects,
        request,
        (named) => `Capture of hold${holdId}: ${amountText(debit)}${to}${named(`, by ${by}`)}${rest}.`,
      );
    }),
  );
}
