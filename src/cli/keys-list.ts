import type { Command } from 'commander';
import type { KeyListed } from '../admin/keys.js';
import { printable, tableText } from './printable.js';
import { withBank } from './session.js';

export function addKeysList(keys: Command): void {
  keys
    .command('list')
    .description('show all keys, what they allow and when they were last used; not the keys themselves')
    .option('--json', 'print the list as JSON')
    .action(({ json }: { json?: true }) =>
      withBank('keys list', async ({ bank }) => {
        const { listKeys } = await import('../admin/keys.js');
        const listed = await listKeys(bank.shards);
        console.log(json ? JSON.stringify(listed) : keysText(listed));
      }),
    );
}

export function keysText(keys: readonly KeyListed[], nowMs = Date.now()): string {
  if (keys.length === 0) return 'There are no keys.';
  const rows = keys.map((key) => [
    String(key.keyId),
    printable(key.name),
    printable(key.hint),
    printable(key.scopes.join(',')),
    printable(key.owner ?? '(all accounts)'),
    stateOf(key, nowMs),
    key.lastUsedAt ? `used ${key.lastUsedAt.toISOString()}` : 'never used',
  ]);
  return tableText(rows);
}

function stateOf({ revokedAt, expiresAt }: KeyListed, nowMs: number): string {
  if (revokedAt) return `revoked ${revokedAt.toISOString()}`;
  if (!expiresAt) return 'good';
  return `${expiresAt.getTime() <= nowMs ? 'expired' : 'good until'} ${expiresAt.toISOString()}`;
}
