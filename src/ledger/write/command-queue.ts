/** A command that waits for its batch. */
export interface Waiting {
  readonly accountId: number;
  /** On the clock of performance.now(). */
  readonly deadlineMs: number;
}

/**
 * A bounded queue that keeps the commands of one account in their order of arrival, while those of different accounts
 * may run at the same time. An account that has been taken is busy: its later commands wait until it is released.
 * Accounts take turns in the order in which they became ready. Every operation takes O(1) time per command.
 */
export class CommandQueue<T extends Waiting> {
  private readonly waiting = new Map<number, T[]>();
  private readonly ready = new Set<number>();
  private readonly busy = new Set<number>();
  private count = 0;
  /** No waiting command has an earlier deadline. */
  private earliestMs = Infinity;

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.count;
  }

  /** @returns false when the queue is full and the command was not accepted */
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

  /** Takes at most so many commands of at most so many accounts, and makes those accounts busy. */
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

  /** Makes an account no longer busy: commands that have arrived for it since may be taken. */
  release(accountId: number): void {
    this.busy.delete(accountId);
    if (this.waiting.has(accountId)) this.ready.add(accountId);
  }

  /** True while commands of the account wait here or run. */
  holds(accountId: number): boolean {
    return this.waiting.has(accountId) || this.busy.has(accountId);
  }

  /**
   * Removes and returns the commands whose deadline has passed. They need not be the oldest in this queue, since a
   * command may have waited elsewhere before. So all are checked, but only when one may be late.
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
