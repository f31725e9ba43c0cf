import type { Command } from 'commander';
import type { BankEvent } from '../messaging/bank-event.js';
import { accountListOption, countOption, queueOption } from './options.js';
import { eventText } from './event-text.js';
import { onInterrupt, readSettings } from './session.js';

interface TailOptions {
  readonly account?: readonly number[];
  readonly queue?: string;
  readonly fromOpening?: true;
  readonly count?: number;
  readonly json?: true;
}

export function addEventsTail(events: Command): void {
  events
    .command('tail')
    .description('print events as they are published, each once; needs RABBITMQ_URL, and no database')
    .option('--account <ID...>', 'only those of these accounts', accountListOption)
    .option(
      '--queue <name>',
      'a durable queue that goes on where it was left, made when it is missing',
      queueOption,
    )
    .option(
      '--from-opening',
      "wait for each new account's very first event: for a queue that is older than the bank's first event",
    )
    .option('--count <N>', 'end after so many events', countOption)
    .option('--json', 'print the events themselves, one JSON text a line')
    .action(tail);
}

async function tail({ account: accounts, json, ...options }: TailOptions): Promise<void> {
  const [{ CommandError }, { tailEvents }] = await Promise.all([
    import('../admin/command-error.js'),
    import('../admin/tail-events.js'),
  ]);
  const { rabbitmq } = (await readSettings()).config;
  if (!rabbitmq)
    throw new CommandError('RABBITMQ_URL is not set: without a broker, events stay in the service');
  const signal = onInterrupt();
  const gone = new AbortController();
  // The reader, such as `head`, is gone.
  process.stdout.once('error', () => gone.abort());
  const listener = {
    onEvent: (event: BankEvent) => console.log(json ? JSON.stringify(event) : eventText(event)),
    onReady: () => console.error('Waiting for events. Ctrl-C ends it.'),
    onStranger: () => console.error('Left out a message that is no event of a bank.'),
  };
  await tailEvents(rabbitmq, { accounts, ...options }, listener, AbortSignal.any([signal, gone.signal]));
  signal.throwIfAborted();
}
