import { Option, type Command } from 'commander';
import { eventText } from './event-text.js';
import { countOption, portOption, webhookSecretOption } from './options.js';
import { printable } from './printable.js';
import { onInterrupt } from './session.js';

const DEFAULT_PORT = 4_000;

interface ListenOptions {
  readonly port: number;
  readonly secret?: string;
  readonly count?: number;
  readonly json?: true;
}

export function addWebhooksListen(webhooks: Command): void {
  webhooks
    .command('listen')
    .description('receive webhooks on this machine, verify and print them; needs no database')
    .addOption(
      new Option('--port <N>', 'where; 0: any that is free').argParser(portOption).default(DEFAULT_PORT),
    )
    .option('--secret <whsec_…>', "the webhook's; without it nothing is verified", webhookSecretOption)
    .option('--count <N>', 'end after so many events', countOption)
    .option('--json', 'print the events themselves, one JSON text a line')
    .action(listen);
}

async function listen({ json, ...options }: ListenOptions): Promise<void> {
  const { listenForWebhooks } = await import('../admin/listen-for-webhooks.js');
  const signal = onInterrupt();
  const verified =
    options.secret === undefined ? 'Without --secret, nothing is verified.' : 'Each is verified.';
  await listenForWebhooks(
    options,
    {
      onReady: (url) => console.error(`Waiting for events at ${url} Ctrl-C ends it. ${verified}`),
      // What is not verified may come from anybody on this machine.
      onEvent: (event) => console.log(printable(json ? JSON.stringify(event) : eventText(event))),
      onRefused: (reason) => console.error(`Refused a request: ${reason}.`),
    },
    signal,
  );
  signal.throwIfAborted();
}
