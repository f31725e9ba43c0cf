import {
  accountsOf,
  isCommand,
  commandKeyOf,
  isBetweenShards,
  keyAccountOf,
  type Answer,
  type AnswerBody,
  type Attempt,
  type CacheTrouble,
  type Change,
  type Command,
  type Entry,
  type Follow,
  type Intent,
  type Open,
  type Operation,
  type ReadBalance,
} from './history.js';
import { UNKNOWN_CREDENTIAL } from './check-access.js';
import {
  balanceAt,
  isExpiry,
  type AccountBook,
  type Books,
  type Posting,
  type SentTransfer,
} from './books.js';
import { isRefusalOf, wasTransfer } from './check-transfers.js';
import { Floors, type Floor } from './floors.js';
import { checkParts, isSame, netOf, wordFor } from './parts.js';
import { hasChanged, isPossible, isReused, REFUSALS, wasHold, type Window } from './refusals.js';
import type { Violations } from './rules.js';
import { CLOCK_SLACK_MS } from './states.js';

/** The figures of a run. */
export interface Tally {
  operations: number;
  requests: number;
  /** Requests by status; 0: no answer came. */
  readonly byStatus: Map<number, number>;
  /** Postings and openings that were acknowledged by a 201 or a Duplicate. */
  acknowledged: number;
  /** Commands that were accepted before they were decided … */
  submitted: number;
  /** … and then refused. */
  refusedLater: number;
  /** Rejected without any effect. */
  refused: number;
  /** Transfers to other shards that were completed … */
  sent: number;
  /** … that their target refused … */
  sentInVain: number;
  /** … and answers that told that one is pending. */
  toldPending: number;
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

/** What is known about an operation so far. */
interface Progress {
  readonly operation: Operation;
  /** Requests that may have been or may still be applied: there is no answer, or none that decides it. */
  open: number;
  /** Whether it was accepted before it was decided. */
  submitted: boolean;
  unknown: boolean;
  /** A command by its success or a Duplicate, a read by a 200. */
  acknowledged: boolean;
  /** By its success. */
  created: boolean;
  /** The account rejected it after all earlier requests had ended, or because another request has used its key. */
  refusedForGood: boolean;
}

/** A request that has no answer yet. */
interface Pending {
  readonly attempt: Attempt;
  readonly progress: Progress;
  /** By account. */
  readonly floors: ReadonlyMap<number, Floor>;
  /** When it was sent, its key was known to have been used. */
  readonly keyUsed: boolean;
  /** When it was sent, no other request was in flight. */
  readonly quiet: boolean;
  /** Whether it was decided on accounts as earlier items of its batch leave them, even if none is applied. */
  readonly supposes: boolean;
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
  /** Batch and account → the version that its items have reached. */
  private readonly batches = new Map<string, number>();
  /** Atomic batch → the accounts of its items so far. */
  private readonly supposed = new Map<number, Set<number>>();
  private readonly suspects: SuspectRead[] = [];
  /** The ends of holds that have expired, the latest first: they move versions with nobody acting. */
  private readonly expiries: Posting[];
  private epochMs = 0;
  private quiet = false;
  private readonly troubles: CacheTrouble[] = [];
  private readonly tally: Tally = {
    ...{ operations: 0, requests: 0, acknowledged: 0, submitted: 0, refusedLater: 0, refused: 0, unknown: 0 },
    ...{ resolvedApplied: 0, resolvedRefused: 0, unresolvable: 0, reads: 0 },
    ...{ sent: 0, sentInVain: 0, toldPending: 0 },
    byStatus: new Map(),
  };

  constructor(
    private readonly books: Books,
    private readonly violations: Violations,
    private readonly cacheTtlMs: number,
  ) {
    this.expiries = [...books.byId.values()].filter(isExpiry).sort((a, b) => b.time - a.time);
  }

  take(entry: Entry): void {
    this.raiseByExpiries(entry.at);
    switch (entry.entry) {
      case 'start':
        this.epochMs = entry.epochMs;
        return;
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
    for (const [op, postings] of this.books.byOperation) {
      const asked = this.operations.get(op)?.operation;
      if (!asked || !isWrite(asked)) this.fail('from-nowhere', `${describe(postings[0])}`);
    }
    for (const posting of this.books.byId.values()) {
      if (posting.op === undefined && !isExpiry(posting)) this.fail('from-nowhere', describe(posting));
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
      submitted: false,
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
    for (const posting of this.postingsOf(attempt.op)) this.raise(posting);
    const floors = new Map(
      accountsOf(operation).map((accountId) => [accountId, this.floors.at(accountId, attempt.instance)]),
    );
    const keyUsed = this.isKeyUsed(operation);
    const supposes = this.supposes(attempt, accountsOf(operation));
    this.pending.set(attempt.attempt, { attempt, progress, floors, keyUsed, quiet: this.quiet, supposes });
  }

  private supposes({ batch, atomic }: Attempt, accountIds: readonly number[]): boolean {
    if (batch === undefined || atomic !== true) return false;
    const earlier = this.supposed.get(batch) ?? new Set();
    const concerned = accountIds.some((accountId) => earlier.has(accountId));
    this.supposed.set(batch, new Set([...earlier, ...accountIds]));
    return concerned;
  }

  private raise({ accountId, version }: Posting): void {
    this.ceilings.set(accountId, Math.max(version, this.ceilings.get(accountId) ?? 1));
  }

  /** The sweeper, or a command that needs the money, may have ended what has expired by now. */
  private raiseByExpiries(at: number): void {
    const nowMs = this.epochMs + at + CLOCK_SLACK_MS;
    while ((this.expiries.at(-1)?.time ?? Infinity) <= nowMs) this.raise(this.expiries.pop() as Posting);
  }

  private settle(answer: Answer): void {
    const pending = this.pending.get(answer.attempt);
    if (!pending) throw new Error(`answer to ${answer.attempt}, which was not sent`);
    this.pending.delete(answer.attempt);
    const { progress } = pending;
    this.tally.byStatus.set(answer.status, (this.tally.byStatus.get(answer.status) ?? 0) + 1);
    const body = answer.body ?? {};
    if (this.isSettled(answer, pending)) progress.open -= 1;
    else if (answer.status === ACCEPTED) progress.submitted = true;
    else progress.unknown = true;
    // A key that another request has used can never be used by this one.
    const forGood = pending.quiet || body.error === 'Idempotency key reused';
    const isRefused = BY_THE_ACCOUNT.test(`${answer.status}`) || answer.status === 404;
    if (forGood && isRefused) progress.refusedForGood = true;
    this.checkAnswer(answer, progress.operation, body, pending);
  }

  private checkAnswer(answer: Answer, operation: Operation, body: AnswerBody, pending: Pending): void {
    const { op, status } = answer;
    if (isCommand(operation)) return this.checkCommand(answer, operation, body, pending);
    switch (operation.kind) {
      case 'open':
        if (status === 201) this.checkOpening(op, body, pending);
        if (status === 409) this.checkOpenedBefore(op, body, pending);
        return;
      case 'follow':
        if (status === 200) this.checkFollow(answer, operation, body, pending);
        // That it is another owner's is checked elsewhere.
        if (status === 404) this.progressOf(operation).refusedForGood = true;
        return;
      case 'balance':
        if (status === 200) this.checkBalance(answer, operation, body, pending);
        return;
      case 'list':
        if (status === 200) this.checkListing(op, operation.accountId, body, pending);
        return;
      case 'read-hold':
      case 'read-transfer':
        if (status === 200) this.checkRead(answer, operation, body, pending);
        return;
      case 'change':
        return this.checkChange(answer, operation, body, pending);
    }
  }

  /**
   * False when the answer leaves open whether the request was applied. Reports answers that the contract does not have.
   */
  private isSettled({ op, status, body, retryAfter }: Answer, { progress, attempt }: Pending): boolean {
    const { kind } = progress.operation;
    const writes = isWrite(progress.operation) || kind === 'change';
    const error = body?.error ?? '';
    if (status === 0) return !writes;
    if (status === 503 && !retryAfter)
      this.fail('unexpected-answer', `operation ${op}: 503 without Retry-After`);
    if (status === 503 && writes && error === 'Outcome unknown') return false;
    if (status === ACCEPTED && attempt.async && body?.submission === 'queued' && body.id) return false;
    const allowed =
      status === -1 ||
      (status === ACCEPTED && this.maySend(progress.operation)) ||
      ACCESS_REFUSED.includes(status) ||
      ALLOWED[kind].includes(`${status} ${error}`) ||
      (attempt.async === true && error === 'Broker unavailable');
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

  private checkCommand(answer: Answer, command: Command, body: AnswerBody, pending: Pending): void {
    const { op, status } = answer;
    const { error = '' } = body;
    if (status === 201 || status === 200) return this.checkAccepted(answer, command, body, pending);
    if (status === ACCEPTED && !pending.attempt.async) return this.checkBegun(answer, command, body, pending);
    if (status === 409 && error.startsWith('Duplicate '))
      return this.checkDuplicate(op, command, body, pending);
    if (error === 'Idempotency key reused') {
      if (!isReused(op, command, body, this.books))
        this.fail('key-forgotten', `operation ${op} ${describe(command)}: ${describe(body)}`);
      return;
    }
    if (error === 'Server Crashes') {
      if ((body.currentVersion ?? 0) > this.ceilingOf(keyAccountOf(command)))
        this.fail(
          'wrong-refusal',
          `operation ${op}: 408 with version ${body.currentVersion}, which is none yet`,
        );
      return;
    }
    if (!BY_THE_ACCOUNT.test(`${status}`)) return;
    const sent = this.sentBy(op);
    if (sent?.status === 'failed' && isRefusalOf(sent, body)) {
      // Whether it was true, and stays the answer, is checked elsewhere.
      pending.progress.acknowledged = true;
      return;
    }
    if (pending.keyUsed)
      this.fail('key-forgotten', `operation ${op}: ${error}, though key ${command.key} was used`);
    if (['Not applied', 'Counterparty refused'].includes(error) || pending.supposes) return;
    // It may be the recorded one, which was true before.
    if (this.books.refusals.has(commandKeyOf(command))) return;
    if (error === 'Version mismatch') return this.checkMismatch(answer, command, body, pending);
    this.checkRefusal(answer, command, body, pending);
  }

  private checkRefusal(answer: Answer, command: Command | Change, body: AnswerBody, pending: Pending): void {
    const window = this.windowOf(answer, pending);
    if (isPossible(answer.op, command, body, window, this.books)) return;
    const versions = accountsOf(command).map((accountId) => {
      const [first, last] = [window.versionsOf(accountId)[0], window.versionsOf(accountId).at(-1)];
      return `account ${accountId} had versions ${first} to ${last}`;
    });
    this.fail(
      'wrong-refusal',
      `operation ${answer.op} ${describe(command)}: ${describe(body)}, but ${versions.join(', ')}`,
    );
  }

  /** When a request was decided, at the earliest and at the latest. */
  private windowOf({ at }: Answer, { attempt, floors }: Pending): Window {
    return {
      span: {
        from: this.epochMs + attempt.at - CLOCK_SLACK_MS,
        to: this.epochMs + at + CLOCK_SLACK_MS,
      },
      versionsOf: (accountId) => {
        const from = Math.max(1, floors.get(accountId)?.strict ?? 0);
        const length = Math.max(0, this.ceilingOf(accountId) - from + 1);
        return Array.from({ length }, (_, index) => from + index);
      },
    };
  }

  private checkAccepted(answer: Answer, command: Command, body: AnswerBody, pending: Pending): void {
    const { op } = answer;
    const { progress, attempt, floors, keyUsed } = pending;
    if ('dryRun' in command && command.dryRun) return this.checkDryRun(answer, body);
    const postings = this.postingsOf(op);
    const what = `operation ${op}: ${describe(body)}`;
    if (postings.length === 0 || !this.saysWhatIs(body, command, postings))
      this.fail('acknowledged-lost', `${what}; in the books: ${describe(postings)}`);
    if (progress.created) this.fail('applied-twice', `${what}, after a success before`);
    progress.created = true;
    if (keyUsed) this.fail('key-forgotten', `${what}, though key ${command.key} was used`);
    for (const posting of firstOfEach(postings)) {
      const { strict = 0 } = floors.get(posting.accountId) ?? {};
      if (posting.version <= strict)
        this.fail('wrong-order', `${what}, but version ${strict} was known before it began`);
      if (posting.accountId === keyAccountOf(command)) this.checkExpected(what, command, posting);
      if (accountsOf(command).length === 1) this.checkPlace(what, attempt, posting);
    }
    this.acknowledge(command, progress, postings, attempt.instance);
  }

  /** A transfer to another shard is pending: it has begun, so its key is used, and its outcome is not told yet. */
  private checkBegun({ op }: Answer, command: Command, body: AnswerBody, { progress }: Pending): void {
    const sent = this.sentBy(op);
    const what = `operation ${op}: ${describe(body)}`;
    this.tally.toldPending += 1;
    if (!sent || sent.id !== body.id || !wasTransfer(body.id, body, this.books))
      this.fail('acknowledged-lost', `${what} is pending; in the books: ${describe(sent)}`);
    progress.acknowledged = true;
    if (command.key !== undefined) this.usedKeys.add(commandKeyOf(command));
    const [placed] = this.postingsOf(op);
    if (placed?.type === 'hold') this.floors.show(placed.accountId, placed.version);
  }

  /** The transfer to another shard that an operation has begun. */
  private sentBy(op: number): SentTransfer | undefined {
    return this.books.sentBy.get(op)?.[0];
  }

  private maySend(operation: Operation): boolean {
    return isCommand(operation) && isBetweenShards(operation, this.books.shards);
  }

  /**
   * The items of a batch on one account take effect in their order. Those over several accounts may meet a locked row,
   * and then let the others pass.
   */
  private checkPlace(what: string, { batch }: Attempt, { accountId, version }: Posting): void {
    if (batch === undefined) return;
    const place = `${batch} ${accountId}`;
    const reached = this.batches.get(place) ?? 0;
    if (version <= reached)
      this.fail('wrong-order', `${what}, but an earlier item of its batch made version ${reached}`);
    this.batches.set(place, version);
  }

  /** Only the ends of holds that had expired, which the command itself wrote down, may lie between. */
  private checkExpected(what: string, command: Command, { accountId, version, time }: Posting): void {
    if (!('expectedVersion' in command) || command.expectedVersion === undefined) return;
    const book = this.books.accounts.get(accountId);
    const between = book?.postings.slice(command.expectedVersion - 1, version - 2) ?? [];
    const isNext =
      version > command.expectedVersion && between.every((one) => isExpiry(one) && one.time === time);
    if (!isNext) this.fail('version-check', `${what}, though it expected version ${command.expectedVersion}`);
  }

  private checkDryRun({ op, status }: Answer, { id, version, legs }: AnswerBody): void {
    if (status !== 200 || id !== undefined || (version === undefined && legs === undefined))
      this.fail('unexpected-answer', `operation ${op}: a dry run is answered ${status} with id ${id}`);
  }

  /** Whether an answer tells of the transactions that its operation made. */
  private saysWhatIs(body: AnswerBody, command: Command, postings: readonly Posting[]): boolean {
    if (body.legs)
      return wasTransfer(body.id, body, this.books) && body.legs.every((leg) => isAmong(leg, postings));
    if (command.kind === 'void') {
      const hold = this.books.holds.get(command.holdId);
      return body.id === command.holdId && body.holdStatus === 'voided' && hold?.status === 'voided';
    }
    const posting = this.books.byId.get(body.id?.replace('hold', 'txn') ?? '');
    if (!posting || !isAmong(posting, postings)) return false;
    if (command.kind === 'hold')
      return body.amount === posting.amount && body.held === posting.held && body.version === posting.version;
    return (
      wordFor(posting.type) === body.type &&
      posting.amount === body.amount &&
      posting.balance === body.balance &&
      posting.version === body.version
    );
  }

  private checkDuplicate(
    op: number,
    command: Command,
    body: AnswerBody,
    { progress, attempt }: Pending,
  ): void {
    const postings = this.postingsOf(op);
    const { transactionId, transferId, holdId } = body;
    const named = transactionId ?? transferId ?? holdId;
    const what = `operation ${op}: Duplicate of ${named}`;
    const isKeyed = ({ key }: { readonly key: string | undefined }) =>
      key !== undefined && key === command.key;
    const sent = this.sentBy(op);
    const original =
      postings.some(
        (posting) =>
          isKeyed(posting) &&
          (transferId === undefined
            ? posting.id === named?.replace('hold', 'txn')
            : posting.transferId === transferId),
      ) ||
      (sent !== undefined && sent.id === transferId && isKeyed(sent));
    if (!original) return this.fail('key-forgotten', `${what}, but in the books: ${describe(postings)}`);
    if (!progress.acknowledged && progress.open === 0)
      this.fail('refused-but-applied', `${what}, though all requests before were refused`);
    if (!sent) return this.acknowledge(command, progress, postings, attempt.instance);
    // Other processes may have taken its last steps.
    progress.acknowledged = true;
    this.usedKeys.add(commandKeyOf(command));
    for (const { accountId, version } of postings) this.floors.show(accountId, version);
  }

  private acknowledge(
    command: Command,
    progress: Progress,
    postings: readonly Posting[],
    instance: string,
  ): void {
    progress.acknowledged = true;
    if (command.key !== undefined) this.usedKeys.add(commandKeyOf(command));
    for (const { accountId, version } of postings) this.floors.acknowledge(accountId, version, instance);
  }

  /** What became of a command that was accepted. What was refused is checked elsewhere. */
  private checkFollow(answer: Answer, follow: Follow, body: AnswerBody, pending: Pending): void {
    const { of, submitted } = follow;
    this.tally.reads += 1;
    pending.progress.acknowledged = true;
    const progress = this.progressOf(follow);
    if (body.submission === 'refused') progress.refusedForGood = true;
    if (body.submission !== 'posted') return;
    const postings = this.postingsOf(of);
    const hold = this.books.holds.get(body.id ?? '');
    const isMade =
      submitted.kind === 'hold'
        ? hold?.postings[0]?.op === of && wasHold(hold, body, this.windowOf(answer, pending))
        : postings.length > 0 && this.saysWhatIs(body, submitted, postings);
    if (!isMade)
      this.fail(
        'acknowledged-lost',
        `operation ${of} was posted, as operation ${answer.op} is told: ${describe(body)}; in the books: ${describe(postings)}`,
      );
    progress.acknowledged = true;
    this.usedKeys.add(commandKeyOf(submitted));
    for (const { accountId, version } of postings) this.floors.show(accountId, version);
  }

  private progressOf({ of }: Follow): Progress {
    return this.operations.get(of) as Progress;
  }

  private checkMismatch(answer: Answer, command: Command, body: AnswerBody, { floors }: Pending): void {
    const accountId = keyAccountOf(command);
    const expected = 'expectedVersion' in command ? command.expectedVersion : undefined;
    const ifMatch = command.kind === 'post' && command.ifMatch === true;
    const current = body.currentVersion ?? 0;
    const { strict = 0 } = floors.get(accountId) ?? {};
    const ceiling = this.ceilingOf(accountId);
    const possible = current >= strict && current <= ceiling;
    const asked = answer.status === (ifMatch ? 412 : 409);
    if (!possible || !asked || current === expected)
      this.fail(
        'wrong-refusal',
        `operation ${answer.op}: Version mismatch, current ${current}, expected ${expected}; it had ${strict} to ${ceiling}`,
      );
    this.floors.show(accountId, current);
  }

  /** A change has no key, so its account's events alone can tell. What its revision decides is checked elsewhere. */
  private checkChange(answer: Answer, change: Change, body: AnswerBody, pending: Pending): void {
    if (answer.status !== 200) {
      if (answer.status === 422) this.checkRefusal(answer, change, body, pending);
      return;
    }
    pending.progress.acknowledged = true;
    const book = this.books.accounts.get(change.accountId);
    if (!book || !hasChanged(change, book, this.windowOf(answer, pending).span))
      this.fail('acknowledged-lost', `operation ${answer.op} ${describe(change)}: ${describe(book?.events)}`);
  }

  private checkRead(
    answer: Answer,
    read: Extract<Operation, { kind: 'read-hold' | 'read-transfer' }>,
    body: AnswerBody,
    pending: Pending,
  ): void {
    this.tally.reads += 1;
    pending.progress.acknowledged = true;
    const hold = read.kind === 'read-hold' ? this.books.holds.get(read.holdId) : undefined;
    const isRight =
      read.kind === 'read-hold'
        ? hold !== undefined && body.id === hold.id && wasHold(hold, body, this.windowOf(answer, pending))
        : body.id === read.transferId && wasTransfer(read.transferId, body, this.books);
    if (!isRight)
      this.fail(
        'wrong-read',
        `operation ${answer.op} ${describe(read)}: ${describe(body)}; in the books: ${describe(hold)}`,
      );
  }

  private checkBalance(answer: Answer, read: ReadBalance, body: AnswerBody, pending: Pending): void {
    const { floors, attempt, progress } = pending;
    const floor = floors.get(read.accountId) as Floor;
    progress.acknowledged = true;
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

  private checkListing(op: number, accountId: number, body: AnswerBody, { floors }: Pending): void {
    const { strict } = floors.get(accountId) as Floor;
    this.tally.reads += 1;
    const book = this.books.accounts.get(accountId);
    const rows = body.rows ?? [];
    const what = `operation ${op}: the listing of account ${accountId}`;
    let next = rows[0]?.version ?? 1;
    if (next < strict) this.fail('stale-read', `${what} begins with ${next}, ${strict} was known`);
    for (const row of rows) {
      const posting = book?.postings[(row.version ?? 0) - 2];
      if (posting?.id !== row.id || !isSame(row, posting) || row.version !== next)
        return this.fail('wrong-read', `${what} has ${describe(row)}`);
      next -= 1;
    }
    if (rows.length < LISTED_AT_MOST && next > 1)
      this.fail('wrong-read', `${what} ends before version ${next}`);
  }

  private finishOperation(op: number, progress: Progress): void {
    const { operation } = progress;
    if (operation.kind === 'balance' && operation.final && !progress.acknowledged)
      this.fail('cache-differs', `operation ${op}: account ${operation.accountId} can't be read at the end`);
    if (!isWrite(operation)) return;
    const postings = this.postingsOf(op);
    const fault = postings.length === 0 ? undefined : checkParts(op, operation, postings, this.books);
    if (fault) this.fail(fault.rule, fault.detail);
    const isThere = postings.length > 0 && !progress.acknowledged;
    if (
      (isThere && progress.open === 0) ||
      (postings.length > 0 && 'dryRun' in operation && operation.dryRun)
    )
      this.fail('refused-but-applied', `operation ${op}: ${describe(postings)}`);
    if (isThere && progress.refusedForGood)
      this.fail(
        'key-forgotten',
        `operation ${op} was refused at the end; in the books: ${describe(postings)}`,
      );
    this.count(op, progress, operation);
  }

  private count(op: number, progress: Progress, operation: Operation): void {
    if (progress.submitted) {
      this.tally.submitted += 1;
      if (progress.refusedForGood) this.tally.refusedLater += 1;
    }
    const { status } = this.sentBy(op) ?? {};
    if (status === 'completed') this.tally.sent += 1;
    if (status === 'failed') this.tally.sentInVain += 1;
    const isAcknowledged = progress.acknowledged && status !== 'failed';
    if (isAcknowledged) this.tally.acknowledged += 1;
    else if (!progress.unknown) this.tally.refused += 1;
    if (!progress.unknown) return;
    this.tally.unknown += 1;
    if (isAcknowledged) this.tally.resolvedApplied += 1;
    else if (progress.acknowledged) this.tally.resolvedRefused += 1;
    else if (!('key' in operation) || operation.key === undefined) this.tally.unresolvable += 1;
    else if (progress.refusedForGood) this.tally.resolvedRefused += 1;
    else this.fail('unresolved', `operation ${op}, key ${operation.key}`);
  }

  private checkMoney(): void {
    let asked = 0;
    for (const [op, { operation }] of this.operations) {
      const postings = this.postingsOf(op);
      if (postings.length > 0 && isWrite(operation)) asked += netOf(op, operation, postings);
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

  private postingsOf(op: number): readonly Posting[] {
    return this.books.byOperation.get(op) ?? [];
  }

  private isKeyUsed(operation: Operation): boolean {
    return isCommand(operation) && operation.key !== undefined && this.usedKeys.has(commandKeyOf(operation));
  }

  private fail(rule: Parameters<Violations['add']>[0], detail: string): void {
    this.violations.add(rule, detail);
  }
}

const ACCEPTED = 202;
/** The most rows that a listing reads, over all pages. */
const LISTED_AT_MOST = 40;
/** Rejections that follow from the account or its keys. (A Duplicate counts as acknowledged before this is used.) */
const BY_THE_ACCOUNT = /^(409|412|422|424)$/;
/** Statuses that the access checker deals with. */
const ACCESS_REFUSED: readonly number[] = [401, 403, 404];
const READ_ANSWERS = ['200 ', '408 Server Crashes', '503 Overloaded', UNKNOWN_CREDENTIAL];
const FAILURES = ['408 Server Crashes', '503 Overloaded', '503 Outcome unknown', UNKNOWN_CREDENTIAL];
const ALLOWED: Readonly<Record<Operation['kind'], readonly string[]>> = {
  balance: READ_ANSWERS,
  list: READ_ANSWERS,
  follow: READ_ANSWERS,
  'read-hold': READ_ANSWERS,
  'read-transfer': READ_ANSWERS,
  open: ['201 ', '409 Duplicate account', ...FAILURES],
  change: ['200 ', '412 Revision mismatch', ...refusalsOf('change'), ...FAILURES],
  post: [...keyed('post', 'transaction'), '200 ', '409 Version mismatch', '412 Version mismatch'],
  transfer: [...keyed('transfer', 'transfer'), '200 ', '409 Version mismatch'],
  hold: [...keyed('hold', 'hold'), '409 Version mismatch'],
  capture: [...keyed('capture', 'transaction'), '409 Duplicate transfer'],
  void: [...keyed('void', 'transaction'), '200 '],
  reverse: keyed('reverse', 'transaction'),
  'reverse-transfer': keyed('reverse-transfer', 'transfer'),
};

function keyed(kind: Command['kind'], resource: string): string[] {
  return [
    ...['201 ', `409 Duplicate ${resource}`, '422 Idempotency key reused', '424 Not applied'],
    ...refusalsOf(kind),
    ...FAILURES,
  ];
}

function refusalsOf(kind: keyof typeof REFUSALS): string[] {
  const conflicts = [
    'Hold not active',
    'Hold being captured',
    'Part of a transfer',
    'Transfer not completed',
  ];
  return REFUSALS[kind].map((error) => `${conflicts.includes(error) ? 409 : 422} ${error}`);
}

function isWrite(operation: Operation): operation is Command | Open {
  return operation.kind === 'open' || isCommand(operation);
}

/** The first posting of each account. */
function firstOfEach(postings: readonly Posting[]): Posting[] {
  return postings.filter(
    (posting, place) => postings.findIndex(({ accountId }) => accountId === posting.accountId) === place,
  );
}

const isAmong = ({ id }: { readonly id?: string }, postings: readonly Posting[]) =>
  postings.some((posting) => posting.id === id);

function describe(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
