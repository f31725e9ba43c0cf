import type { Command } from 'commander';
import type { WebhookListed } from '../admin/webhooks.js';
import { printable, tableText } from './printable.js';
import { withBank } from './session.js';

export function addWebhooksList(webhooks: Command): void {
  webhooks
    .command('list')
    .description('show all webhooks, and whether they get events; not their secrets')
    .option('--json', 'print the list as JSON')
    .action(({ json }: { json?: true }) =>
      withBank('webhooks list', async ({ bank, config }) => {
        const { listWebhooks } = await import('../admin/webhooks.js');
        const listed = await listWebhooks(bank.shards, config);
        if (json) console.log(JSON.stringify(listed));
        else console.log(listed.length === 0 ? 'There are no webhooks.' : textOf(listed));
      }),
    );
}

const textOf = (webhooks: readonly WebhookListed[]): string =>
  tableText(
    webhooks.map((webhook) =>
      [
        webhook.id,
        webhook.url,
        webhook.eventTypes.join(),
        webhook.owner ?? '(all accounts)',
        stateOf(webhook),
        webhook.description ?? '',
      ].map(printable),
    ),
  );

const stateOf = ({ status, disabledAt, disabledBecause }: WebhookListed): string =>
  disabledAt ? `disabled ${disabledAt.toISOString()} (${disabledBecause})` : status;
