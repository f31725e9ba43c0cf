import { Checker } from './checker.js';
import { isCapture, transferKeyOf, type Books, type Posting, type SentTransfer } from './books.js';
import {
  isBetweenShards,
  isCommand,
  keyOf,
  shardOf,
  type Answer,
  type AnswerBody,
  type Attempt,
  type Command,
} from './history.js';
import { isSame } from './parts.js';
import type { Rule } from './rules.js';
import { CLOCK_SLACK_MS, statusesIn } from './states.js';

/**
 * Checks transfers between shards: both sides tell the same, the target decides once and truly, and what is answered about
 * one never changes once it is decided.
 */
export class TransferChecker extends Checker {
  private readonly attempts = new Map<number, Attempt>();
  /** Transfer that is known to be decided → requests with a higher number were sent after that. */
  private readonly decidedSince = new Map<string, number>();
  /** Transfer → the refusal that was answered first, as text. */
  private readonly refusals = new Map<string, string>();
  private lastAttempt = 0;

  override finish(): void {
    const { sent, arrived, sentBy } = this.books;
    for (const one of sent.values()) {
      const fault = sidesFault(one, this.books);
      if (fault) this.fail('sides-differ', `${describe(one)}: ${fault}`);
      if (one.status === 'pending') this.fail('transfer-undecided', describe(one));
      if (one.status === 'failed' && !wasTrue(one, this.books))
        this.fail('wrong-refusal', `${one.id} was refused ${one.failure}, but its target was not so`);
      const twin = twinOf(one, this.books);
      if (twin) this.fail('applied-twice', `${describe(one)} and ${describe(twin)} have the same key`);
    }
    for (const [key, one] of arrived)
      if (!sent.has(one.id) || transferKeyOf(sent.get(one.id) as SentTransfer) !== key)
        this.fail('sides-differ', `nobody sent ${describe(one)}`);
    for (const [op, all] of sentBy)
      if (all.length > 1) this.fail('applied-twice', `operation ${op} has begun ${describe(all)}`);
    for (const posting of this.books.byId.values()) this.checkArrival(posting);
  }

  protected override begin(attempt: Attempt): void {
    this.attempts.set(attempt.attempt, attempt);
    this.lastAttempt = attempt.attempt;
  }

  protected override settle({ op, attempt, status, body = {} }: Answer): void {
    const sent = this.attempts.get(attempt) as Attempt;
    this.attempts.delete(attempt);
    const operation = this.operations.get(op);
    if (operation?.kind === 'read-transfer' && status === 200) {
      if (body.transferStatus === 'pending') this.isPending(operation.transferId, sent);
      else this.isDecided(operation.transferId);
    }
    if (operation && isCommand(operation) && isBetweenShards(operation, this.books.shards))
      this.checkAnswer(operation, sent, status, body);
  }

  private checkAnswer(command: Command, attempt: Attempt, status: number, body: AnswerBody): void {
    const { op } = attempt;
    const sent = this.books.sentBy.get(op)?.[0];
    if (!sent || ('dryRun' in command && command.dryRun)) return;
    if (status === 202) return this.isPending(sent.id, attempt);
    const isSuccess = status === 201 || (body.error ?? '').startsWith('Duplicate ');
    if (isSuccess) {
      if (sent.status === 'failed')
        this.fail(
          'decided-twice',
          `operation ${op} is answered ${describe(body)}, and ${sent.id} has failed`,
        );
      return this.isDecided(sent.id);
    }
    if (!IS_REFUSAL.includes(status) || sent.status !== 'failed') return;
    if (isRefusalOf(sent, body)) return this.isRefused(sent.id, describe(body), op);
    // It may have been refused for another reason before the transfer began, but not once it is decided.
    const { decidedAt = Infinity } = this.books.arrived.get(transferKeyOf(sent)) ?? {};
    if (this.epochMs + attempt.at > decidedAt + CLOCK_SLACK_MS)
      this.fail(
        'refusal-forgotten',
        `operation ${op}: ${sent.id} was refused ${sent.failure}, and is then answered ${describe(body)}`,
      );
  }

  private isPending(transferId: string, { attempt }: Attempt): void {
    if ((this.decidedSince.get(transferId) ?? Infinity) < attempt)
      this.fail('decided-twice', `${transferId} is pending after it was decided`);
  }

  private isDecided(transferId: string): void {
    if (!this.decidedSince.has(transferId)) this.decidedSince.set(transferId, this.lastAttempt);
  }

  private isRefused(transferId: string, refusal: string, op: number): void {
    this.isDecided(transferId);
    const first = this.refusals.get(transferId) ?? refusal;
    this.refusals.set(transferId, first);
    if (first !== refusal)
      this.fail('refusal-forgotten', `operation ${op} was refused ${first}, then ${refusal}`);
  }

  /** A credit of a transfer from another shard is the one that its decision names. */
  private checkArrival({ id, type, accountId, transferId = '' }: Posting): void {
    const { sent, arrived, shards } = this.books;
    const one = sent.get(transferId);
    if (type !== 'credit' || !one || shardOf(accountId, shards) === shardOf(one.accountId, shards)) return;
    if (arrived.get(transferKeyOf(one))?.creditId !== id)
      this.fail('sides-differ', `${id} credits ${transferId}, and no decision says so`);
  }

  private fail(rule: Rule, detail: string): void {
    this.violations.add(rule, detail);
  }
}

const IS_REFUSAL: readonly number[] = [404, 409, 412, 422];

/** Why the two sides of a transfer do not tell the same. */
function sidesFault(sent: SentTransfer, { arrived, legs, holds, byOperation }: Books): string | undefined {
  const decision = arrived.get(transferKeyOf(sent));
  if (sent.status === 'pending') return undefined;
  if (!decision) return 'it was settled, and its target has not decided';
  const told = `its target says ${describe(decision)}`;
  if (decision.accountId !== sent.to || decision.from !== sent.accountId || decision.amount !== sent.amount)
    return told;
  if (decision.creditId !== sent.creditId || decision.failure !== sent.failure) return told;
  if ((sent.creditId !== undefined) !== (sent.status === 'completed')) return 'its status says otherwise';
  const made = legs.get(sent.id) ?? [];
  const wanted = sent.status === 'completed' ? [sent.accountId, sent.to] : [];
  if (describe(made.map(({ accountId }) => accountId)) !== describe(wanted))
    return `its legs are ${describe(made)}`;
  if (made.some(({ amount }) => amount !== sent.amount)) return `its legs are of ${describe(made)}`;
  if (!isCapture(sent) && (holds.get(sent.holdId)?.remaining ?? 0) !== 0) return 'its hold has not ended';
  const isKnown = sent.op !== undefined && (isCapture(sent) || byOperation.has(sent.op));
  return isKnown ? undefined : 'nobody asked for it';
}

/** Something else that has the key of a capture, which no transaction carries. */
function twinOf({ accountId, key }: SentTransfer, { accounts, refusals }: Books): object | undefined {
  if (key === undefined) return undefined;
  const posting = accounts.get(accountId)?.postings.find((one) => one.key === key);
  return posting ?? refusals.get(keyOf(accountId, key));
}

/** Whether a refusal that the target has recorded was true of it when it was recorded. */
function wasTrue(sent: SentTransfer, { arrived, accounts }: Books): boolean {
  const { decidedAt = -Infinity } = arrived.get(transferKeyOf(sent)) ?? {};
  const target = accounts.get(sent.to);
  if (!target) return false;
  const statuses = statusesIn(target, { from: decidedAt - CLOCK_SLACK_MS, to: decidedAt + CLOCK_SLACK_MS });
  if (sent.failure === 'ACCOUNT_FROZEN') return statuses.includes('frozen');
  return sent.failure === 'ACCOUNT_CLOSED' && statuses.includes('closed');
}

/** Whether an answer is the refusal that another shard has recorded, as it is told to some sender. */
export function isRefusalOf({ failure = '', to }: SentTransfer, { error, accountId }: AnswerBody): boolean {
  const text = failure.charAt(0) + failure.slice(1).toLowerCase().replaceAll('_', ' ');
  return accountId === to && (error === text || error === 'Counterparty refused');
}

/** Whether a transfer was at some time what an answer says of it. */
export function wasTransfer(
  transferId: string | undefined,
  { legs = [], transferStatus, failure }: AnswerBody,
  books: Books,
): boolean {
  const sent = books.sent.get(transferId ?? '');
  const made = books.legs.get(transferId ?? '') ?? [];
  if (transferStatus === 'completed' || !sent)
    return (
      transferStatus === 'completed' &&
      legs.length === made.length &&
      legs.every((leg) =>
        isSame(
          leg,
          made.find(({ id }) => id === leg.id),
        ),
      )
    );
  const isPlan =
    describe(legs.map(({ id, accountId, type, amount }) => [id, accountId, type, amount])) ===
    describe([
      [undefined, sent.accountId, 'Withdraw', sent.amount],
      [undefined, sent.to, 'Deposit', sent.amount],
    ]);
  if (transferStatus === 'pending') return isPlan;
  const isIt = failure === sent.failure || failure === 'COUNTERPARTY_REFUSED';
  return isPlan && transferStatus === 'failed' && sent.status === 'failed' && isIt;
}

const describe = (value: unknown) => JSON.stringify(value) ?? 'nothing';
