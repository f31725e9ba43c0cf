import { Checker } from './checker.js';
import { transferKeyOf, type Books } from './books.js';
import {
  commandKeyOf,
  isCommand,
  ownAccountsOf,
  type Answer,
  type AnswerBody,
  type Attempt,
  type Operation,
} from './history.js';
import { CLOCK_SLACK_MS, statusesIn } from './states.js';
import type { Span } from './span.js';

/**
 * Checks what senders who are bound to an owner may do with accounts of other owners: pay into them, and nothing else.
 */
export class OwnerChecker extends Checker {
  private readonly attempts = new Map<number, Attempt>();
  /** Operations that some sender was allowed to send. */
  private readonly permitted = new Set<number>();

  protected override begin(attempt: Attempt): void {
    const operation = this.operations.get(attempt.op);
    if (!operation) return;
    this.attempts.set(attempt.attempt, attempt);
    if (!isForbidden(operation, attempt, this.books)) this.permitted.add(attempt.op);
  }

  protected override settle(answer: Answer): void {
    const operation = this.operations.get(answer.op);
    if (operation) this.checkAnswer(answer, operation);
  }

  override finish(): void {
    for (const [op, operation] of this.operations)
      if (!this.permitted.has(op) && this.books.byOperation.has(op))
        this.fail(
          `operation ${op} ${JSON.stringify(operation)} is in the books, and nobody who sent it may do it`,
        );
  }

  private checkAnswer(answer: Answer, operation: Operation): void {
    const { op, attempt: number, status, body = {} } = answer;
    const attempt = this.attempts.get(number);
    if (!attempt || status <= 0) return;
    const what = `operation ${op} ${JSON.stringify(operation)} by ${attempt.sender}: ${status} ${JSON.stringify(body)}`;
    if (isForbidden(operation, attempt, this.books)) {
      // It may be accepted: whose the account is matters when it is decided.
      const isTold = body.submission === 'queued' || body.submission === 'refused';
      // In an atomic batch, another item may be what stops it.
      if (!isTold && ![404, 408, 424, 503].includes(status))
        this.fail(`${what}, though an account is another owner's`);
      return;
    }
    // A leg that is only planned has no state to tell of.
    for (const { accountId, balance, version, held } of body.legs?.filter(({ id }) => id !== undefined) ??
      []) {
      const isTold = [balance, version, held].some((value) => value !== undefined);
      // While the other shard is down, it can't be told whose its account is.
      if (!isTold && operation.kind === 'read-transfer' && this.books.sent.has(operation.transferId))
        continue;
      if (isTold === this.isForeign(accountId, attempt))
        this.fail(`${what} ${isTold ? 'tells' : 'hides'} the state of account ${accountId}`);
    }
    const refusal = body.refusal ?? { status, body };
    if ([409, 422].includes(refusal.status))
      this.checkRefusal(what, refusal.body, attempt, this.spansOf(answer, attempt, operation));
  }

  /** When the request may have been decided. What was accepted may have been refused before. */
  private spansOf({ at }: Answer, attempt: Attempt, operation: Operation): Span[] {
    const span = (from: number, to: number) => ({ from: from - CLOCK_SLACK_MS, to: to + CLOCK_SLACK_MS });
    const command = operation.kind === 'follow' ? operation.submitted : operation;
    const recorded = isCommand(command) ? this.books.refusals.get(commandKeyOf(command)) : undefined;
    const request = span(this.epochMs + attempt.at, this.epochMs + at);
    const times = [recorded?.time, ...this.decisionsOf(attempt.op)];
    return [request, ...times.flatMap((time) => (time === undefined ? [] : [span(time, time)]))];
  }

  /** When other shards decided about the transfers of an operation. */
  private decisionsOf(op: number): (number | undefined)[] {
    const { sentBy, arrived } = this.books;
    return (sentBy.get(op) ?? []).map((one) => arrived.get(transferKeyOf(one))?.decidedAt);
  }

  /** Of another owner's account, a refusal tells that it refused, and that must be true. */
  private checkRefusal(what: string, body: AnswerBody, attempt: Attempt, spans: readonly Span[]): void {
    const { accountId, error, members = [] } = body;
    const isForeign = accountId !== undefined && this.isForeign(accountId, attempt);
    if ((error === 'Counterparty refused') !== isForeign) return this.fail(`${what} tells the wrong thing`);
    if (!isForeign) return;
    if (members.some((name) => name !== 'error' && name !== 'accountId')) this.fail(`${what} tells more`);
    const book = this.books.accounts.get(accountId);
    const statuses = spans.flatMap((span) => (book ? statusesIn(book, span) : []));
    if (!statuses.some((status) => status === 'frozen' || status === 'closed'))
      this.violations.add('wrong-refusal', `${what}, but the account was ${statuses.join()}`);
  }

  private isForeign(accountId: number, { owner }: Attempt): boolean {
    return owner !== undefined && this.books.accounts.get(accountId)?.owner !== owner;
  }

  private fail(detail: string): void {
    this.violations.add('foreign-account', detail);
  }
}

/** Whether an operation needs an account that is not its sender's. */
export function isForbidden(operation: Operation, { owner }: Attempt, { accounts }: Books): boolean {
  if (owner === undefined) return false;
  const foreign = ownAccountsOf(operation).filter((accountId) => accounts.get(accountId)?.owner !== owner);
  // Whoever has one account of a transfer may see it.
  if (operation.kind === 'read-transfer') return foreign.length === operation.accountIds.length;
  return foreign.length > 0;
}
