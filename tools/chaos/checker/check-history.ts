import type { Answer, AnswerBody, Attempt, CacheTrouble, Entry, Intent, Operation } from './history.js';
import { UNKNOWN_CREDENTIAL } from './check-access.js';
import { balanceAt, type AccountBook, type Books, type Posting } from './books.js';
import { Floors, type Floor } from './floors.js';
import type { Violations } from './rules.js';

/** The figures of a run. */
export interface Tally {
  operations: number;
  requests: number;
  /** Requests by status; 0: no answer came. */
  readonly byStatus: Map<number, number>;
  /** Postings and openings that were acknowledged by a 201 or a Duplicate. */
  acknowledged: number;
  /** Rejected without any effect. */
  refused: number;
  /** Postings with at least one request whose outcome was unknown … */
  unknown: number;
  /** … and for which a retry with their key showed that they had been applied … */
  resolvedApplied: number;
  /** … or that they had not … */
  resolvedRefused: number;
  /** … or that had no key to retry with, so their caller never learns the outcome. */
  unresolvable: number;
  reads: number;
}

type Post = Extract<Operation, { kind: 'post' }>;
type Balance = Extract<Operation, { kind: 'balance' }>;

/** What is known about an operation so far. */
interface Progress {
  readonly operation: Operation;
  /** Requests that may have been or may still be applied: there is no answer, or none that decides it. */
  open: number;
  unknown: boolean;
  /** A posting by a 201 or a Duplicate, a read by a 200. */
  acknowledged: boolean;
  /** By a 201. */
  created: boolean;
  /** The account rejected it after all earlier requests had ended, or because another request has used its key. */
  refusedForGood: boolean;
}

/** A request that has no answer yet. */
interface Pending {
  readonly attempt: Attempt;
  readonly progress: Progress;
  readonly floor: Floor;
  /** When it was sent, its key was known to have been used. */
  readonly keyUsed: boolean;
  /** When it was sent, no other request was in flight. */
  readonly quiet: boolean;
}

interface SuspectRead {
  readonly at: number;
  readonly detail: string;
}

/** Checks a history in one pass, in order. At each entry, only the entries before it are known. */
export class HistoryChecker {
  private readonly floors = new Floors();
  private readonly operations = new Map<number, Progress>();
  private readonly pending = new Map<number, Pending>();
  /** Keys that are known to have been used, by account. */
  private readonly usedKeys = new Set<string>();
  /** The newest version that an account may have by now: that of a posting whose first request was sent. */
  private readonly ceilings = new Map<number, number>();
  private readonly suspects: SuspectRead[] = [];
  private quiet = false;
  private readonly troubles: CacheTrouble[] = [];
  private readonly tally: Tally = {
    ...{ operations: 0, requests: 0, acknowledged: 0, refused: 0, unknown: 0 },
    ...{ resolvedApplied: 0, resolvedRefused: 0, unresolvable: 0, reads: 0 },
    byStatus: new Map(),
  };

  constructor(
    private readonly books: Books,
    private readonly violations: Violations,
    private readonly cacheTtlMs: number,
  ) {}

  take(entry: Entry): void {
    switch (entry.entry) {
      case 'intent':
        return this.begin(entry);
      case 'attempt':
        return this.send(entry);
      case 'answer':
        return this.settle(entry);
      case 'cache-trouble':
        return void this.troubles.push(entry);
      case 'quiet':
        this.quiet = true;
        return;
      case 'fault':
      case 'healed':
    }
  }

  /** Call it once the whole history was read. */
  finish(): Tally {
    for (const [op, progress] of this.operations) this.finishOperation(op, progress);
    for (const [amount, postings] of this.books.byOperation) {
      if (!this.operations.has(amount)) this.fail('from-nowhere', `${describe(postings[0])}`);
    }
    for (const { at, detail } of this.suspects) {
      // The contract allows it if the cache was unreachable when the balance was written.
      const excused = this.troubles.some(
        (trouble) => trouble.from <= at && at <= trouble.at + this.cacheTtlMs,
      );
      if (!excused) this.fail('stale-read', detail);
    }
    this.checkMoney();
    return this.tally;
  }

  private begin({ op, operation }: Intent): void {
    this.operations.set(op, {
      operation,
      open: 0,
      unknown: false,
      acknowledged: false,
      created: false,
      refusedForGood: false,
    });
    this.tally.operations += 1;
  }

  private send(attempt: Attempt): void {
    const progress = this.operations.get(attempt.op);
    if (!progress) throw new Error(`attempt ${attempt.attempt} has no intent`);
    const { operation } = progress;
    progress.open += 1;
    this.tally.requests += 1;
    for (const { accountId, version } of this.books.byOperation.get(attempt.op) ?? []) {
      this.ceilings.set(accountId, Math.max(version, this.ceilings.get(accountId) ?? 1));
    }
    const accountId = operation.kind === 'open' ? 0 : operation.accountId;
    const floor = this.floors.at(accountId, attempt.instance);
    const keyUsed = this.isKeyUsed(operation);
    this.pending.set(attempt.attempt, { attempt, progress, floor, keyUsed, quiet: this.quiet });
  }

  private settle(answer: Answer): void {
    const pending = this.pending.get(answer.attempt);
    if (!pending) throw new Error(`answer to ${answer.attempt}, which was not sent`);
    this.pending.delete(answer.attempt);
    const { progress } = pending;
    this.tally.byStatus.set(answer.status, (this.tally.byStatus.get(answer.status) ?? 0) + 1);
    const body = answer.body ?? {};
    if (this.isSettled(answer, pending)) progress.open -= 1;
    else progress.unknown = true;
    // A key that another request has used can never be used by this one.
    const forGood = pending.quiet || body.error === 'Idempotency key reused';
    if (forGood && BY_THE_ACCOUNT.test(`${answer.status}`)) progress.refusedForGood = true;
    switch (progress.operation.kind) {
      case 'open':
        if (answer.status === 201) this.checkOpening(answer.op, body, pending);
        if (answer.status === 409) this.checkOpenedBefore(answer.op, body, pending);
        return;
      case 'post':
        return this.checkPosting(answer, progress.operation, body, pending);
      case 'balance':
        if (answer.status === 200) {
          progress.acknowledged = true;
          this.checkBalance(answer, progress.operation, body, pending);
        }
        return;
      case 'list':
        if (answer.status === 200) this.checkListing(answer.op, progress.operation.accountId, body, pending);
    }
  }

  /**
   * False when the answer leaves open whether the request was applied. Reports answers that the contract does not have.
   */
  private isSettled({ op, status, body, retryAfter }: Answer, { progress }: Pending): boolean {
    const { kind } = progress.operation;
    const writes = kind === 'open' || kind === 'post';
    const error = body?.error ?? '';
    if (status === 0) return !writes;
    if (status === 503 && !retryAfter)
      this.fail('unexpected-answer', `operation ${op}: 503 without Retry-After`);
    if (status === 503 && writes && error === 'Outcome unknown') return false;
    const allowed =
      status === -1 || ACCESS_REFUSED.includes(status) || ALLOWED[kind].includes(`${status} ${error}`);
    if (!allowed) this.fail('unexpected-answer', `operation ${op} (${kind}): ${status} ${error}`);
    return allowed || status < 500;
  }

  private checkOpening(op: number, body: AnswerBody, { progress, attempt }: Pending): void {
    progress.acknowledged = true;
    const book = this.books.accounts.get(body.accountId ?? 0);
    const [first] = book?.postings ?? [];
    const kept = first?.amount === op && first.type === 'credit';
    if (!kept || body.balance !== op || body.version !== 2)
      this.fail('acknowledged-lost', `opening ${op}: ${describe(body)}; in the books: ${describe(first)}`);
    this.floors.acknowledge(body.accountId ?? 0, body.version ?? 0, attempt.instance);
  }

  private checkOpenedBefore(op: number, body: AnswerBody, { progress, attempt }: Pending): void {
    const [first] = this.books.accounts.get(body.accountId ?? 0)?.postings ?? [];
    const what = `opening ${op}: Duplicate of account ${body.accountId}`;
    if (first?.amount !== op || first.type !== 'credit')
      return this.fail('key-forgotten', `${what}, which begins with ${describe(first)}`);
    if (!progress.acknowledged && progress.open === 0)
      this.fail('refused-but-applied', `${what}, though all requests before were refused`);
    progress.acknowledged = true;
    this.floors.acknowledge(first.accountId, first.version, attempt.instance);
  }

  private checkPosting(answer: Answer, post: Post, body: AnswerBody, pending: Pending): void {
    const { op, status } = answer;
    switch (`${status} ${body.error ?? ''}`) {
      case '201 ':
        return this.checkAccepted(op, post, body, pending);
      case '409 Duplicate transaction':
        return this.checkDuplicate(op, post, body, pending);
      case '422 Idempotency key reused': {
        const posting = this.books.byId.get(body.transactionId ?? '');
        if (posting?.key !== post.key || posting?.accountId !== post.accountId || posting.amount === op)
          this.fail('key-forgotten', `operation ${op}: ${describe(body)}, which is ${describe(posting)}`);
        return;
      }
      case '409 Version mismatch':
      case '412 Version mismatch':
        return this.checkMismatch(answer, post, body, pending);
      case '422 Insufficient Balance':
        return this.checkInsufficient(op, post, pending);
      case '408 Server Crashes':
        if ((body.currentVersion ?? 0) > this.ceilingOf(post.accountId))
          this.fail(
            'wrong-refusal',
            `operation ${op}: 408 with version ${body.currentVersion}, which is none yet`,
          );
        return;
      default:
    }
  }

  private checkAccepted(
    op: number,
    post: Post,
    body: AnswerBody,
    { progress, attempt, floor, keyUsed }: Pending,
  ): void {
    const posting = this.books.byId.get(body.id ?? '');
    const kept =
      posting !== undefined &&
      isOf(op, post, posting) &&
      body.type === (post.type === 'credit' ? 'Deposit' : 'Withdraw') &&
      body.amount === op &&
      posting.balance === body.balance &&
      posting.version === body.version;
    const what = `operation ${op}: ${describe(body)}`;
    if (!kept) this.fail('acknowledged-lost', `${what}; in the books: ${describe(posting)}`);
    if (progress.created) this.fail('applied-twice', `${what}, after a 201 before`);
    progress.created = true;
    if (keyUsed) this.fail('key-forgotten', `${what}, though key ${post.key} was used`);
    const version = body.version ?? 0;
    if (version <= floor.strict)
      this.fail('wrong-order', `${what}, but version ${floor.strict} was known before it began`);
    if (post.expectedVersion !== undefined && version !== post.expectedVersion + 1)
      this.fail('version-check', `${what}, though it expected version ${post.expectedVersion}`);
    this.acknowledge(post, progress, version, attempt.instance);
  }

  private checkDuplicate(op: number, post: Post, body: AnswerBody, { progress, attempt }: Pending): void {
    const posting = this.books.byId.get(body.transactionId ?? '');
    const what = `operation ${op}: Duplicate of ${body.transactionId}`;
    if (!posting || !isOf(op, post, posting))
      return this.fail('key-forgotten', `${what}, which is ${describe(posting)}`);
    if (!progress.acknowledged && progress.open === 0)
      this.fail('refused-but-applied', `${what}, though all requests before were refused`);
    this.acknowledge(post, progress, posting.version, attempt.instance);
  }

  private acknowledge(post: Post, progress: Progress, version: number, instance: string): void {
    progress.acknowledged = true;
    if (post.key !== undefined) this.usedKeys.add(keyOf(post));
    this.floors.acknowledge(post.accountId, version, instance);
  }

  private checkMismatch(answer: Answer, post: Post, body: AnswerBody, { floor, keyUsed }: Pending): void {
    const current = body.currentVersion ?? 0;
    const what = `operation ${answer.op}: Version mismatch, current ${current}, expected ${post.expectedVersion}`;
    if (keyUsed) this.fail('key-forgotten', `${what}, though key ${post.key} was used`);
    const possible = current >= floor.strict && current <= this.ceilingOf(post.accountId);
    const asked = answer.status === (post.ifMatch ? 412 : 409);
    if (!possible || !asked || current === post.expectedVersion)
      this.fail('wrong-refusal', `${what}; it had ${floor.strict} to ${this.ceilingOf(post.accountId)}`);
    this.floors.show(post.accountId, current);
  }

  private checkInsufficient(op: number, post: Post, { floor, keyUsed }: Pending): void {
    if (keyUsed)
      this.fail('key-forgotten', `operation ${op}: Insufficient Balance, though key ${post.key} was used`);
    const book = this.books.accounts.get(post.accountId);
    const ceiling = this.ceilingOf(post.accountId);
    for (let version = Math.max(1, floor.strict); book && version <= ceiling; version++) {
      if ((balanceAt(book, version) ?? Infinity) < op) return;
    }
    this.fail(
      'wrong-refusal',
      `operation ${op}: Insufficient Balance, with enough from ${floor.strict} to ${ceiling}`,
    );
  }

  private checkBalance(answer: Answer, read: Balance, body: AnswerBody, { floor, attempt }: Pending): void {
    this.tally.reads += 1;
    const book = this.books.accounts.get(read.accountId);
    const version = body.version ?? 0;
    const what = `operation ${answer.op}, ${attempt.instance}, account ${read.accountId}: version ${version}`;
    if (!this.wasPossible(book, read.accountId, version, body.balance))
      this.fail('wrong-read', `${what}, balance ${body.balance}`);
    const least = Math.max(floor.own, read.minVersion ?? 0, read.noCache ? floor.strict : 0);
    if (version < least) this.fail('stale-read', `${what}, ${least} was known before it began`);
    else if (version < floor.acknowledged) {
      const detail = `${what}, ${floor.acknowledged} was acknowledged before it began`;
      this.suspects.push({ at: answer.at, detail });
    }
    if (read.final && version !== book?.version)
      this.fail('cache-differs', `${what}, the database's is ${book?.version}`);
    if (read.noCache) this.floors.show(read.accountId, version);
  }

  private checkListing(op: number, accountId: number, body: AnswerBody, { floor }: Pending): void {
    this.tally.reads += 1;
    const book = this.books.accounts.get(accountId);
    const rows = body.rows ?? [];
    const what = `operation ${op}: the listing of account ${accountId}`;
    let next = rows[0]?.version ?? 1;
    if (next < floor.strict)
      this.fail('stale-read', `${what} begins with ${next}, ${floor.strict} was known`);
    for (const row of rows) {
      const posting = book?.postings[row.version - 2];
      const same =
        posting?.id === row.id &&
        posting.amount === row.amount &&
        posting.balance === row.balance &&
        (posting.type === 'credit' ? 'Deposit' : 'Withdraw') === row.type;
      if (!same || row.version !== next) return this.fail('wrong-read', `${what} has ${describe(row)}`);
      next -= 1;
    }
    if (rows.length < LISTED_AT_MOST && next > 1)
      this.fail('wrong-read', `${what} ends before version ${next}`);
  }

  private finishOperation(op: number, progress: Progress): void {
    const { operation } = progress;
    if (operation.kind === 'balance' && operation.final && !progress.acknowledged)
      this.fail('cache-differs', `operation ${op}: account ${operation.accountId} can't be read at the end`);
    if (operation.kind !== 'post' && operation.kind !== 'open') return;
    const postings = this.books.byOperation.get(op) ?? [];
    const [posting] = postings;
    if (postings.length > 1) this.fail('applied-twice', `operation ${op}: ${describe(postings)}`);
    if (posting && operation.kind === 'post' && !isOf(op, operation, posting))
      this.fail('from-nowhere', `${describe(posting)} is not what operation ${op} asked for`);
    if (posting && !progress.acknowledged && progress.open === 0)
      this.fail('refused-but-applied', `operation ${op}: ${describe(posting)}`);
    if (posting && !progress.acknowledged && progress.refusedForGood)
      this.fail(
        'key-forgotten',
        `operation ${op} was refused at the end; in the books: ${describe(posting)}`,
      );
    this.count(op, progress, operation);
  }

  private count(op: number, progress: Progress, operation: Operation): void {
    if (progress.acknowledged) this.tally.acknowledged += 1;
    else if (!progress.unknown) this.tally.refused += 1;
    if (!progress.unknown) return;
    this.tally.unknown += 1;
    if (progress.acknowledged) this.tally.resolvedApplied += 1;
    else if (!('key' in operation) || operation.key === undefined) this.tally.unresolvable += 1;
    else if (progress.refusedForGood) this.tally.resolvedRefused += 1;
    else this.fail('unresolved', `operation ${op}, key ${operation.key}`);
  }

  private checkMoney(): void {
    let asked = 0;
    for (const [op, { operation }] of this.operations) {
      const applied = (this.books.byOperation.get(op) ?? []).length > 0;
      if (applied) asked += operation.kind === 'post' && operation.type === 'debit' ? -op : op;
    }
    const held = [...this.books.accounts.values()].reduce((sum, { balance }) => sum + balance, 0);
    if (held !== asked) this.fail('money-created', `the bank holds ${held}, it was given ${asked}`);
  }

  private wasPossible(
    book: AccountBook | undefined,
    accountId: number,
    version: number,
    balance?: number,
  ): boolean {
    return book !== undefined && version <= this.ceilingOf(accountId) && balanceAt(book, version) === balance;
  }

  private ceilingOf(accountId: number): number {
    return this.ceilings.get(accountId) ?? 1;
  }

  private isKeyUsed(operation: Operation): boolean {
    return operation.kind === 'post' && operation.key !== undefined && this.usedKeys.has(keyOf(operation));
  }

  private fail(rule: Parameters<Violations['add']>[0], detail: string): void {
    this.violations.add(rule, detail);
  }
}

/** The most rows that a listing reads, over all pages. */
const LISTED_AT_MOST = 40;
/** Rejections that follow from the account or its keys. (A Duplicate counts as acknowledged before this is used.) */
const BY_THE_ACCOUNT = /^(409|412|422)$/;
/** Statuses that the access checker deals with. */
const ACCESS_REFUSED: readonly number[] = [401, 403, 404];
const READ_ANSWERS = ['200 ', '408 Server Crashes', '503 Overloaded', UNKNOWN_CREDENTIAL];
const ALLOWED: Readonly<Record<Operation['kind'], readonly string[]>> = {
  balance: READ_ANSWERS,
  list: READ_ANSWERS,
  open: [
    ...['201 ', '409 Duplicate account', '408 Server Crashes', '503 Overloaded', '503 Outcome unknown'],
    UNKNOWN_CREDENTIAL,
  ],
  post: [
    ...['201 ', '409 Duplicate transaction', '409 Version mismatch', '412 Version mismatch'],
    ...['422 Insufficient Balance', '422 Idempotency key reused', '408 Server Crashes', '503 Overloaded'],
    UNKNOWN_CREDENTIAL,
  ],
};

function isOf(op: number, post: Post, posting: Posting): boolean {
  return (
    posting.amount === op &&
    posting.accountId === post.accountId &&
    posting.type === post.type &&
    posting.key === post.key
  );
}

function keyOf({ accountId, key }: Post): string {
  return `${accountId} ${key}`;
}

function describe(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
