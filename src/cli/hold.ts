import type { Command } from 'commander';
import type { HoldRequest } from '../admin/act-on-ledger.js';
import { accountOption, amountOption, holdExpiryOption } from './options.js';
import { amountText, postingOptions, printEffects, type PostingFlags } from './posting.js';
import { withBank } from './session.js';

export function addHold(program: Command): void {
  const command = program
    .command('hold')
    .description('reserve money of an account, on record, to be captured or voided later')
    .argument('<account>', 'its number', accountOption)
    .requiredOption('--amount <amount>', 'how much', amountOption)
    .option(
      '--expires <when>',
      'when it ends: a time, or how long from now, like 7d (default: when it is captured or voided)',
      holdExpiryOption,
    );
  postingOptions(command).action((accountId: number, request: HoldRequest & PostingFlags) =>
    withBank('hold', async (session) => {
      const { placeHold } = await import('../admin/act-on-ledger.js');
      const effects = await placeHold(session, accountId, request);
      const hold = effects.holds.at(-1);
      const until = hold?.expiresAt ? `until ${hold.expiresAt.toISOString()}` : 'until captured or voided';
      printEffects(
        effects,
        request,
        (named) =>
          `${named(`hold${hold?.holdId}`) || 'Hold'}: ${amountText(hold)} of account ${accountId}, ${until}.`,
      );
    }),
  );
}
