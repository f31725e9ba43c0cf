import { randomUUID } from 'node:crypto';
import type { IncomingTransfer, OutgoingTransfer } from '../../src/domain/between-shards.js';
import type { Effects } from '../../src/domain/books.js';
import type { CaptureCommand, Command, OutgoingCommand, TransferCommand } from '../../src/domain/command.js';
import type { AccountOpening } from '../../src/domain/account.js';
import type { Ledger } from '../../src/domain/ports.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { openLedger, PATIENT, type TestLedger } from './ledger.js';

/** Opens accounts until there is one in each of two shards. @returns their ids, by shard */
export async function openInBoth(ledger: Ledger, opening: AccountOpening = {}): Promise<[number, number]> {
  const opened: number[] = [];
  while (opened.filter(Boolean).length < 2) {
    const { accountId } = await ledger.openAccount(opening, THE_SERVICE);
    opened[ledger.shardOf(accountId)] = accountId;
  }
  return opened as [number, number];
}

/** What a test says of a transfer besides its accounts and its amount. */
type More = Partial<Pick<OutgoingCommand, 'capture' | 'reversal' | 'idempotencyKey' | 'details'>>;

/** A bank of two shards without the service, so that each step of a transfer is taken when a test says so. */
export class TwoShards {
  private constructor(readonly ledgers: readonly [TestLedger, TestLedger]) {}

  /** @param shards of a bank that is bootstrapped */
  static async open(shards: readonly ShardAddress[]): Promise<TwoShards> {
    const opened = await Promise.all(
      shards.map(({ url, schema }) => openLedger(url, PATIENT[0], PATIENT[1], schema)),
    );
    return new TwoShards(opened as [TestLedger, TestLedger]);
  }

  async openAccount(shard: 0 | 1, openingDeposit?: bigint): Promise<number> {
    return (await this.ledgers[shard].opener.open({ openingDeposit }, THE_SERVICE)).accountId;
  }

  run(command: Command): Promise<Effects> {
    return (this.ledgers[(command.accountId - 1) % 2] as TestLedger).scheduler.submit(command);
  }

  async placeHold(accountId: number, amount: bigint): Promise<number> {
    const { holds } = await this.run({ type: 'hold', accountId, amount });
    return holds[0]?.holdId ?? 0;
  }

  /** Step 1. */
  async begin(from: number, to: number, amount: bigint, more: More = {}): Promise<OutgoingTransfer> {
    const { outgoing } = await this.run({
      ...{ type: 'outgoing', accountId: from, to, amount, nonce: randomUUID(), toCurrency: undefined },
      request: requestOf(from, to, amount, more),
      ...more,
    });
    return outgoing[0] as OutgoingTransfer;
  }

  /** Step 2. */
  async decide(transfer: OutgoingTransfer, cancelled = false): Promise<IncomingTransfer> {
    const { incoming } = await this.run({ type: 'incoming', accountId: transfer.to, transfer, cancelled });
    return incoming[0] as IncomingTransfer;
  }

  /** Step 3. */
  async settle(transfer: OutgoingTransfer, decision: IncomingTransfer): Promise<OutgoingTransfer> {
    const { accountId } = transfer;
    const { outgoing } = await this.run({ type: 'settlement', accountId, transfer, decision });
    return outgoing[0] as OutgoingTransfer;
  }

  /** All steps that are left. */
  async finish(transfer: OutgoingTransfer, cancelled = false): Promise<OutgoingTransfer> {
    return this.settle(transfer, await this.decide(transfer, cancelled));
  }

  async close(): Promise<void> {
    await Promise.all(this.ledgers.map((ledger) => ledger.close()));
  }
}

function requestOf(
  accountId: number,
  to: number,
  amount: bigint,
  { capture }: More,
): TransferCommand | CaptureCommand {
  if (capture) return { type: 'capture', accountId, amount, ...capture, to: { accountId: to } };
  const legs = [
    { accountId, type: 'debit', amount },
    { accountId: to, type: 'credit', amount },
  ] as const;
  return { type: 'transfer', accountId, legs };
}

/** What became of the transfers of {@link fillTwoShards}, by name. */
export type FilledTransfers = Readonly<
  Record<
    | 'completed'
    | 'failed'
    | 'back'
    | 'claimed'
    | 'begun'
    | 'credited'
    | 'refused'
    | 'captured'
    | 'released'
    | 'capturing',
    OutgoingTransfer
  >
>;

/**
 * Opens account 1 in shard 0 and account 2 in shard 1, each with 1,000.00, and leaves one of each kind of transfer
 * between them.
 *
 * @param afterHalf called when what has ended was made, and what is pending was not
 */
export async function fillTwoShards(
  bank: TwoShards,
  afterHalf: () => Promise<unknown> = () => Promise.resolve(),
): Promise<FilledTransfers> {
  const [from, to] = [await bank.openAccount(0, 1_000_00n), await bank.openAccount(1, 1_000_00n)];
  const details = { reference: 'r', actor: 'ada' };
  const completed = await bank.finish(
    await bank.begin(from, to, 40_00n, { details, idempotencyKey: 'rent' }),
  );
  const failed = await bank.finish(await bank.begin(from, to, 30_00n), true);
  const reversal = {
    transferId: completed.transferId,
    creditId: completed.credit?.transactionId ?? 0,
    debitId: completed.debit?.transactionId ?? 0,
  };
  const back = await bank.finish(await bank.begin(to, from, 10_00n, { reversal, details }));
  const claimed = await bank.finish(await bank.begin(to, from, 5_00n, { reversal }), true);
  const holdId = await bank.placeHold(from, 50_00n);
  const capture = { holdId, final: false };
  const captured = await bank.finish(
    await bank.begin(from, to, 20_00n, { capture, details, idempotencyKey: 'captured' }),
  );
  const released = await bank.finish(await bank.begin(from, to, 3_00n, { capture, details }), true);
  await afterHalf();
  const begun = await bank.begin(from, to, 1_00n, { idempotencyKey: 'begun' });
  const credited = await bank.begin(to, from, 2_00n, { reversal, details });
  await bank.decide(credited);
  const refused = await bank.begin(from, to, 3_00n);
  await bank.decide(refused, true);
  const capturing = await bank.begin(from, to, 4_00n, { capture, details, idempotencyKey: 'capturing' });
  return { completed, failed, back, claimed, begun, credited, refused, captured, released, capturing };
}
