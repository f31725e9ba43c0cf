/** A command that waits, and where its answer goes. */
export interface Waiting {
  readonly accountId: number;
  /** On the clock of performance.now(). */
  readonly deadlineMs: number;
}

/**
 * A bounded queue that keeps the commands of one account in their order of arrival, while those of different accounts
 * may run at the same time. An account that has been taken is busy: its later commands stay until it is released.
 * Every operation costs O(1) per command; accounts take turns in the order in which they became ready.
 */
export class CommandQueue<T extends Waiting> {
  private readonly waiting = new Map<number, T[]>();
  private readonly ready = new Set<number>();
  private readonly busy = new Set<number>();
  private count = 0;
  /** No command that waits has an earlier deadline. */
  private earliestMs = Infinity;

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.count;
  }

  /** False when the queue is full: the command was not taken in. */
  push(command: T): boolean {
    if (this.count >= this.limit) return false;
    const { accountId } = command;
    const queued = this.waiting.get(accountId);
    if (queued) queued.push(command);
    else this.waiting.set(accountId, [command]);
    if (!this.busy.has(accountId)) this.ready.add(accountId);
    this.count += 1;
    this.earliestMs = Math.min(this.earliestMs, command.deadlineMs);
    return true;
  }

  /** Takes up to a number of commands, of up to a number of accounts, and makes those accounts busy. */
  take(maxCommands: number, maxAccounts = Infinity): T[] {
    const taken: T[] = [];
    let accounts = 0;
    for (const accountId of this.ready) {
      if (taken.length >= maxCommands || accounts >= maxAccounts) break;
      accounts += 1;
      this.ready.delete(accountId);
      this.busy.add(accountId);
      const queued = this.waiting.get(accountId) ?? [];
      const room = maxCommands - taken.length;
      if (queued.length <= room) {
        taken.push(...queued);
        this.waiting.delete(accountId);
      } else {
        taken.push(...queued.splice(0, room));
      }
    }
    this.count -= taken.length;
    return taken;
  }

  /** Ends an account's busy time: what has arrived for it since may be taken. */
  release(accountId: number): void {
    this.busy.delete(accountId);
    if (this.waiting.has(accountId)) this.ready.add(accountId);
  }

  /** True while commands of the account wait here or run. */
  holds(accountId: number): boolean {
    return this.waiting.has(accountId) || this.busy.has(accountId);
  }

  /**
   * Removes and returns the commands whose deadline has passed. They need not be the oldest here: a command may have waited
   * elsewhere before. So all are checked, but only when one may be late.
   */
  expire(nowMs: number): T[] {
    const expired: T[] = [];
    if (nowMs < this.earliestMs) return expired;
    this.earliestMs = Infinity;
    for (const [accountId, queued] of this.waiting) {
      const alive = queued.filter((command) => {
        const late = command.deadlineMs <= nowMs;
        if (late) expired.push(command);
        else this.earliestMs = Math.min(this.earliestMs, command.deadlineMs);
        return !late;
      });
      if (alive.length === queued.length) continue;
      if (alive.length > 0) this.waiting.set(accountId, alive);
      else {
        this.waiting.delete(accountId);
        this.ready.delete(accountId);
      }
    }
    this.count -= expired.length;
    return expired;
  }
}
