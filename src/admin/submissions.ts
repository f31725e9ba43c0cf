import { isUtf8 } from 'node:buffer';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type ConfirmChannel } from 'amqplib';
import { recordActOn } from '../audit/audit-log.js';
import type { Config } from '../config/config.js';
import { messageOf } from '../domain/error-message.js';
import type { Command } from '../domain/command.js';
import type { Ledger } from '../domain/ports.js';
import { connectOptions, withHeartbeat } from '../messaging/rabbitmq-connection.js';
import {
  propertiesToKeep,
  publishConfirmed,
  takeDeadLetters,
  type DeadLetter,
} from '../submissions/dead-letters.js';
import { sealed } from '../submissions/submission-message.js';
import { Topology } from '../submissions/topology.js';
import { CommandError } from './command-error.js';
import { withSession } from './shards.js';
import { withLedger, type BankSession } from './with-ledger.js';

const LOCKED_PAUSE_MS = 200;

/** The messages that were put aside, the oldest first. @throws CommandError when there is no broker */
export function listSubmissions({ config, bank }: BankSession): Promise<readonly DeadLetter[]> {
  return withBroker(config, (channel, topology) => takeDeadLetters(channel, topology, bank.bankId));
}

/**
 * Queues messages again, behind all that waits.
 *
 * @param ids undefined: all of them
 * @returns how many
 * @throws CommandError, like {@link listSubmissions}; when there is no such message
 */
export function replaySubmissions(session: BankSession, ids: readonly string[] | undefined): Promise<number> {
  return act(session, 'submissions.replayed', ids, async (letter, channel, topology) => {
    const { message, shardIndex } = letter;
    const { body, ...more } = await messageFor(session, letter);
    await topology.assert(channel, shardIndex);
    await publishConfirmed(
      ...([channel, topology.queueOf(shardIndex), body] as const),
      { ...propertiesToKeep(message), ...more },
      session.config.submissions.confirmTimeoutMs,
    );
  });
}

/**
 * Removes messages for good. If the service had accepted one, its key is spent first, so that a repeat does not count as a
 * new request.
 */
export function discardSubmissions(
  session: BankSession,
  ids: readonly string[] | undefined,
): Promise<number> {
  return withLedger(session, ({ ledger }) =>
    act(session, 'submissions.discarded', ids, async ({ key }) => {
      if (key) await refuse(ledger, key);
    }),
  );
}

async function refuse(
  ledger: Ledger,
  { accountId, idempotencyKey }: NonNullable<DeadLetter['key']>,
): Promise<void> {
  const refusal: Command = {
    type: 'refusal',
    rejection: { code: 'SUBMISSION_DISCARDED' },
    ...{ accountId, idempotencyKey, submitted: true, fingerprint: undefined },
  };
  while ((await ledger.decideInOrder([refusal]))[0] === undefined) await sleep(LOCKED_PAUSE_MS);
}

/** Recorded first, like every act that is not carried out in the database alone. */
function act(
  { config, bank }: BankSession,
  action: string,
  ids: readonly string[] | undefined,
  handle: (letter: DeadLetter, channel: ConfirmChannel, topology: Topology) => Promise<void>,
): Promise<number> {
  return withBroker(config, async (channel, topology) => {
    const all = await takeDeadLetters(channel, topology, bank.bankId);
    const unknown = ids?.find((id) => !all.some((letter) => letter.id === id));
    if (unknown !== undefined) throw new CommandError(`there is no submission ${unknown}`);
    const chosen = ids ? all.filter(({ id }) => ids.includes(id)) : all;
    if (chosen.length === 0) return 0;
    const submissions = chosen.map(({ id, reason, key }) => ({ id, reason, ...key }));
    await recordActOn(bank.shards, { action, details: { submissions } });
    for (const letter of chosen) {
      await handle(letter, channel, topology);
      channel.ack(letter.message);
    }
    return chosen.length;
  });
}

/** Signed by the service, it is as it was. What the broker has said about the sender is signed now. */
async function messageFor({ bank }: BankSession, { message, shardIndex }: DeadLetter) {
  const { content, properties } = message;
  const headers = (properties.headers ?? {}) as Readonly<Record<string, unknown>>;
  const { bank: bankId, signature, 'x-user': user } = headers;
  const shard = bank.shards[shardIndex];
  if (typeof user !== 'string' || bankId !== bank.bankId || !shard || !isUtf8(content))
    return { body: content, headers: { bank: bankId, signature } };
  const secret = await withSession(shard, 'bank-submissions', async ({ client, tables }) => {
    const { rows } = await client.query<{ secret: string }>(
      `SELECT submission_secret AS secret FROM ${tables.shardIdentity}`,
    );
    return rows[0]?.secret ?? '';
  });
  return sealed([{ claim: { user }, item: content.toString() }], { bankId, secret });
}

/** @throws CommandError */
async function withBroker<T>(
  { rabbitmq, submissions }: Config,
  work: (channel: ConfirmChannel, topology: Topology) => Promise<T>,
): Promise<T> {
  if (!rabbitmq) throw new CommandError('RABBITMQ_URL is not set: without a broker there are no submissions');
  const failed = (error: unknown) => {
    throw new CommandError(`RabbitMQ failed: ${messageOf(error)}`, { cause: error });
  };
  const connection = await connect(withHeartbeat(rabbitmq.url), connectOptions).catch(failed);
  connection.on('error', () => undefined);
  try {
    const channel = await connection.createConfirmChannel();
    channel.on('error', () => undefined);
    const result = await work(channel, new Topology(rabbitmq.exchange, submissions.maxQueued));
    // Answered behind the acknowledgements, which the end of the connection could overtake.
    await channel.close();
    return result;
  } finally {
    // What was not settled goes back.
    await connection.close().catch(() => undefined);
  }
}
