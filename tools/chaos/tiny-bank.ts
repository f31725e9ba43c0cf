import type { CallAnswer } from './caller.js';
import {
  operationOf,
  type ArrivedTransfer,
  type Posting,
  type Rows,
  type SentTransfer,
} from './checker/books.js';
import {
  accountsOf,
  commandKeyOf,
  keyAccountOf,
  ownAccountsOf,
  isBetweenShards,
  isCommand,
  type AnswerBody,
  type AnsweredLeg,
  type Capture,
  type Change,
  type Command,
  type Entry,
  type Follow,
  type Operation,
  type Refusal,
  type Reverse,
  type ReverseTransfer,
  type Submittable,
  type Transfer,
} from './checker/history.js';
import { failedTransferEvent, refusalEvent, type Arrival } from './checker/check-events.js';
import { wordFor } from './checker/parts.js';
import { claimOf } from './checker/states.js';
import { announce, changeEvent } from './tiny-events.js';

interface State {
  readonly owner: string;
  balance: number;
  held: number;
  version: number;
  overdraftLimit: number;
  status: string;
  revision: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

type HoldState = Mutable<Rows['holds'][number]>;

/** A movement that a command makes if every account can bear it. */
interface Movement {
  readonly accountId: number;
  readonly type: string;
  readonly amount: number;
  readonly holdId?: string;
  readonly reverses?: string;
  readonly inTransfer?: boolean;
  /** Undefined: the transfer that its command makes. */
  readonly transferId?: string;
}

/** What goes to another shard: step 1, before it has an id. */
interface Outgoing {
  readonly to: number;
  readonly amount: number;
  /** Undefined: it captures a hold. */
  readonly hold?: Movement;
  readonly captured?: HoldState;
  /** Of a reversal: the debit whose money comes back. */
  readonly reversedDebit?: string;
}

/** What the reversal of a transfer between shards claims. */
interface PaidBack {
  readonly amount: number;
  /** The credit. */
  readonly reverses: string;
  readonly reversedDebit: string;
}

/** A transfer to another shard that is known to both, and what its last steps need. */
type Sent = Mutable<SentTransfer> & {
  readonly final: boolean;
  readonly reverses: string | undefined;
  readonly reversedDebit: string | undefined;
};

const EPOCH_MS = 1_800_000_000_000;
const STEP_MS = 40;

/** The most obvious bank: one command after the other, in memory. It writes its history and keeps its books. */
export class TinyBank {
  readonly history: Entry[] = [{ at: 0, entry: 'start', epochMs: EPOCH_MS }];
  readonly versions = new Map<number, number>();
  readonly revisions = new Map<number, number>();
  /** Its events. */
  arrivals: Arrival[] = [];
  private accounts = new Map<number, State>();
  private postings: Posting[] = [];
  private holds = new Map<string, HoldState>();
  private events: Rows['events'][number][] = [];
  /** Account and key → the operation that used it, and its first answer. */
  private keys = new Map<string, { readonly op: number; readonly body: AnswerBody }>();
  /** What was accepted and is still to be decided, in order. */
  private readonly queue: { readonly op: number; readonly command: Submittable }[] = [];
  /** By account and key. */
  private readonly refusals = new Map<string, Recorded>();
  /** Transfers to other shards, and what their targets have decided. */
  private readonly sent = new Map<string, Sent>();
  private readonly arrived: ArrivedTransfer[] = [];
  /** Transactions that do not tell their operation. */
  private unnamed = new Set<string>();
  private now = 0;
  private operations = 0;
  private attempts = 0;

  constructor(private readonly shards = 1) {}

  /** Carries out an operation. */
  do(operation: Operation): { readonly op: number; readonly answer: CallAnswer } {
    const op = ++this.operations;
    this.history.push({ at: this.now, entry: 'intent', op, operation });
    return { op, answer: this.again(op, operation) };
  }

  /** Accepts a command, to be decided later. @returns the request that asks what became of it */
  submit(command: Submittable): Follow {
    const op = ++this.operations;
    this.history.push({ at: this.now, entry: 'intent', op, operation: command });
    this.again(op, command, true);
    return { kind: 'follow', of: op, submitted: command, submissionId: `submission-${op}` };
  }

  /** Decides what was accepted first, if anything is left. */
  decideNext(): void {
    const { op, command } = this.queue.shift() ?? {};
    if (op === undefined || command === undefined) return;
    this.now += STEP_MS;
    const owner = ownerOf(op, command);
    const key = commandKeyOf(command);
    const isTheirs = owner === undefined || this.state(keyAccountOf(command)).owner === owner;
    if (!isTheirs || this.keys.has(key) || this.refusals.has(key)) return;
    const { status, ...body } = this.asSeenBy(owner, command, () => this.command(op, command));
    const time = EPOCH_MS + this.now;
    if (status < 300) return;
    this.refusals.set(key, { op, time, refusal: { status, body } });
    const refusal = this.rows().refusals.at(-1) as Rows['refusals'][number];
    this.arrivals.push({ id: refusal.id, ...refusalEvent(refusal) });
  }

  /** Decides all of it. */
  decideAll(): void {
    while (this.queue.length > 0) this.decideNext();
  }

  /** Sends another request of an operation. */
  again(op: number, operation: Operation, async?: true): CallAnswer {
    const attempt = ++this.attempts;
    const owner = ownerOf(op, operation);
    const sender = owner ?? 'service';
    const instance = 'api-1#1';
    this.history.push({ at: this.now, entry: 'attempt', op, attempt, instance, sender, owner, async });
    this.now += STEP_MS;
    const { status, ...body } = async
      ? this.accept(op, operation as Submittable)
      : this.asSeenBy(owner, operation, () => this.answerTo(op, operation));
    this.now += STEP_MS;
    this.history.push({ at: this.now, entry: 'answer', op, attempt, status, body });
    const [accountId] = accountsOf(operation);
    if (body.version !== undefined && accountId !== undefined) this.versions.set(accountId, body.version);
    if (body.revision !== undefined && accountId !== undefined) this.revisions.set(accountId, body.revision);
    return { status, ...body };
  }

  /** Carries out commands together, or none of them. */
  together(commands: readonly Command[]): CallAnswer[] {
    const items = commands.map((command) => ({ op: ++this.operations, attempt: ++this.attempts, command }));
    const batch = items[0]?.attempt;
    for (const { op, command } of items)
      this.history.push({ at: this.now, entry: 'intent', op, operation: command });
    const sent = { entry: 'attempt', instance: 'api-1#1', sender: 'service', batch, atomic: true } as const;
    for (const { op, attempt } of items) this.history.push({ at: this.now, op, attempt, ...sent });
    this.now += STEP_MS;
    const { accounts, postings, holds, events, keys, arrivals, unnamed } = this;
    const before = structuredClone({ accounts, postings, holds, events, keys, arrivals, unnamed });
    const decided = items.map(({ op, command }) => this.command(op, command));
    const stopped = decided.find(({ status }) => status >= 300);
    if (stopped) Object.assign(this, before);
    this.now += STEP_MS;
    return decided.map((answer, place) => {
      const isKept = !stopped || answer === stopped || answer.error?.startsWith('Duplicate ');
      const { status, ...body } = isKept ? answer : refused(424, 'Not applied');
      const { op = 0, attempt = 0 } = items[place] ?? {};
      this.history.push({ at: this.now, entry: 'answer', op, attempt, status, body });
      return { status, ...body };
    });
  }

  /** Takes the last steps of the transfer to another shard that has been pending for the longest time, if any is. */
  settleNext(): boolean {
    const next = [...this.sent.values()].find(({ status }) => status === 'pending');
    if (next) this.settle(next);
    return next !== undefined;
  }

  /** The end of holds that are due. */
  sweep(): void {
    for (const accountId of this.accounts.keys()) this.expireDue(accountId);
  }

  rows(): Rows {
    return {
      accounts: [...this.accounts].map(([accountId, state]) => ({ accountId, ...state })),
      postings: this.postings
        .filter((posting) => posting !== NO_POSTING)
        .toSorted((a, b) => a.accountId - b.accountId || a.version - b.version)
        .map((posting) => (this.unnamed.has(posting.id) ? { ...posting, op: undefined } : posting)),
      sent: [...this.sent.values()],
      arrived: this.arrived,
      events: this.events,
      holds: [...this.holds.values()],
      refusals: [...this.refusals].map(([name, { op, time, refusal }]) => {
        const [accountId = '', key = ''] = name.split(' ');
        const code = codeOf(refusal.body.error);
        return { id: `refusal${op}`, accountId: Number(accountId), key, code, time };
      }),
      unpublished: 0,
    };
  }

  private accept(op: number, command: Submittable): CallAnswer {
    this.queue.push({ op, command });
    return { status: 202, id: `submission-${op}`, submission: 'queued' };
  }

  /** Of accounts of other owners, an owner learns only that they got money or refused it. */
  private asSeenBy(owner: string | undefined, operation: Operation, answer: () => CallAnswer): CallAnswer {
    if (owner === undefined) return answer();
    const isForeign = (accountId: number) => this.state(accountId).owner !== owner;
    const foreign = ownAccountsOf(operation).filter(isForeign);
    if (
      operation.kind === 'read-transfer' ? foreign.length === operation.accountIds.length : foreign.length > 0
    )
      return refused(404, 'Account not found');
    const { legs, ...seen } = answer();
    const { accountId, error } = seen;
    if (error !== undefined && accountId !== undefined && isForeign(accountId))
      return refused(422, 'Counterparty refused', { accountId, members: ['error', 'accountId'] });
    const hide = (leg: AnsweredLeg) => {
      const { id, type, amount } = leg;
      return isForeign(leg.accountId) ? ({ id, type, amount, accountId: leg.accountId } as AnsweredLeg) : leg;
    };
    return legs ? { ...seen, legs: legs.map(hide) } : seen;
  }

  private answerTo(op: number, operation: Operation): CallAnswer {
    if (isCommand(operation)) return this.command(op, operation);
    switch (operation.kind) {
      case 'open': {
        const accountId = this.accounts.size + 1;
        const state = { balance: 0, held: 0, version: 1, overdraftLimit: 0, status: 'open', revision: 0 };
        this.accounts.set(accountId, { ...state, owner: operation.owner ?? OWNER });
        this.post(op, undefined, [{ accountId, type: 'credit', amount: op }]);
        return { status: 201, accountId, balance: op, version: 2 };
      }
      case 'follow':
        return { status: 200, ...this.becomeOf(operation) };
      case 'balance': {
        const { balance, version } = this.state(operation.accountId);
        return { status: 200, balance, version };
      }
      case 'list':
        return { status: 200, rows: this.listing(operation.accountId) };
      case 'read-hold':
        return { status: 200, ...this.holdBody(operation.holdId) };
      case 'read-transfer':
        return { status: 200, ...this.transferBody(operation.transferId) };
      case 'change':
        return this.change(operation);
    }
  }

  private command(op: number, command: Command): CallAnswer {
    const keyed = commandKeyOf(command);
    const used = command.key === undefined ? undefined : this.keys.get(keyed);
    if (used) return this.repeat(op, used);
    const recorded = command.key === undefined ? undefined : this.refusals.get(keyed);
    if (recorded) return this.refusedBefore(op, recorded);
    const problem = this.problem(command);
    if (problem) return problem;
    if (isBetweenShards(command, this.shards)) return this.send(op, command as Transfer);
    const decided = this.decide(op, command);
    if ('error' in decided) return decided;
    const movements = decided as readonly Movement[];
    const poor = movements.find(({ accountId, type, amount }) => this.lacks(accountId, type, amount));
    if (poor && movements.every(({ type }) => type !== 'release')) {
      if (!('force' in command && command.force === true))
        return refused(422, 'Insufficient Balance', { accountId: poor.accountId });
      this.raiseLimits(movements);
    }
    if ('dryRun' in command && command.dryRun) return { status: 200, version: 1 };
    const body = this.post(op, command, movements);
    if (command.key !== undefined) this.keys.set(keyed, { op, body });
    return { status: command.kind === 'void' ? 200 : 201, ...body };
  }

  private repeat(op: number, used: { readonly op: number; readonly body: AnswerBody }): CallAnswer {
    const own = this.postings.find((posting) => posting.op === used.op && posting.key !== undefined);
    const sent = [...this.sent.values()].find((one) => one.op === used.op);
    if (sent && used.op === op)
      return this.outcomeOf(sent, refused(409, 'Duplicate transfer', { transferId: sent.id }));
    if (sent) return refused(422, 'Idempotency key reused', { transferId: sent.id });
    if (used.op !== op) return refused(422, 'Idempotency key reused', { transactionId: own?.id });
    if (own?.transferId !== undefined)
      return refused(409, 'Duplicate transfer', { transferId: own.transferId });
    if (own?.type === 'hold') return refused(409, 'Duplicate hold', { holdId: own.holdId });
    return refused(409, 'Duplicate transaction', { transactionId: own?.id });
  }

  private refusedBefore(op: number, { op: its, refusal }: Recorded): CallAnswer {
    if (its !== op) return refused(422, 'Idempotency key reused');
    return { status: refusal.status, ...refusal.body };
  }

  private becomeOf({ of, submitted }: Follow): AnswerBody {
    const key = commandKeyOf(submitted);
    const used = this.keys.get(key);
    const recorded = this.refusals.get(key);
    if (used?.op === of) {
      const { id, transferId } = this.postings.find(({ op }) => op === of) as Posting;
      if (submitted.kind === 'hold')
        return { submission: 'posted', ...this.holdBody(id.replace('txn', 'hold')) };
      return { submission: 'posted', ...(transferId ? this.transferBody(transferId) : used.body) };
    }
    if (!used && !recorded) return { submission: 'queued' };
    const { status, ...body } = used ? this.repeat(of, used) : this.refusedBefore(of, recorded as Recorded);
    return { submission: 'refused', refusal: { status, body } };
  }

  /** The version and the statuses. */
  private problem(command: Command): CallAnswer | undefined {
    const [first] = accountsOf(command);
    const { version } = this.state(first as number);
    if (
      'expectedVersion' in command &&
      command.expectedVersion !== undefined &&
      command.expectedVersion !== version
    )
      return refused('ifMatch' in command && command.ifMatch ? 412 : 409, 'Version mismatch', {
        currentVersion: version,
      });
    return undefined;
  }

  private decide(op: number, command: Command): readonly Movement[] | CallAnswer {
    switch (command.kind) {
      case 'post':
        return this.allowed([{ accountId: command.accountId, type: command.type, amount: op }]);
      case 'transfer':
        return this.allowed(
          command.accountIds.map((accountId, place, { length }) => ({
            ...{ accountId, type: place < length / 2 ? 'debit' : 'credit', amount: op, inTransfer: true },
          })),
        );
      case 'hold':
        return this.allowed([{ accountId: command.accountId, type: 'hold', amount: op }]);
      case 'capture':
        return this.captured(command);
      case 'void': {
        const hold = this.activeHold(command.holdId);
        if ('error' in hold) return hold;
        const { accountId, remaining } = hold as HoldState;
        return [{ accountId, type: 'release', amount: remaining, holdId: command.holdId }];
      }
      case 'reverse':
        return this.reversed(command);
      case 'reverse-transfer':
        return this.reversedTransfer(command);
    }
  }

  /** The movements, if the statuses of their accounts allow them. */
  private allowed(movements: readonly Movement[]): readonly Movement[] | CallAnswer {
    for (const { accountId, type, holdId } of movements) {
      const { status } = this.state(accountId);
      if (status === 'closed') return refused(422, 'Account closed', { accountId });
      if (status === 'frozen' && type !== 'release') return refused(422, 'Account frozen', { accountId });
      const isNew = type !== 'credit' && type !== 'release' && holdId === undefined;
      if (status === 'debits_blocked' && isNew) return refused(422, 'Debits blocked', { accountId });
    }
    return movements;
  }

  private activeHold(holdId: string, isEnded = true): HoldState | CallAnswer {
    const hold = this.holds.get(holdId) as HoldState;
    const holdStatus = this.statusOf(hold);
    if (holdStatus !== 'active') return refused(409, 'Hold not active', { holdStatus });
    const { capturing, remaining } = hold;
    return capturing > 0 && (isEnded || capturing === remaining) ? refused(409, 'Hold being captured') : hold;
  }

  private captured({ holdId, amount: wanted, final, to }: Capture): readonly Movement[] | CallAnswer {
    const hold = this.activeHold(holdId, final);
    if ('error' in hold) return hold;
    const { accountId, remaining, capturing } = hold as HoldState;
    const amount = wanted ?? remaining - capturing;
    if (amount > remaining - capturing) return refused(422, 'Hold exceeded');
    const inTransfer = to !== undefined;
    const moved = this.allowed([
      { accountId, type: 'debit', amount, holdId, inTransfer },
      ...(inTransfer ? [{ accountId: to, type: 'credit', amount, inTransfer }] : []),
    ]);
    if (!Array.isArray(moved)) return moved;
    return [
      { accountId, type: 'release', amount: final ? remaining : amount, holdId },
      ...(moved as readonly Movement[]),
    ];
  }

  private leftOf({ id, amount }: Posting): number {
    const reversals = this.postings.filter(({ reverses }) => reverses === id);
    return reversals.reduce((left, reversal) => left - claimOf(reversal), amount);
  }

  private reversed({ transactionId, amount }: Reverse): readonly Movement[] | CallAnswer {
    const original = this.postings.find(({ id }) => id === transactionId) as Posting;
    const { accountId, type, transferId, reverses } = original;
    if (transferId !== undefined) return refused(409, 'Part of a transfer', { transferId });
    if (reverses !== undefined) return refused(422, 'Not reversible');
    const left = this.leftOf(original);
    if (left === 0 || (amount ?? 0) > left) return refused(422, 'Reversal exceeded');
    return this.allowed([
      { accountId, type: opposite(type), amount: amount ?? left, reverses: transactionId },
    ]);
  }

  private reversedTransfer({ transferId, amount }: ReverseTransfer): readonly Movement[] | CallAnswer {
    const legs = this.legsOf(transferId);
    if (legs.length > 2 && amount !== undefined) return refused(422, 'Not reversible in part');
    if (legs.some(({ reverses }) => reverses !== undefined)) return refused(422, 'Not reversible');
    const left = this.leftOf(legs[0] as Posting);
    if (left === 0 || (amount ?? 0) > left) return refused(422, 'Reversal exceeded');
    return this.allowed(
      legs.map(({ id, accountId, type }) => ({
        ...{ accountId, type: opposite(type), amount: amount ?? left, reverses: id, inTransfer: true },
      })),
    );
  }

  private legsOf(transferId: string): Posting[] {
    const legs = this.postings.filter((one) => one.transferId === transferId && one.type !== 'hold');
    return this.sent.has(transferId) ? legs.reverse() : legs;
  }

  /** Begins a transfer to another shard, and usually finishes it. */
  private send(op: number, command: Transfer | Capture | ReverseTransfer): CallAnswer {
    const asked = this.outgoing(op, command);
    if ('error' in asked) return asked;
    const { to, amount, hold, captured } = asked as Outgoing;
    const target = this.allowed([{ accountId: to, type: 'credit', amount }]);
    if (!Array.isArray(target)) return target as CallAnswer;
    if ('dryRun' in command && command.dryRun) return { status: 200, version: 1 };
    const [accountId = 0] = accountsOf(command);
    const id = `tr${this.postings.length + 1}`;
    if (hold) this.post(op, command, [{ ...hold, transferId: id }]);
    // A capture has no transaction at first, but its id is drawn like one.
    else this.postings.push(NO_POSTING);
    const holdId = captured?.id ?? id.replace('tr', 'hold');
    const final = !captured || (command as Capture).final;
    const source = this.holds.get(holdId) as HoldState;
    source.capturing = final ? source.remaining : source.capturing + amount;
    const sent: Sent = {
      ...{ id, nonce: `nonce-${op}`, accountId, to, amount, holdId, op, createdAt: EPOCH_MS + this.now },
      ...{ status: 'pending', creditId: undefined, failure: undefined },
      ...{ final, reverses: hold?.reverses },
      ...{ key: captured ? command.key : undefined, reversedDebit: (asked as Outgoing).reversedDebit },
    };
    this.sent.set(id, sent);
    if (command.key !== undefined) this.keys.set(commandKeyOf(command), { op, body: {} });
    if (op % LEFT_PENDING !== 0) this.settle(sent);
    return this.outcomeOf(sent, { status: 201, ...this.transferBody(id) });
  }

  private outgoing(op: number, command: Transfer | Capture | ReverseTransfer): Outgoing | CallAnswer {
    const [accountId = 0, to = 0] = accountsOf(command);
    if (command.kind === 'capture') {
      const movements = this.captured(command);
      if (!Array.isArray(movements)) return movements as CallAnswer;
      const amount = (movements as Movement[]).find(({ type }) => type === 'debit')?.amount ?? 0;
      return { to, amount, captured: this.holds.get(command.holdId) };
    }
    const back = command.kind === 'reverse-transfer' ? this.paidBack(command) : undefined;
    if (back && 'error' in back) return back;
    const { amount = op, reverses, reversedDebit } = (back ?? {}) as Partial<PaidBack>;
    const hold = { accountId, type: 'hold', amount, reverses };
    const decided = this.allowed([hold]);
    if (!Array.isArray(decided)) return decided as CallAnswer;
    if (this.lacks(accountId, 'hold', amount)) {
      if (!('force' in command)) return refused(422, 'Insufficient Balance', { accountId });
      this.raiseLimits([hold]);
    }
    return { to, amount, hold, reversedDebit };
  }

  private paidBack({ transferId, amount }: ReverseTransfer): PaidBack | CallAnswer {
    const sent = this.sent.get(transferId) as Sent;
    if (sent.status !== 'completed') return refused(409, 'Transfer not completed');
    const [debit, credit] = this.legsOf(transferId) as [Posting, Posting];
    if (credit.reverses !== undefined) return refused(422, 'Not reversible');
    const left = this.leftOf(credit);
    if (left === 0 || (amount ?? 0) > left) return refused(422, 'Reversal exceeded');
    return { amount: amount ?? left, reverses: credit.id, reversedDebit: debit.id };
  }

  /** The target decides, and the source carries it out. */
  private settle(sent: Sent): void {
    const { id, nonce, accountId, to, amount, holdId, op, reverses } = sent;
    const decided = this.allowed([{ accountId: to, type: 'credit', amount }]);
    const isAllowed = Array.isArray(decided);
    const creditId = isAllowed ? `txn${this.postings.length + 1}` : undefined;
    const failure = isAllowed ? undefined : codeOf((decided as CallAnswer).error);
    const decision = { creditId, failure, decidedAt: EPOCH_MS + this.now };
    this.arrived.push({ id, nonce, accountId: to, from: accountId, amount, ...decision });
    const common = { accountId, amount, holdId, reverses };
    if (isAllowed)
      this.post(op, undefined, [
        { accountId: to, type: 'credit', amount, transferId: id, reverses: sent.reversedDebit },
      ]);
    const hold = this.holds.get(holdId) as HoldState;
    hold.capturing = sent.final ? 0 : hold.capturing - amount;
    Object.assign(sent, { status: isAllowed ? 'completed' : 'failed', creditId, failure });
    if (!isAllowed && holdId === id.replace('tr', 'hold'))
      this.post(op, undefined, [{ ...common, type: 'release' }]);
    if (!isAllowed) return void this.arrivals.push({ id, ...failedTransferEvent(sent) });
    const released = sent.final ? hold.remaining : amount;
    this.post(op, undefined, [
      { ...common, type: 'release', amount: released },
      { ...common, type: 'debit', transferId: id },
    ]);
  }

  /** @param completed the answer if it is */
  private outcomeOf(
    { id, status, accountId, to, amount, failure = '' }: Sent,
    completed: CallAnswer,
  ): CallAnswer {
    if (status === 'completed') return completed;
    if (status === 'failed') return refused(422, wordsOf(failure), { accountId: to });
    const legs: AnsweredLeg[] = [
      { accountId, type: 'Withdraw', amount },
      { accountId: to, type: 'Deposit', amount },
    ];
    return { status: 202, id, transferStatus: 'pending', legs };
  }

  private lacks(accountId: number, type: string, amount: number): boolean {
    const isShort = () => {
      const { balance, held, overdraftLimit } = this.state(accountId);
      return balance - held + overdraftLimit < amount;
    };
    if (type !== 'debit' && type !== 'hold') return false;
    if (isShort()) this.expireDue(accountId);
    return isShort();
  }

  /** As far as forced debits need it. */
  private raiseLimits(movements: readonly Movement[]): void {
    for (const { accountId, type, amount } of movements) {
      if (!this.lacks(accountId, type, amount)) continue;
      const { balance, held } = this.state(accountId);
      this.setState(accountId, { overdraftLimit: amount - balance + held });
    }
  }

  private expireDue(accountId: number): void {
    for (const hold of this.holds.values()) {
      if (hold.accountId !== accountId || !this.isDue(hold)) continue;
      this.post(undefined, undefined, [
        { accountId, type: 'release', amount: hold.remaining, holdId: hold.id },
      ]);
      hold.status = 'expired';
    }
  }

  private isDue = (hold: HoldState): boolean =>
    hold.status === 'active' && hold.capturing === 0 && this.statusOf(hold) === 'expired';

  private statusOf = ({ status, expiresAt }: HoldState): string =>
    status === 'active' && (expiresAt ?? Infinity) <= EPOCH_MS + this.now ? 'expired' : status;

  /** Applies movements. @returns what the answer to their command says */
  private post(
    op: number | undefined,
    command: Command | undefined,
    movements: readonly Movement[],
  ): AnswerBody {
    const posted: Posting[] = [];
    const transferNumber = this.postings.length + 1 + movements.findIndex(({ inTransfer }) => inTransfer);
    for (const { accountId, type, amount, holdId, reverses, inTransfer, transferId } of movements) {
      const state = this.state(accountId);
      if (type === 'credit' || type === 'debit') state.balance += type === 'credit' ? amount : -amount;
      else state.held += type === 'hold' ? amount : -amount;
      state.version += 1;
      const id = this.postings.length + 1;
      const isKeyed =
        command?.kind === 'capture' ? type === 'debit' : accountId === (command && accountsOf(command)[0]);
      const posting = {
        ...{ id: `txn${id}`, accountId, type, amount, balance: state.balance, held: state.held },
        ...{ version: state.version, time: EPOCH_MS + this.now, reverses },
        key: isKeyed ? command?.key : undefined,
        transferId: inTransfer ? `tr${transferNumber}` : transferId,
        holdId: type === 'hold' ? `hold${id}` : holdId,
      };
      const reference = op === undefined || command?.kind === 'post' ? undefined : `op-${op}`;
      posted.push({ ...posting, op: operationOf(posting, reference) });
      if (command === undefined && type === 'release') this.unnamed.add(posting.id);
      this.postings.push(posted.at(-1) as Posting);
      this.setHold(command, posting, movements);
    }
    const between = this.sent.get(posted.at(-1)?.transferId ?? '');
    const legs = between && posted.at(-1)?.type === 'debit' ? this.legsOf(between.id) : undefined;
    this.arrivals.push(...announce(posted, this.holds, between ? (legs ?? []) : undefined));
    return this.bodyOf(command, posted);
  }

  private setHold(
    command: Command | undefined,
    posting: Omit<Posting, 'op'>,
    movements: readonly Movement[],
  ): void {
    const { holdId, accountId, type, amount, time } = posting;
    if (holdId === undefined) return;
    if (type === 'hold') {
      const seconds = command?.kind === 'hold' ? command.expiresInSeconds : undefined;
      const expiresAt = seconds === undefined ? undefined : time + seconds * 1_000;
      const fresh = {
        id: holdId,
        accountId,
        amount,
        remaining: amount,
        captured: 0,
        capturing: 0,
        status: 'active',
        expiresAt,
      };
      this.holds.set(holdId, fresh);
      return;
    }
    const hold = this.holds.get(holdId) as HoldState;
    if (type === 'debit') hold.captured += amount;
    if (type !== 'release') return;
    hold.remaining -= amount;
    if (hold.remaining === 0) hold.status = movements.length > 1 ? 'captured' : 'voided';
  }

  private bodyOf(command: Command | undefined, posted: readonly Posting[]): AnswerBody {
    if (command?.kind === 'void') return this.holdBody(command.holdId);
    const own = posted.find(({ type }) => type !== 'release');
    if (!own) return {};
    if (own.transferId !== undefined) return this.transferBody(own.transferId);
    const { id, accountId, type, amount, balance, version, held } = own;
    if (command?.kind === 'hold') return { ...this.holdBody(id.replace('txn', 'hold')), held, version };
    return { id, accountId, type: wordFor(type), amount, balance, version };
  }

  private holdBody(holdId: string): AnswerBody {
    const hold = this.holds.get(holdId) as HoldState;
    const { id, accountId, amount, remaining, captured, status } = hold;
    return { id, accountId, amount, remaining, captured, holdStatus: this.isDue(hold) ? 'expired' : status };
  }

  private transferBody(transferId: string): AnswerBody {
    const sent = this.sent.get(transferId);
    if (sent && sent.status !== 'completed') {
      const { id, legs } = this.outcomeOf({ ...sent, status: 'pending' }, { status: 0 });
      return { id, legs, transferStatus: sent.status, failure: sent.failure };
    }
    const legs = this.legsOf(transferId);
    return {
      ...{ id: transferId, transferStatus: 'completed' },
      legs: legs.map((leg) => ({ ...rowOf(leg), accountId: leg.accountId })),
    };
  }

  private listing(accountId: number) {
    const all = this.postings.filter((posting) => posting.accountId === accountId).reverse();
    return all.slice(0, 40).map(rowOf);
  }

  private change({ accountId, status, overdraftLimit, ifRevision }: Change): CallAnswer {
    const state = this.state(accountId);
    const { revision } = state;
    if (ifRevision !== undefined && ifRevision !== revision)
      return refused(412, 'Revision mismatch', { currentRevision: revision });
    if (state.status === 'closed' && status !== 'closed') return refused(422, 'Account closed');
    if (status === 'closed' || overdraftLimit !== undefined) this.expireDue(accountId);
    const { balance, held } = state;
    if (status === 'closed' && (balance !== 0 || held !== 0)) return refused(422, 'Account not empty');
    if (balance - held + (overdraftLimit ?? state.overdraftLimit) < 0)
      return refused(422, 'Overdraft in use');
    const made = {
      status: status === state.status ? undefined : status,
      overdraftLimit: overdraftLimit === state.overdraftLimit ? undefined : overdraftLimit,
    };
    if (made.status !== undefined || made.overdraftLimit !== undefined) this.setState(accountId, made);
    return { status: 200, revision: state.revision };
  }

  private setState(accountId: number, made: { status?: string; overdraftLimit?: number }): void {
    const state = this.state(accountId);
    state.revision += 1;
    state.status = made.status ?? state.status;
    state.overdraftLimit = made.overdraftLimit ?? state.overdraftLimit;
    const { revision } = state;
    this.events.push({
      ...{ accountId, time: EPOCH_MS + this.now, revision },
      ...{ status: made.status, overdraftLimit: made.overdraftLimit },
    });
    this.arrivals.push(changeEvent(accountId, revision, made));
  }

  private state(accountId: number): State {
    return this.accounts.get(accountId) as State;
  }
}

const OWNER = 'chaos';
/** Of one transfer to another shard in so many, only the first step is taken at once. */
const LEFT_PENDING = 3;
/** What a capture for another shard takes an id for. */
const NO_POSTING = { id: 'none', accountId: 0, amount: 0 } as Posting;

/** Like ACCOUNT_FROZEN. */
const codeOf = (error = '') => error.toUpperCase().replaceAll(' ', '_');
const wordsOf = (code: string) => code.charAt(0) + code.slice(1).toLowerCase().replaceAll('_', ' ');

interface Recorded {
  readonly op: number;
  readonly time: number;
  readonly refusal: Refusal;
}

/** The owner to whom the sender of an operation is bound. */
function ownerOf(op: number, operation: Operation): string | undefined {
  if (operation.kind === 'follow') return ownerOf(operation.of, operation.submitted);
  return isOfTheBank(operation) || op % 2 === 0 ? undefined : OWNER;
}

/** What no sender who is bound to an owner may do. */
const isOfTheBank = (operation: Operation) =>
  operation.kind === 'change' ||
  (operation.kind === 'open' && operation.owner !== undefined) ||
  ('force' in operation && operation.force === true);

const opposite = (type: string) => (type === 'credit' ? 'debit' : 'credit');

const rowOf = ({ id, type, amount, balance, version }: Posting) => ({
  ...{ id, type: wordFor(type), amount, balance, version },
});

const refused = (status: number, error: string, more: AnswerBody = {}): CallAnswer => ({
  status,
  error,
  ...more,
});
