import type { Command } from 'commander';
import type { AccountStatus } from '../domain/account.js';
import { accountOption } from './options.js';
import { accountText } from './posting.js';
import { withBank } from './session.js';

export function addFreeze(program: Command): void {
  program
    .command('freeze')
    .description('let no money leave or reach an account, on record; its holds can still end')
    .argument('<account>', 'its number', accountOption)
    .option('--debits-only', 'let money arrive, and holds be captured; refuse debits and new holds')
    .action((accountId: number, { debitsOnly }: { debitsOnly?: true }) =>
      changeStatus('freeze', accountId, debitsOnly ? 'debits_blocked' : 'frozen'),
    );
}

export function addUnfreeze(program: Command): void {
  program
    .command('unfreeze')
    .description('let money leave and reach an account again, on record')
    .argument('<account>', 'its number', accountOption)
    .action((accountId: number) => changeStatus('unfreeze', accountId, 'open'));
}

export function addClose(program: Command): void {
  program
    .command('close')
    .description('close an account for ever, on record; it must be empty, with nothing on hold')
    .argument('<account>', 'its number', accountOption)
    .action((accountId: number) => changeStatus('close', accountId, 'closed'));
}

async function changeStatus(command: string, accountId: number, status: AccountStatus): Promise<void> {
  await withBank(command, async (session) => {
    const { setStatus } = await import('../admin/act-on-ledger.js');
    const { account, changed } = await setStatus(session, accountId, status);
    console.log(accountText(account));
    if (!changed) console.log('It was so already: nothing was changed.');
  });
}
