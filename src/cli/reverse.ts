import type { Command } from 'commander';
import type { ReversalRequest } from '../admin/act-on-ledger.js';
import { formatMoney } from '../domain/money.js';
import { amountOption, reversibleArgument, type Reversible } from './options.js';
import { postingOptions, printEffects, type PostingFlags } from './posting.js';
import { withBank } from './session.js';

export function addReverse(program: Command): void {
  const command = program
    .command('reverse')
    .description('post the opposite of a transaction or a transfer, on record; never for more than it was')
    .argument('<what>', 'like txn9, or tr3 for a transfer', reversibleArgument)
    .option('--amount <amount>', 'how much (default: all that is left)', amountOption)
    .option('--force', 'even if the money is gone: raises the overdraft limit as far as needed');
  postingOptions(command).action((original: Reversible, request: ReversalRequest & PostingFlags) =>
    withBank('reverse', async (session) => {
      const { reverse } = await import('../admin/act-on-ledger.js');
      const effects = await reverse(session, original, request);
      const posted = effects.transactions.filter(({ reversesId }) => reversesId !== undefined);
      const [first] = posted;
      const amounts = posted.filter(({ type }) => type === first?.type).map(({ amount }) => amount);
      const total = formatMoney(
        amounts.reduce((sum, amount) => sum + amount, 0n),
        first?.decimals ?? 0,
      );
      const by =
        first?.transferId === undefined
          ? `the ${first?.type} txn${first?.transactionId}`
          : `tr${first.transferId}`;
      const name = 'transferId' in original ? `tr${original.transferId}` : `txn${original.transactionId}`;
      printEffects(effects, request, (named) => `Reversal of ${name}: ${total}${named(`, by ${by}`)}.`);
    }),
  );
}
