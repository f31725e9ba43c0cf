import type { Command } from 'commander';
import { noteIfKeysAreNotAsked } from './keys-create.js';
import { keyArgument } from './options.js';
import { withBank } from './session.js';

export function addKeysRevoke(keys: Command): void {
  keys
    .command('revoke')
    .description('let nobody in by a key any more')
    .argument('<key>', 'its number, as `keys list` shows it', keyArgument)
    .action((keyId: number) =>
      withBank('keys revoke', async ({ bank, config }) => {
        const { revokeKey } = await import('../admin/keys.js');
        const { name, hint } = await revokeKey(bank.shards, keyId);
        console.log(
          `Revoked key ${keyId}, ${name} (${hint}). Within 5 seconds no service takes it any more.`,
        );
        noteIfKeysAreNotAsked(config);
      }),
    );
}
