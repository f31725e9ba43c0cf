import { randomUUID } from 'node:crypto';
import type { LedgerAccount } from '../domain/account.js';
import type { ArrivedCredit, IncomingTransfer, OutgoingTransfer } from '../domain/between-shards.js';
import type { Effects } from '../domain/books.js';
import type {
  CaptureCommand,
  Command,
  IncomingCommand,
  OutgoingCommand,
  TransferCommand,
  TransferReversalCommand,
} from '../domain/command.js';
import { arrivalProblem } from '../domain/decide-between-shards.js';
import { LedgerError, type Rejection } from '../domain/errors.js';
import { inMinorUnits } from '../domain/money.js';
import type { Origin } from '../domain/origin.js';
import { creditOf, legsOf, toldAbout } from '../domain/transfer.js';
import type { Transaction } from '../domain/transaction.js';
import type { ShardRouter } from '../sharding/shard-router.js';
import type { TransferRecords } from './read/transfer-records.js';
import type { BatchScheduler } from './write/batch-scheduler.js';

/** A command over accounts of two shards. */
export type CommandBetweenShards = TransferCommand | CaptureCommand | TransferReversalCommand;

/**
 * Carries out transfers between shards, in the three steps of {@link OutgoingTransfer}. Each step can be repeated by
 * anybody at any time, so what this process does not finish is finished by `pending-transfers.ts`.
 */
export class TransferCoordinator {
  /** @param timeoutMs how long a request waits for the transfer to be decided */
  constructor(
    private readonly writers: ShardRouter<{ readonly scheduler: BatchScheduler }>,
    private readonly records: ShardRouter<TransferRecords>,
    private readonly timeoutMs: number,
  ) {}

  /**
   * @param origin the transfer's time counts from when it began to wait
   * @returns the debit and the credit; or, if the transfer is not decided in time, no transactions and the pending
   *   transfer in `outgoing`
   * @throws LedgerError: refused by the source, and nothing was written; or refused by the target. DATABASE_FAILED and
   *   OVERLOADED: nothing was written
   */
  async execute(
    command: CommandBetweenShards,
    { waitingSinceMs = performance.now(), span }: Origin = {},
  ): Promise<Effects> {
    const origin = { waitingSinceMs, span };
    const asked = firstStepOf(command);
    const { to, foreign } = asked;
    const seen = await this.records
      .of(to)
      .account(to)
      .catch((error: unknown) => error as Error);
    const target = seen instanceof Error ? undefined : seen;
    const step = { ...asked, nonce: randomUUID(), toCurrency: target ? target.currency : null };
    const problem = seen instanceof Error ? seen : refusalOf(asked, target);
    try {
      if (problem || command.dryRun === true) {
        // What the source refuses is said first, above all that a request is a repeat.
        const rehearsal = await this.submit({ ...step, dryRun: true }, origin);
        if (problem) throw problem;
        return rehearsed(rehearsal, target as LedgerAccount);
      }
      const { outgoing } = await this.submit(step, origin);
      const [transfer] = outgoing as [OutgoingTransfer];
      const leftMs = waitingSinceMs + this.timeoutMs - performance.now();
      const settled = await within(leftMs, this.finish(transfer, false, { span }));
      return outcomeOf(settled ?? transfer, foreign);
    } catch (error) {
      if (isRepeat(error)) return this.repeated(error, command);
      throw seen instanceof Error && !isKeyReused(error) ? seen : error;
    }
  }

  /**
   * Takes steps 2 and 3, or what is left of them.
   *
   * @param cancelled refuse it in the name of the target, unless the target has credited it
   * @returns the transfer, completed or failed
   * @throws LedgerError: it stays pending, for another attempt
   */
  async finish(transfer: OutgoingTransfer, cancelled = false, origin?: Origin): Promise<OutgoingTransfer> {
    const { accountId, to } = transfer;
    const decision = await this.decide({ type: 'incoming', accountId: to, transfer, cancelled }, origin);
    const { outgoing } = await this.submit({ type: 'settlement', accountId, transfer, decision }, origin);
    return outgoing[0] as OutgoingTransfer;
  }

  /**
   * Credits a completed transfer whose target has lost its credit, as after a restore.
   *
   * @returns its credit; or why the target refuses it now, which is not recorded
   * @throws LedgerError
   */
  async creditAgain(transfer: OutgoingTransfer): Promise<ArrivedCredit | Rejection> {
    const command: IncomingCommand = {
      ...{ type: 'incoming', accountId: transfer.to },
      // The target's version has gone back, too.
      transfer: { ...transfer, toVersion: undefined },
    };
    const foreseen = await this.decide({ ...command, dryRun: true });
    if (foreseen.rejection) return foreseen.rejection;
    const { credit, rejection } = await this.decide(command);
    const outcome = credit ?? rejection;
    if (!outcome) throw new Error(`transfer ${transfer.transferId} was neither credited nor refused`);
    return outcome;
  }

  private async decide(command: IncomingCommand, origin?: Origin): Promise<IncomingTransfer> {
    const [decision] = (await this.submit(command, origin)).incoming;
    if (!decision) throw new Error(`transfer ${command.transfer.transferId} was not decided`);
    return decision;
  }

  private submit(command: Command, origin?: Origin): Promise<Effects> {
    return this.writers.of(command.accountId).scheduler.submit(command, origin);
  }

  /** The same request has begun a transfer before: its outcome is that of the transfer. */
  private async repeated(error: Repeat, command: CommandBetweenShards): Promise<Effects> {
    const { transferId } = error.failure;
    const transfer = (await this.records.of(transferId).outgoing([transferId])).get(transferId);
    if (!transfer || transfer.status === 'completed' || (transfer.status === 'pending' && command.dryRun))
      throw error;
    return outcomeOf(transfer, firstStepOf(command).foreign);
  }
}

function outcomeOf(transfer: OutgoingTransfer, foreign: boolean | undefined): Effects {
  const { status, rejection, to, transferId } = transfer;
  if (status === 'failed') throw new LedgerError(toldAbout(rejection as Rejection, to, foreign), transferId);
  return { ...NOTHING, transactions: legsOf(transfer), outgoing: [transfer] };
}

const NOTHING: Effects = {
  ...{ transactions: [], accounts: [], holds: [], changes: [] },
  ...{ outgoing: [], incoming: [] },
};

/** The legs that a rehearsal of the first and the third step promises, with that of the target as it was found. */
function rehearsed({ transactions, outgoing }: Effects, target: LedgerAccount): Effects {
  const [transfer] = outgoing as [OutgoingTransfer];
  const debit = transactions.at(-1) as Transaction;
  const credit = creditOf(transfer, {
    ...{ transactionId: debit.transactionId, timestamp: debit.timestamp },
    ...{ balanceAfter: target.balance + transfer.amount, versionAfter: target.version + 1 },
  });
  return { ...NOTHING, transactions: [debit, credit], outgoing: [{ ...transfer, status: 'completed' }] };
}

/**
 * What can be said of the arrival before the source is locked: its currency is not known yet, and its amount may not be.
 */
function refusalOf(
  { to, foreign, amount, toVersion: version }: AskedStep,
  target: LedgerAccount | undefined,
): LedgerError | undefined {
  const wanted = amount === undefined || !target ? 0n : (inMinorUnits(amount, target.decimals) ?? 0n);
  const problem = arrivalProblem(to, target, { currency: target?.currency, amount: wanted, version });
  return problem && new LedgerError(toldAbout(problem, to, foreign));
}

interface Repeat extends LedgerError {
  readonly failure: Extract<Rejection, { readonly code: 'DUPLICATE_TRANSFER' }>;
}

const isRepeat = (error: unknown): error is Repeat =>
  error instanceof LedgerError && error.failure.code === 'DUPLICATE_TRANSFER';

const isKeyReused = (error: unknown): boolean =>
  error instanceof LedgerError && error.failure.code === 'IDEMPOTENCY_KEY_REUSED';

type AskedStep = Omit<OutgoingCommand, 'nonce' | 'toCurrency'>;

/** @throws LedgerError DIFFERENT_SHARDS for a transfer of more than two legs */
function firstStepOf(request: CommandBetweenShards): AskedStep {
  const { accountId, idempotencyKey, details, dryRun } = request;
  const common = { type: 'outgoing', accountId, idempotencyKey, details, dryRun, request } as const;
  switch (request.type) {
    case 'transfer': {
      const { legs } = request;
      const [debit, credit] = (['debit', 'credit'] as const).map((type) =>
        legs.find((leg) => leg.type === type),
      );
      if (legs.length !== 2 || !debit || !credit) throw new LedgerError({ code: 'DIFFERENT_SHARDS' });
      const { amount, amountName, expectedVersion } = debit;
      const { foreign, expectedVersion: toVersion } = credit;
      return { ...common, amount, amountName, expectedVersion, to: credit.accountId, toVersion, foreign };
    }
    case 'capture': {
      const { amount, holdId, final, to } = request;
      return { ...common, amount, to: to?.accountId ?? 0, foreign: to?.foreign, capture: { holdId, final } };
    }
    case 'transfer-reversal': {
      const { transferId, accountIds, legIds = [], amount, force } = request;
      if (accountIds.length !== 2) throw new LedgerError({ code: 'DIFFERENT_SHARDS' });
      const payer = accountIds.indexOf(accountId);
      const [creditId = 0, debitId = 0] = [legIds[payer], legIds[1 - payer]];
      const to = accountIds[1 - payer] ?? 0;
      const reversal = { transferId, creditId, debitId, force };
      return { ...common, amount, to, foreign: request.foreign?.includes(to), reversal };
    }
  }
}

/** What work comes to, unless it takes longer or fails. It goes on all the same. */
function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const late = setTimeout(resolve, Math.max(0, ms), undefined).unref();
    const end = (result?: T) => {
      clearTimeout(late);
      resolve(result);
    };
    work.then(end, () => end());
  });
}
