import type { Command } from 'commander';
import type { KeyCreated, KeyRequest } from '../admin/keys.js';
import { SCOPES } from '../access/principal.js';
import type { Config } from '../config/config.js';
import { expiryOptionOf, keyNameOption, ownerOption, scopesOption } from './options.js';
import { withBank } from './session.js';

export function addKeysCreate(keys: Command): void {
  keys
    .command('create')
    .description('make a key, and show it this once')
    .requiredOption('--name <name>', 'what it is for', keyNameOption)
    .requiredOption('--scopes <list>', `what it allows: ${SCOPES.join(', ')}`, scopesOption)
    .option('--owner <owner>', 'whose accounts it sees and uses (default: all)', ownerOption)
    .addOption(expiryOptionOf('when it ends: a time, or an age like 90d (default: never)'))
    .option('--json', 'print the key as JSON')
    .addHelpText(
      'after',
      '\ntransactions:write means deposits:write and withdrawals:write, but with an owner withdrawals:write only. ' +
        'Neither includes transfers:write. accounts:manage can only be had without an owner. ' +
        'docs/security.md says who should hold what.',
    )
    .action(({ json, ...request }: KeyRequest & { json?: true }) =>
      withBank('keys create', async ({ bank, config }) => {
        const { createKey } = await import('../admin/keys.js');
        printKey(await createKey(bank.shards, request), json);
        noteIfKeysAreNotAsked(config);
      }),
    );
}

/** Standard output holds only the key, for scripts; the note for people goes to standard error. */
export function printKey(created: KeyCreated, json: true | undefined): void {
  console.log(json ? JSON.stringify(created) : created.key);
  if (!json) console.error(`This is key ${created.keyId}. It is shown this once: the bank does not know it.`);
}

/** Otherwise a request that succeeds would seem to show that the key is good, or that a revoked one still is. */
export function noteIfKeysAreNotAsked({ auth }: Config): void {
  if (!auth.enabled) console.error('With these settings the service asks for no key: AUTH=on makes it ask.');
}
