import type { Command } from 'commander';
import type { BankEvent } from '../messaging/bank-event.js';
import { accountListOption, countOption, queueOption } from './options.js';
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

/** The text for people. */
function eventText(event: BankEvent): string {
  return `${event.time}  ${whatHappened(event)}`;
}

function whatHappened(event: BankEvent): string {
  switch (event.type) {
    case 'transaction.posted.v1':
    case 'transaction.posted.v2': {
      const { accountId, version, type, amount, balance } = event.data;
      const held = event.type === 'transaction.posted.v2' ? `, held ${event.data.held}` : '';
      return `account ${accountId}, version ${version}: ${type} ${amount} → ${balance}${held} (${event.id})`;
    }
    case 'transfer.completed.v1': {
      const legs = event.data.legs.map(
        ({ accountId, type, amount }) => `account ${accountId} ${type} ${amount}`,
      );
      return `transfer ${event.id}: ${legs.join(', ')}`;
    }
    case 'transfer.failed.v1': {
      const { accountId, toAccountId, amount } = event.data;
      return `transfer ${event.id} has failed: account ${accountId} keeps ${amount}, account ${toAccountId} gets nothing`;
    }
    case 'submission.refused.v1': {
      const { accountId, idempotencyKey, code } = event.data;
      return `account ${accountId}: submission ${idempotencyKey} refused, ${code}`;
    }
    case 'account.changed.v1': {
      const { accountId, revision, changes } = event.data;
      return `account ${accountId}, revision ${revision}: ${JSON.stringify(changes)}`;
    }
    case 'hold.placed.v1':
    case 'hold.captured.v1':
    case 'hold.voided.v1':
    case 'hold.expired.v1': {
      const { accountId, version, holdId, amount } = event.data;
      // Such as "captured", of hold.captured.v1.
      return `account ${accountId}, version ${version}: ${holdId} ${event.type.split('.')[1]} ${amount}`;
    }
  }
}
