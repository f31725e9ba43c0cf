import type { Command } from 'commander';
import { holdArgument } from './options.js';
import { amountText, postingOptions, printEffects, type PostingFlags } from './posting.js';
import { withBank } from './session.js';

export function addVoid(program: Command): void {
  const command = program
    .command('void')
    .description('end a hold, on record: its money is available again')
    .argument('<hold>', 'like hold17', holdArgument);
  postingOptions(command).action((holdId: number, flags: PostingFlags) =>
    withBank('void', async (session) => {
      const { voidHold } = await import('../admin/act-on-ledger.js');
      const effects = await voidHold(session, holdId, flags);
      const amount = amountText(effects.transactions.at(-1));
      printEffects(effects, flags, () => `Void of hold${holdId}: ${amount} available again.`);
    }),
  );
}
