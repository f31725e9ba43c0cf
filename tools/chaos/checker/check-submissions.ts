import { Checker } from './checker.js';
import type { RecordedRefusal } from './books.js';
import { isForbidden } from './check-owners.js';
import {
  accountsOf,
  commandKeyOf,
  keyAccountOf,
  keyOf,
  type Answer,
  type AnswerBody,
  type Attempt,
  type Follow,
  type Operation,
  type Refusal,
  type Submittable,
} from './history.js';
import { isPossible, isReused, type Window } from './refusals.js';
import type { Rule } from './rules.js';
import { CLOCK_SLACK_MS, spanOf } from './states.js';

/** A command that was sent to be decided later. */
interface Submission {
  readonly op: number;
  readonly command: Submittable;
  /** Its first request. */
  readonly attempt: Attempt;
  /** By account: the newest version that what was accepted before its first request has made. */
  readonly floors: ReadonlyMap<number, number>;
  accepted: boolean;
  /** It was also sent to be decided at once, before it was known to be decided, and may have overtaken others. */
  overtakes: boolean;
  outcome: Outcome | undefined;
  /** Requests that were to be decided at once. */
  readonly repeats: { readonly sent: Attempt; readonly answer: Answer }[];
}

/** What was told of a submission that was decided. */
interface Outcome {
  /** Undefined: it was posted. */
  readonly refusal: Refusal | undefined;
  /** Requests with a higher number were sent after it was known. */
  readonly since: number;
}

/**
 * Checks what was accepted before it was decided: it is posted or refused, once, in the order of its acceptance on each
 * account, and what is told of it never changes.
 */
export class SubmissionChecker extends Checker {
  private readonly submissions = new Map<number, Submission>();
  private readonly attempts = new Map<number, Attempt>();
  /** Account → the newest version that anything accepted so far has made. */
  private readonly floors = new Map<number, number>();
  private lastAttempt = 0;

  override finish(): void {
    for (const submission of this.submissions.values()) {
      this.checkDecided(submission);
      this.checkOrder(submission);
      for (const repeat of submission.repeats) this.checkRepeat(submission, repeat);
    }
    this.checkRecords();
  }

  protected override begin(attempt: Attempt): void {
    const { op, async } = attempt;
    const operation = this.operations.get(op) as Operation;
    this.attempts.set(attempt.attempt, attempt);
    this.lastAttempt = attempt.attempt;
    const submission = this.submissions.get(op);
    if (submission && !async && !submission.outcome) submission.overtakes = true;
    if (submission || !async) return;
    const floors = new Map(accountsOf(operation).map((id) => [id, this.floors.get(id) ?? 0]));
    const state = { accepted: false, overtakes: false, outcome: undefined, repeats: [] };
    this.submissions.set(op, { op, command: operation as Submittable, attempt, floors, ...state });
  }

  protected override settle(answer: Answer): void {
    const { op, attempt, status, body = {} } = answer;
    const sent = this.attempts.get(attempt) as Attempt;
    this.attempts.delete(attempt);
    const operation = this.operations.get(op) as Operation;
    if (operation.kind === 'follow' && status === 200) return this.learn(operation, body, attempt);
    const submission = this.submissions.get(op);
    if (!submission) return;
    if (status === 202) this.accept(submission);
    else if (!sent.async) submission.repeats.push({ sent, answer });
  }

  private accept(submission: Submission): void {
    submission.accepted = true;
    for (const { accountId, version } of this.books.byOperation.get(submission.op) ?? [])
      this.floors.set(accountId, Math.max(version, this.floors.get(accountId) ?? 0));
  }

  /** @param asked the number of the request */
  private learn({ of }: Follow, { submission: told, refusal }: AnswerBody, asked: number): void {
    const submission = this.submissions.get(of) as Submission;
    const { outcome } = submission;
    const what = `operation ${of} is ${told} ${describe(refusal)}`;
    if (told === 'queued') {
      if (outcome && outcome.since < asked) this.fail('decided-twice', `${what} after it was decided`);
      return;
    }
    if (outcome && describe(outcome.refusal) !== describe(refusal))
      this.fail('decided-twice', `${what}, and was told to be otherwise: ${describe(outcome.refusal)}`);
    if (outcome) return;
    submission.outcome = { refusal, since: this.lastAttempt };
    if (told !== 'posted' && !refusal) this.fail('unexpected-answer', `${what}, and nothing else`);
    if (refusal) this.checkRefusal(submission, refusal);
  }

  /** A refusal is recorded, unless the key is another request's, and was true when it was recorded. */
  private checkRefusal({ op, command, attempt }: Submission, { status, body }: Refusal): void {
    const { refusals } = this.books;
    const recorded = refusals.get(commandKeyOf(command));
    const what = `operation ${op} ${describe(command)} was refused ${status} ${describe(body)}`;
    if (body.error === 'Idempotency key reused') {
      if (!isReused(op, command, body, this.books)) this.fail('wrong-refusal', what);
    } else if (!recorded) this.fail('refusal-forgotten', `${what}, which is not recorded`);
    else if (isForbidden(command, attempt, this.books)) {
      if (status !== 404) this.fail('foreign-account', `${what}, though an account is another owner's`);
    } else if (!this.wasTrue(op, command, body, recorded))
      this.fail('wrong-refusal', `${what} at ${recorded.time - this.epochMs}`);
  }

  private wasTrue(op: number, command: Submittable, body: AnswerBody, { time }: RecordedRefusal): boolean {
    // Whether it is true of another owner's account is checked elsewhere.
    if (body.error === 'Counterparty refused') return true;
    const span = { from: time - CLOCK_SLACK_MS, to: time + CLOCK_SLACK_MS };
    const window: Window = { span, versionsOf: (accountId) => this.versionsIn(accountId, span) };
    if (body.error !== 'Version mismatch') return isPossible(op, command, body, window, this.books);
    const { currentVersion } = body;
    const hadIt = window.versionsOf(keyAccountOf(command)).some((version) => version === currentVersion);
    return hadIt && currentVersion !== command.expectedVersion;
  }

  private versionsIn(accountId: number, { from, to }: Window['span']): number[] {
    const book = this.books.accounts.get(accountId);
    if (!book) return [];
    const versions = Array.from({ length: book.postings.length + 1 }, (_, index) => index + 1);
    return versions.filter((version) => {
      const span = spanOf(book, version);
      return span.from <= to && span.to >= from;
    });
  }

  private checkDecided({ op, command, attempt, accepted, outcome }: Submission): void {
    const isPosted = this.books.byOperation.has(op);
    const what = `operation ${op} ${describe(command)}`;
    if (isPosted && outcome?.refusal)
      this.fail(
        'decided-twice',
        `${what} is in the books, though it was refused: ${describe(outcome.refusal)}`,
      );
    // Nothing is told of an account of another owner.
    if (!accepted || outcome || isForbidden(command, attempt, this.books)) return;
    this.fail('never-decided', `${what}: it is ${isPosted ? '' : 'not '}in the books`);
  }

  private checkOrder({ op, command, floors, overtakes }: Submission): void {
    if (overtakes) return;
    for (const { accountId, version } of this.books.byOperation.get(op) ?? []) {
      const floor = floors.get(accountId) ?? 0;
      if (version > floor) continue;
      const what = `operation ${op} ${describe(command)} made version ${version} of account ${accountId}`;
      this.fail('wrong-order', `${what}; what made version ${floor} was accepted before it was sent`);
    }
  }

  /** Once a refusal is recorded, a repeat that is decided is answered with it. */
  private checkRepeat(
    { op, command, outcome }: Submission,
    { sent, answer }: Submission['repeats'][number],
  ): void {
    const recorded = this.books.refusals.get(commandKeyOf(command));
    if (!outcome?.refusal || !recorded || !IS_DECIDED.includes(answer.status)) return;
    if (this.epochMs + sent.at <= recorded.time + CLOCK_SLACK_MS) return;
    const { status, body = {} } = answer;
    if (describe({ status, body }) !== describe(outcome.refusal))
      this.fail(
        'refusal-forgotten',
        `operation ${op} was refused ${describe(outcome.refusal)}, and its repeat is answered ${status} ${describe(body)}`,
      );
  }

  /** Every record is of a key that was submitted by one who may use its account, and that nothing else has used. */
  private checkRecords(): void {
    const posted = new Set(
      [...this.books.byId.values()].flatMap(({ accountId, key }) => (key ? keyOf(accountId, key) : [])),
    );
    const submitted = Map.groupBy(this.submissions.values(), ({ command }) => commandKeyOf(command));
    for (const [key, recorded] of this.books.refusals) {
      const all = submitted.get(key) ?? [];
      const what = `a refusal of key ${recorded.key} on account ${recorded.accountId} is recorded`;
      if (posted.has(key)) this.fail('decided-twice', `${what}, and a transaction has it`);
      if (all.length === 0) this.fail('from-nowhere', `${what}, and nobody submitted it`);
      else if (all.every(({ command, attempt }) => !this.isOwn(keyAccountOf(command), attempt)))
        this.fail('foreign-account', `${what}, which is another owner's`);
    }
  }

  private isOwn(accountId: number, { owner }: Attempt): boolean {
    return owner === undefined || this.books.accounts.get(accountId)?.owner === owner;
  }

  private fail(rule: Rule, detail: string): void {
    this.violations.add(rule, detail);
  }
}

/** Answers that tell what became of a request. */
const IS_DECIDED: readonly number[] = [200, 201, 404, 409, 412, 422];

const describe = (value: unknown) => (value === undefined ? '' : JSON.stringify(value));
