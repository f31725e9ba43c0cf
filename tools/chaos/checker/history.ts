import { closeSync, createReadStream, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

/**
 * An entry in the history of a run: one JSON value per line, in the order of events. The history is all that the
 * workload and the checker share. Times are milliseconds since the run began; amounts are in minor units.
 *
 * Every row in the books names the operation that it came from, with or without an idempotency key: the amount of a
 * plain posting and of an opening is its operation's number, and all rows of other commands have the reference
 * {@link referenceOf}. Transfers and holds are of that amount, too.
 */
export type Entry = Start | Intent | Attempt | Answer | FaultBegan | FaultEnded | CacheTrouble | Quiet;

/** Commands with an idempotency key are alike in this. */
interface Keyed {
  readonly key?: string;
}

/** Money in or out of one account; with `dryRun`, nothing. */
export interface Post extends Keyed {
  readonly kind: 'post';
  readonly accountId: number;
  readonly type: 'credit' | 'debit';
  readonly expectedVersion?: number;
  /** Whether expectedVersion was sent as If-Match. */
  readonly ifMatch?: boolean;
  readonly dryRun?: boolean;
}

/** From the first half of the accounts to the other half, the operation's number from or to each. */
export interface Transfer extends Keyed {
  readonly kind: 'transfer';
  readonly accountIds: readonly number[];
  /** Of the first account. */
  readonly expectedVersion?: number;
  /** Whether the body lists the legs; otherwise it has `from` and `to`. */
  readonly asLegs: boolean;
  readonly dryRun?: boolean;
}

export interface PlaceHold extends Keyed {
  readonly kind: 'hold';
  readonly accountId: number;
  readonly expectedVersion?: number;
  readonly expiresInSeconds?: number;
}

export interface Capture extends Keyed {
  readonly kind: 'capture';
  readonly holdId: string;
  /** That of the hold. */
  readonly accountId: number;
  /** Undefined: all that remains. */
  readonly amount?: number;
  readonly final: boolean;
  readonly to?: number;
}

export interface VoidHold extends Keyed {
  readonly kind: 'void';
  readonly holdId: string;
  /** That of the hold. */
  readonly accountId: number;
}

export interface Reverse extends Keyed {
  readonly kind: 'reverse';
  readonly transactionId: string;
  /** That of the transaction. */
  readonly accountId: number;
  /** Undefined: all that is left. */
  readonly amount?: number;
  readonly force?: true;
}

export interface ReverseTransfer extends Keyed {
  readonly kind: 'reverse-transfer';
  readonly transferId: string;
  /** Those of the transfer that pay back, then the others. */
  readonly accountIds: readonly number[];
  /** Undefined: all that is left. */
  readonly amount?: number;
  readonly force?: true;
}

/** Changes an account otherwise than by a transaction. */
export interface Change {
  readonly kind: 'change';
  readonly accountId: number;
  readonly status?: string;
  readonly overdraftLimit?: number;
  /** The revision that it expects, sent as If-Match. */
  readonly ifRevision?: number;
}

/** Commands that may be sent to be decided later. */
export type Submittable = Post | Transfer | PlaceHold;

/** Asks what became of a command that was accepted before it was decided. */
export interface Follow {
  readonly kind: 'follow';
  /** The operation that was accepted. */
  readonly of: number;
  readonly submitted: Submittable;
  readonly submissionId: string;
}

/** Commands that make transactions. */
export type Command = Post | Transfer | PlaceHold | Capture | VoidHold | Reverse | ReverseTransfer;

export interface Open extends Keyed {
  readonly kind: 'open';
  /** Undefined: that of most accounts. */
  readonly owner?: string;
}

export interface ReadBalance {
  readonly kind: 'balance';
  readonly accountId: number;
  readonly minVersion?: number;
  readonly noCache?: boolean;
  /** All faults are healed and the cache has had time to recover: the answer must match the database. */
  readonly final?: boolean;
}

export type Operation =
  | Open
  | Command
  | Change
  | Follow
  | ReadBalance
  | { readonly kind: 'list'; readonly accountId: number }
  | { readonly kind: 'read-hold'; readonly holdId: string; readonly accountId: number }
  | { readonly kind: 'read-transfer'; readonly transferId: string; readonly accountIds: readonly number[] };

/** The accounts that an operation is about, that of its key first. */
export function accountsOf(operation: Operation): readonly number[] {
  if (operation.kind === 'open') return [];
  if (operation.kind === 'follow') return accountsOf(operation.submitted);
  if ('accountIds' in operation) return operation.accountIds;
  if (operation.kind === 'capture' && operation.to !== undefined) return [operation.accountId, operation.to];
  return [operation.accountId];
}

/** The shard of an account. */
export const shardOf = (accountId: number, shards: number): number => (accountId - 1) % shards;

/** Whether the accounts of an operation are in different shards, so that it takes several steps. */
export function isBetweenShards(operation: Operation, shards: number): boolean {
  const [first, ...others] = accountsOf(operation).map((accountId) => shardOf(accountId, shards));
  return others.some((shard) => shard !== first);
}

/** The accounts that must be those of its sender: all but those that money arrives at. */
export function ownAccountsOf(operation: Operation): readonly number[] {
  if (operation.kind === 'follow') return ownAccountsOf(operation.submitted);
  const accountIds = accountsOf(operation);
  if (operation.kind === 'transfer' || operation.kind === 'reverse-transfer')
    return accountIds.slice(0, accountIds.length / 2);
  return operation.kind === 'capture' ? [operation.accountId] : accountIds;
}

const COMMANDS: Readonly<Record<Command['kind'], true>> = {
  ...{ post: true, transfer: true, hold: true, capture: true, void: true },
  ...{ reverse: true, 'reverse-transfer': true },
};

export const isCommand = (operation: Operation): operation is Command => operation.kind in COMMANDS;

/** The account to which the key of a command belongs. */
export const keyAccountOf = (command: Command): number => accountsOf(command)[0] as number;

/** Names a key of an account. */
export const keyOf = (accountId: number, key: string | undefined): string => `${accountId} ${key}`;

/** Names the key of a command. */
export const commandKeyOf = (command: Command): string => keyOf(keyAccountOf(command), command.key);

/** The client's name for all transactions of an operation. */
export const referenceOf = (op: number): string => `op-${op}`;

/** Money as text, as requests and events have it. */
export function decimal(minorUnits: number): string {
  const digits = String(Math.abs(minorUnits)).padStart(3, '0');
  return `${minorUnits < 0 ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** The first entry. */
export interface Start {
  readonly at: number;
  readonly entry: 'start';
  /** The wall clock at time 0, which is also that of the database servers. */
  readonly epochMs: number;
}

/** Written before the operation's first request is sent. */
export interface Intent {
  readonly at: number;
  readonly entry: 'intent';
  readonly op: number;
  readonly operation: Operation;
}

/** Written before each request is sent. */
export interface Attempt {
  readonly at: number;
  readonly entry: 'attempt';
  readonly op: number;
  /** Unique within the run. */
  readonly attempt: number;
  /** The process of the service: `api-1#3` is the third start of api-1. */
  readonly instance: string;
  /** The sender whose credential it carries. */
  readonly sender: string;
  /** The owner whose accounts the sender may use; undefined: all accounts. */
  readonly owner?: string;
  /** The first attempt of the batch that it is an item of; items come in the order of their attempts. */
  readonly batch?: number;
  /** Whether the items of the batch are to be applied together or not at all. */
  readonly atomic?: true;
  /** Whether it prefers to be answered before it is decided. */
  readonly async?: true;
}

/** Written as soon as the answer has arrived or the wait for it has ended. */
export interface Answer {
  readonly at: number;
  readonly entry: 'answer';
  readonly op: number;
  readonly attempt: number;
  /** HTTP status; 0: no answer, though the request may have arrived; -1: it was certainly never sent. */
  readonly status: number;
  readonly body?: AnswerBody;
  /** Whether the answer had a Retry-After. */
  readonly retryAfter?: boolean;
}

/** The members of answers that the checker reads. Money is in minor units. */
export interface AnswerBody {
  readonly error?: string;
  /** What became of a command that was accepted. What it made is told by the other members. */
  readonly submission?: 'queued' | 'posted' | 'refused';
  /** What it would have been answered at once. */
  readonly refusal?: Refusal;
  /** The names of all members of a refusal on behalf of another owner. */
  readonly members?: readonly string[];
  readonly id?: string;
  readonly transactionId?: string;
  readonly transferId?: string;
  readonly holdId?: string;
  readonly accountId?: number;
  readonly holdStatus?: string;
  readonly remaining?: number;
  readonly captured?: number;
  readonly held?: number;
  readonly legs?: readonly AnsweredLeg[];
  /** What has become of a transfer so far. */
  readonly transferStatus?: string;
  /** The code of the error for which a transfer has failed. */
  readonly failure?: string;
  readonly type?: string;
  readonly amount?: number;
  readonly balance?: number;
  readonly version?: number;
  readonly currentVersion?: number | null;
  /** Of an account, from its entity tag. */
  readonly revision?: number;
  readonly currentRevision?: number;
  /** The rows of a listing over all pages that were read, newest first. */
  readonly rows?: readonly ListedRow[];
}

export interface Refusal {
  readonly status: number;
  readonly body: AnswerBody;
}

/** A leg of a transfer, as its answer tells it. One that is only planned has no id yet. */
export interface AnsweredLeg extends Omit<ListedRow, 'id'> {
  readonly id?: string;
  readonly accountId: number;
}

export interface ListedRow {
  readonly id: string;
  readonly type: string;
  readonly amount: number;
  readonly balance?: number;
  readonly version?: number;
  /** What is held after it, if the answer says so. */
  readonly held?: number;
}

export interface FaultBegan {
  readonly at: number;
  readonly entry: 'fault';
  /** When it began to take effect; from `at` on it is in full effect. Filling a disk, for one, takes a while. */
  readonly since: number;
  readonly fault: number;
  /** Like `postgres-kill`. */
  readonly name: string;
  /** What it strikes, like `postgres-a`. */
  readonly target: string;
  /** The instance that it may affect; undefined: any. */
  readonly instance?: string;
  readonly shard?: number;
}

/** The cause is gone; the service may still have to recover. */
export interface FaultEnded {
  readonly at: number;
  readonly entry: 'healed';
  readonly fault: number;
}

/** An instance could not write balances to the shared cache at some time after `from`. */
export interface CacheTrouble {
  readonly at: number;
  readonly entry: 'cache-trouble';
  readonly from: number;
  readonly instance: string;
}

/** All faults are healed and no earlier request is in flight: a rejection from now on is final. */
export interface Quiet {
  readonly at: number;
  readonly entry: 'quiet';
}

/** `Omit` for each member of a union. */
type WithoutTime<T> = T extends unknown ? Omit<T, 'at'> : never;

/** Appends to a history. Every entry is in the file before `append` returns. */
export class HistoryWriter {
  private readonly file: number;
  private closed = false;
  private readonly startedMs = performance.now();

  constructor(readonly path: string) {
    this.file = openSync(path, 'w');
    this.append({ entry: 'start', epochMs: Date.now() });
  }

  get nowMs(): number {
    return Math.round(performance.now() - this.startedMs);
  }

  append(entry: WithoutTime<Entry>): void {
    if (this.closed) return; // the run was interrupted
    writeSync(this.file, `${JSON.stringify({ at: this.nowMs, ...entry })}\n`);
  }

  close(): void {
    this.closed = true;
    closeSync(this.file);
  }
}

/** Reads a history in order, line by line. */
export async function* readHistory(path: string): AsyncGenerator<Entry> {
  for await (const line of createInterface({ input: createReadStream(path) }))
    yield JSON.parse(line) as Entry;
}
