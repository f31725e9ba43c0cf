import { messageOf } from '../domain/error-message.js';
import { consumeEvents } from '../messaging/event-consumer.js';
import type { BankEvent } from '../messaging/bank-event.js';
import type { RabbitMqSettings } from '../messaging/rabbitmq-connection.js';
import { RepeatFilter } from '../messaging/repeat-filter.js';
import { CommandError } from './command-error.js';

export interface TailOptions {
  /** Undefined: all accounts. */
  readonly accounts?: readonly number[];
  readonly queue?: string;
  readonly fromOpening?: boolean;
  /** Ends after this many events. */
  readonly count?: number;
}

export interface TailListener {
  /** Called once per event; an account's transactions are in order. */
  readonly onEvent: (event: BankEvent) => void;
  /** Called when reading has begun: from then on no event is missed. */
  readonly onReady: () => void;
  /** Called when a message that is not an event of a bank was skipped. */
  readonly onStranger: () => void;
}

/** Some 100 bytes each. */
const REMEMBERED_ACCOUNTS = 1_000_000;

/**
 * Reads the bank's events until the signal or the count ends it.
 *
 * @throws CommandError when the broker can't be reached, or its connection is lost: the temporary queue is then gone
 */
export async function tailEvents(
  { url, exchange }: RabbitMqSettings,
  { accounts, queue, count = Infinity, fromOpening = false }: TailOptions,
  { onEvent, onReady, onStranger }: TailListener,
  signal: AbortSignal,
): Promise<void> {
  const wanted = accounts && new Set(accounts);
  const filter = new RepeatFilter({ maxAccounts: REMEMBERED_ACCOUNTS, fromOpening });
  const enough = new AbortController();
  let seen = 0;
  const hand = (event: BankEvent) => {
    if (wanted && !accountsOf(event).some((accountId) => wanted.has(accountId))) return;
    if (!filter.isNew(event)) return;
    onEvent(event);
    seen += 1;
    if (seen === count) enough.abort();
  };
  const stop = AbortSignal.any([signal, enough.signal]);
  await consumeEvents({ url, exchange, queue, onReady, onStranger, signal: stop }, hand).catch(
    (error: unknown) => {
      throw new CommandError(`RabbitMQ failed: ${messageOf(error)}`, { cause: error });
    },
  );
}

function accountsOf(event: BankEvent): number[] {
  if (event.type === 'transfer.completed.v1') return event.data.legs.map(({ accountId }) => accountId);
  if (event.type === 'transfer.failed.v1') return [event.data.accountId, event.data.toAccountId];
  return [event.data.accountId];
}
