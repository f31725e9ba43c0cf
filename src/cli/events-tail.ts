import { messageOf } from '../domain/error-message.js';
import { consumeEvents } from '../messaging/event-consumer.js';
import type { RabbitMqSettings } from '../messaging/rabbitmq-connection.js';
import type { TransactionPosted } from '../messaging/transaction-posted.js';
import { VersionFilter } from '../messaging/version-filter.js';
import { CommandError } from '../app/user-message.js';

export interface TailOptions {
  /** Without it: all accounts. */
  readonly account?: readonly number[];
  readonly queue?: string;
  readonly fromOpening?: boolean;
  readonly count?: number;
  readonly json?: boolean;
}

/** Some 100 bytes each. */
const REMEMBERED_ACCOUNTS = 1_000_000;

/**
 * Prints the bank's events, each once and each account's in order, until the signal, the count, or the reader of our
 * output ends it.
 *
 * @throws CommandError when the broker can't be reached, or is lost: what a queue of our own would hold is then gone
 */
export async function tailEvents(
  { url, exchange }: RabbitMqSettings,
  options: TailOptions,
  signal: AbortSignal,
): Promise<void> {
  const { account, queue, count = Infinity, fromOpening = false } = options;
  const accounts = account && new Set(account);
  const filter = new VersionFilter({ maxAccounts: REMEMBERED_ACCOUNTS, fromOpening });
  const enough = new AbortController();
  // The reader, such as `head`, has gone.
  process.stdout.once('error', () => enough.abort());
  let printed = 0;
  const print = (event: TransactionPosted) => {
    const { accountId, version } = event.data;
    if (accounts && !accounts.has(accountId)) return;
    if (!filter.isNext(accountId, version)) return;
    console.log(options.json ? JSON.stringify(event) : eventText(event));
    printed += 1;
    if (printed === count) enough.abort();
  };
  const onReady = () => console.error('Waiting for events. Ctrl-C ends it.');
  const onStranger = () => console.error('Left out a message that is no event of a bank.');
  const settings = {
    url,
    exchange,
    queue,
    onReady,
    onStranger,
    signal: AbortSignal.any([signal, enough.signal]),
  };
  await consumeEvents(settings, print).catch((error: unknown) => {
    throw new CommandError(`RabbitMQ failed: ${messageOf(error)}`, { cause: error });
  });
}

/** For people. */
export function eventText({ id, time, data }: TransactionPosted): string {
  const { accountId, version, type, amount, balance } = data;
  return `${time}  account ${accountId}, version ${version}: ${type} ${amount} → ${balance} (${id})`;
}
