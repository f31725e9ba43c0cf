import { Checker } from './checker.js';
import type { AccountBook, AccountEvent, Posting } from './books.js';
import type { Answer, Attempt, Change } from './history.js';
import type { Violations } from './rules.js';
import { CLOCK_SLACK_MS } from './states.js';
import type { Span } from './span.js';

/** One request of a change. */
interface Request {
  readonly op: number;
  readonly change: Change;
  readonly sentAt: number;
  answer?: Answer;
}

/**
 * Checks the changes of accounts that are no transactions: each was asked for, or is the raised overdraft limit of a
 * forced reversal; and those that expect a revision follow it.
 */
export class ChangeChecker extends Checker {
  private readonly requests = new Map<number, Request>();

  override finish(): void {
    const byAccount = Map.groupBy(this.requests.values(), ({ change }) => change.accountId);
    for (const [accountId, book] of this.books.accounts) {
      const requests = byAccount.get(accountId) ?? [];
      this.checkOrigins(accountId, book, requests);
      for (const request of requests) this.checkRevision(book, request);
      this.checkWinners(requests);
    }
  }

  protected override begin({ op, attempt, at }: Attempt): void {
    const operation = this.operations.get(op);
    if (operation?.kind === 'change') this.requests.set(attempt, { op, change: operation, sentAt: at });
  }

  protected override settle(answer: Answer): void {
    const request = this.requests.get(answer.attempt);
    if (request) request.answer = answer;
  }

  /** Each event comes from one request that may have made it, or from one forced reversal. */
  private checkOrigins(accountId: number, book: AccountBook, requests: readonly Request[]): void {
    const left = new Set(requests.filter(mayHaveMade));
    const forced = new Set(book.postings.filter((posting) => this.isForced(posting)));
    for (const event of book.events) {
      const raised = [...forced].find((posting) => isRaisedFor(posting, event, book));
      if (raised) {
        forced.delete(raised);
        continue;
      }
      const able = [...left].filter((request) => this.canMake(request, event));
      // One that expects a revision can make no other event; and the one that ends first has the least choice.
      const origin =
        able.find(({ change }) => change.ifRevision !== undefined) ??
        able.sort((a, b) => this.windowOf(a).to - this.windowOf(b).to)[0];
      if (origin) left.delete(origin);
      else this.fail('from-nowhere', `a change of account ${accountId}: ${JSON.stringify(event)}`);
    }
  }

  /** A reversal of a transfer between shards claims the money with a hold. */
  private isForced({ op, type, reverses, transferId = '' }: Posting): boolean {
    const operation = this.operations.get(op ?? 0);
    const claims = this.books.sent.has(transferId) ? 'hold' : 'debit';
    return type === claims && reverses !== undefined && operation !== undefined && 'force' in operation;
  }

  private canMake(request: Request, event: AccountEvent): boolean {
    const { from, to } = this.windowOf(request);
    const { ifRevision = event.revision - 1 } = request.change;
    return (
      makes(request.change, event) &&
      ifRevision === event.revision - 1 &&
      from <= event.time &&
      event.time <= to
    );
  }

  /** A revision that an answer tells was the account's at some moment of the request, and the right one. */
  private checkRevision(book: AccountBook, request: Request): void {
    const { op, change, answer } = request;
    const told = answer?.body?.revision ?? answer?.body?.currentRevision;
    const what = `operation ${op} ${JSON.stringify(change)}: ${JSON.stringify(answer?.body)}`;
    if (told !== undefined && !this.hadRevision(book, told, request))
      this.fail('revision-check', `${what}, a revision that the account did not have`);
    if (answer?.body?.error === 'Revision mismatch' && (told === undefined || told === change.ifRevision))
      this.fail('wrong-refusal', what);
    if (answer?.status !== 200 || change.ifRevision === undefined) return;
    if (!this.hadRevision(book, change.ifRevision, request))
      this.fail('revision-check', `${what}, though the account had another revision`);
    const next = book.events[change.ifRevision];
    if (needsEvent(change, book) && !(next && this.canMake(request, next)))
      this.fail('revision-check', `${what}, but the next change is ${JSON.stringify(next)}`);
  }

  /** Of those that expect one revision and change something, at most one is accepted. */
  private checkWinners(requests: readonly Request[]): void {
    const winners = new Map<number, Request>();
    for (const request of requests) {
      const { ifRevision } = request.change;
      const book = this.books.accounts.get(request.change.accountId);
      if (request.answer?.status !== 200 || ifRevision === undefined || !book) continue;
      if (!needsEvent(request.change, book)) continue;
      const other = winners.get(ifRevision);
      if (other)
        this.fail(
          'revision-check',
          `operations ${other.op} and ${request.op} both changed revision ${ifRevision}`,
        );
      winners.set(ifRevision, request);
    }
  }

  private hadRevision({ events }: AccountBook, revision: number, request: Request): boolean {
    const { from, to } = this.windowOf(request);
    const since = revision === 0 ? -Infinity : (events[revision - 1]?.time ?? Infinity);
    const until = events[revision]?.time ?? Infinity;
    return since <= to && until >= from;
  }

  /** When a request may have been carried out: without a clear answer, at any later time. */
  private windowOf({ sentAt, answer }: Request): Span {
    const isOver = answer !== undefined && answer.status !== 0 && answer.status !== 503;
    return {
      from: this.epochMs + sentAt - CLOCK_SLACK_MS,
      to: isOver ? this.epochMs + answer.at + CLOCK_SLACK_MS : Infinity,
    };
  }

  private fail(rule: Parameters<Violations['add']>[0], detail: string): void {
    this.violations.add(rule, detail);
  }
}

function mayHaveMade({ answer }: Request): boolean {
  const { status = 0, body } = answer ?? {};
  return status === 200 || status === 0 || (status === 503 && body?.error === 'Outcome unknown');
}

const makes = ({ status, overdraftLimit }: Change, event: AccountEvent): boolean =>
  event.status === status && event.overdraftLimit === overdraftLimit;

/** Whether the change of an account with the revision that it expects makes another one of it. */
function needsEvent({ ifRevision, status, overdraftLimit }: Change, { events }: AccountBook): boolean {
  const before = events.slice(0, ifRevision);
  const { status: had = 'open' } = before.findLast((event) => event.status !== undefined) ?? {};
  const { overdraftLimit: limit = 0 } = before.findLast((event) => event.overdraftLimit !== undefined) ?? {};
  return (status ?? had) !== had || (overdraftLimit ?? limit) !== limit;
}

/** Whether a limit is raised for a forced debit, in its commit: as far as needed and no further. */
function isRaisedFor(
  { balance, held, time }: Posting,
  { revision, status, overdraftLimit = 0, time: changedAt }: AccountEvent,
  { events }: AccountBook,
): boolean {
  const before = events.slice(0, revision - 1).findLast((event) => event.overdraftLimit !== undefined);
  return (
    status === undefined &&
    changedAt === time &&
    overdraftLimit === held - balance &&
    overdraftLimit > (before?.overdraftLimit ?? 0)
  );
}
