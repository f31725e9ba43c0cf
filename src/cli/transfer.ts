import type { Command } from 'commander';
import type { TransferRequest } from '../admin/act-on-ledger.js';
import { accountOption, amountOption } from './options.js';
import { amountText, postingOptions, printEffects, type PostingFlags } from './posting.js';
import { withBank } from './session.js';

export function addTransfer(program: Command): void {
  const command = program
    .command('transfer')
    .description('move money from one account to another, on record')
    .requiredOption('--from <ID>', 'the account that pays', accountOption)
    .requiredOption('--to <ID>', 'the account that receives', accountOption)
    .requiredOption('--amount <amount>', 'how much', amountOption);
  postingOptions(command).action((request: TransferRequest & PostingFlags) => {
    const { from, to } = request;
    if (from === to) command.error('error: --from and --to name the same account');
    return withBank('transfer', async (session) => {
      const { transfer } = await import('../admin/act-on-ledger.js');
      const effects = await transfer(session, request);
      const last = effects.transactions.at(-1);
      const id = last?.transferId;
      printEffects(
        effects,
        request,
        (named) => `Transfer${named(` tr${id}`)}: ${amountText(last)} from account ${from} to account ${to}.`,
      );
    });
  });
}
