import {
  accountsOf,
  shardOf,
  type Answer,
  type Attempt,
  type Entry,
  type FaultBegan,
  type Operation,
} from './history.js';
import type { Books } from './books.js';
import { isForbidden } from './check-owners.js';
import type { Violations } from './rules.js';

interface Pending {
  readonly attempt: Attempt;
  /** Whether the process had accepted the sender's credential before the request. */
  readonly wasLetIn: boolean;
}

interface Fault extends FaultBegan {
  healedAt: number;
}

interface Failure {
  readonly sentAt: number;
  readonly at: number;
  readonly instance: string;
  /** Those of its accounts. */
  readonly shards: readonly number[];
  readonly detail: string;
}

/** How long a fault may still have effects after it is healed. */
const RECOVERY_MS = 10_000;
/** What the service can work without. */
const OPTIONAL = /(^|-)(redis|rabbitmq)$/;

/**
 * Checks that an accepted credential stays accepted, and that a fault in one shard does not affect the others. Takes
 * one pass over the history, in order.
 */
export class AccessChecker {
  private readonly operations = new Map<number, Operation>();
  private readonly pending = new Map<number, Pending>();
  private readonly letIn = new Set<string>();
  private readonly faults = new Map<number, Fault>();
  private readonly failures: Failure[] = [];

  constructor(
    private readonly books: Books,
    private readonly violations: Violations,
  ) {}

  take(entry: Entry): void {
    if (entry.entry === 'intent') this.operations.set(entry.op, entry.operation);
    if (entry.entry === 'attempt')
      this.pending.set(entry.attempt, { attempt: entry, wasLetIn: this.letIn.has(nameOf(entry)) });
    if (entry.entry === 'fault') this.faults.set(entry.fault, { ...entry, healedAt: Infinity });
    if (entry.entry === 'healed') {
      const fault = this.faults.get(entry.fault);
      if (fault) fault.healedAt = entry.at;
    }
    if (entry.entry === 'answer') this.settle(entry);
  }

  /** Call it once the whole history was read. */
  finish(): void {
    const faults = [...this.faults.values()];
    for (const { sentAt, at, instance, shards, detail } of this.failures) {
      const another = faults.some(
        (fault) => isOfOtherShards(fault, shards) && fault.at <= at && sentAt <= fault.healedAt,
      );
      const its = faults.some(
        (fault) =>
          mayHarm(fault, instance, shards) && fault.since <= at && sentAt <= fault.healedAt + RECOVERY_MS,
      );
      if (another && !its) this.violations.add('bulkhead', detail);
    }
  }

  private settle({ op, attempt: number, at, status, body }: Answer): void {
    const pending = this.pending.get(number);
    const operation = this.operations.get(op);
    this.pending.delete(number);
    if (!pending || !operation || status <= 0) return;
    const { attempt, wasLetIn } = pending;
    const answer = `${status} ${body?.error ?? ''}`;
    const detail = `operation ${op} (${operation.kind}) by ${attempt.sender} to ${attempt.instance}: ${answer}`;
    const isRight = status === 404 && isForbidden(operation, attempt, this.books);
    if (REFUSALS.includes(status) && !isRight) this.violations.add('credential-refused', detail);
    else if (answer !== UNKNOWN_CREDENTIAL) this.letIn.add(nameOf(attempt));
    else if (wasLetIn) this.violations.add('credential-forgotten', detail);
    const shards = accountsOf(operation).map((accountId) => shardOf(accountId, this.books.shards));
    if (status === 408 && shards.length > 0) {
      const instance = attempt.instance.replace(/#.*/, '');
      this.failures.push({ sentAt: attempt.at, at, instance, shards, detail });
    }
  }
}

/** Never right, because every sender's credential allows everything that it sends, but for accounts of other owners. */
const REFUSALS: readonly number[] = [401, 403, 404];
export const UNKNOWN_CREDENTIAL = '503 Credential store unavailable';

const nameOf = ({ instance, sender }: Attempt) => `${instance} ${sender}`;

function isOfOtherShards(fault: Fault, shards: readonly number[]): boolean {
  return fault.shard !== undefined && !shards.includes(fault.shard);
}

function mayHarm(fault: Fault, instance: string, shards: readonly number[]): boolean {
  return (
    !OPTIONAL.test(fault.target) &&
    (fault.instance ?? instance) === instance &&
    (fault.shard === undefined || shards.includes(fault.shard))
  );
}
