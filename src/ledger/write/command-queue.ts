/** A command that waits for its batch. */
export interface Waiting {
  /** The accounts that it touches: distinct, at least one. */
  readonly accountIds: readonly number[];
  /** On the clock of performance.now(). */
  readonly deadlineMs: number;
}

/**
 * What waits for one account. It is
 * - free: nothing of it is at work. It gets a turn when its first command may be taken;
 * - busy: commands of it have been taken, and not released;
 * - held: another session has locked the account's row. Only commands of this one account stay in the line.
 *
 * free → busy → free or held; held → free. A line that is free and empty is deleted.
 */
interface Line<T> {
  readonly accountId: number;
  state: 'free' | 'busy' | 'held';
  /** In their order of arrival. Those before `next` have been taken. */
  commands: T[];
  next: number;
  /** The first command is one over several accounts, and this line is counted in {@link CommandQueue.linesAt}. */
  counted: boolean;
  /** Commands over several accounts that are in no line until this one is no longer held. */
  aside: T[] | undefined;
}

/**
 * A bounded queue that keeps the commands of one account in their order of arrival, while those of different accounts
 * may run at the same time.
 *
 * Each account has a line, and a command stands in the lines of all its accounts. It may be taken when it is the first
 * in each of them and none of its accounts is busy with another batch. What the same batch has taken before it is no
 * longer ahead of it, so one batch may take all that waits for a hot account. Nothing overtakes on any account, and the
 * oldest command is the first in all its lines, so every command's turn comes. Accounts take turns in the order in
 * which they became ready.
 *
 * A command over several accounts, one of which is held, would block its other accounts. It is set aside, and joins the
 * ends of its lines when the account is no longer held. So order of arrival is promised among commands of one account,
 * and for those over several as long as they meet no locked row.
 *
 * Every operation takes O(1) time per command and account of it, except {@link hold} and {@link expire}.
 */
export class CommandQueue<T extends Waiting> {
  private readonly lines = new Map<number, Line<T>>();
  /** The accounts of free lines whose first command may be taken; of a command over several accounts only one of them. */
  private readonly ready = new Set<number>();
  /** Of commands over several accounts: how many of their lines that are not busy have them as their first. */
  private readonly linesAt = new Map<T, number>();
  private count = 0;
  /** What is left of the room of the batch that is being taken. */
  private room = 0;
  /** No waiting command has an earlier deadline. */
  private earliestMs = Infinity;

  constructor(private readonly limit: number) {}

  /** Commands that wait, each counted once. */
  get size(): number {
    return this.count;
  }

  /** @returns false when the queue is full and the command was not accepted */
  push(command: T): boolean {
    if (this.count >= this.limit) return false;
    this.count += 1;
    this.earliestMs = Math.min(this.earliestMs, command.deadlineMs);
    this.join(command);
    return true;
  }

  /**
   * Takes commands, giving at most so many accounts their turn, and makes their accounts busy. An account that is
   * reached through a command over several shares the turn.
   *
   * @param room for how many commands of one account; one over several takes the room of as many. The last one taken may
   *   exceed it
   */
  take(room: number, maxTurns = Infinity): T[] {
    const taken: T[] = [];
    const reached: Line<T>[] = [];
    const stopped: Line<T>[] = [];
    let visited = 0;
    let turns = 0;
    this.room = room;
    for (const accountId of this.ready) {
      if (this.room <= 0 || turns >= maxTurns) break;
      turns += 1;
      this.ready.delete(accountId);
      this.takeFrom(this.lines.get(accountId) as Line<T>, taken, reached, stopped);
      while (visited < reached.length) {
        this.takeFrom(reached[visited++] as Line<T>, taken, reached, stopped);
      }
    }
    // For any other batch these lines are busy.
    for (const line of stopped) this.uncount(line);
    this.count -= taken.length;
    return taken;
  }

  /** Makes an account no longer busy or held: commands that have arrived for it since may be taken. */
  release(accountId: number): void {
    const line = this.lines.get(accountId);
    if (!line || line.state === 'free') return;
    line.state = 'free';
    if (line.next === line.commands.length) this.lines.delete(accountId);
    else {
      // Copies no more than has been taken since the last time.
      if (line.next * 2 >= line.commands.length) {
        line.commands = line.commands.slice(line.next);
        line.next = 0;
      }
      this.callFirst(line);
    }
    const { aside } = line;
    line.aside = undefined;
    if (aside) for (const command of aside) this.join(command);
  }

  /**
   * Makes a busy account held, until it is released. Takes time in proportion to what waits for the accounts of the
   * commands that are set aside.
   */
  hold(accountId: number): void {
    const line = this.lines.get(accountId);
    if (line?.state !== 'busy') throw new Error(`account ${accountId} is ${line?.state ?? 'free'}, not busy`);
    line.state = 'held';
    const aside = line.commands.slice(line.next).filter(isOverSeveral);
    line.aside = aside;
    this.leaveLines(aside);
  }

  /** True while commands of the account wait here or run. */
  holds(accountId: number): boolean {
    return this.lines.has(accountId);
  }

  /**
   * Removes and returns the commands whose deadline has passed. They need not be the oldest in this queue, since a
   * command may have waited elsewhere before. So all are checked, but only when one may be late.
   */
  expire(nowMs: number): T[] {
    if (nowMs < this.earliestMs) return [];
    this.earliestMs = Infinity;
    const expired = new Set<T>();
    const isAlive = (command: T) => {
      const late = command.deadlineMs <= nowMs;
      if (late) expired.add(command);
      else this.earliestMs = Math.min(this.earliestMs, command.deadlineMs);
      return !late;
    };
    for (const line of this.lines.values()) {
      this.keep(line, isAlive);
      line.aside = line.aside?.filter(isAlive);
    }
    for (const command of expired) this.linesAt.delete(command);
    this.count -= expired.size;
    return [...expired];
  }

  private join(command: T): void {
    const { accountIds } = command;
    const held = isOverSeveral(command) ? this.heldLineOf(accountIds) : undefined;
    if (held) {
      (held.aside ??= []).push(command);
      return;
    }
    for (const accountId of accountIds) {
      const line = this.lines.get(accountId);
      if (line) line.commands.push(command);
      else {
        const opened: Line<T> = {
          accountId,
          state: 'free',
          commands: [command],
          next: 0,
          counted: false,
          aside: undefined,
        };
        this.lines.set(accountId, opened);
        this.callFirst(opened);
      }
    }
  }

  private heldLineOf(accountIds: readonly number[]): Line<T> | undefined {
    for (const accountId of accountIds) {
      const line = this.lines.get(accountId);
      if (line?.state === 'held') return line;
    }
    return undefined;
  }

  /** Gives a free line that has a new first command its turn, as soon as the command may be taken. */
  private callFirst(line: Line<T>): void {
    if (this.mayTakeFirst(line)) this.ready.add(line.accountId);
    else this.ready.delete(line.accountId);
  }

  /** A command over several accounts may be taken once all its lines have been here with it. */
  private mayTakeFirst(line: Line<T>): boolean {
    const first = line.commands[line.next] as T;
    if (!isOverSeveral(first)) return true;
    const lines = (this.linesAt.get(first) ?? 0) + (line.counted ? 0 : 1);
    line.counted = true;
    this.linesAt.set(first, lines);
    return lines === first.accountIds.length;
  }

  /** Takes from a line until the batch is full, or the first command has to wait for another line. */
  private takeFrom(line: Line<T>, taken: T[], reached: Line<T>[], stopped: Line<T>[]): void {
    line.state = 'busy';
    while (this.room > 0 && line.next < line.commands.length) {
      if (!this.mayTakeFirst(line)) {
        stopped.push(line);
        return;
      }
      const command = line.commands[line.next] as T;
      taken.push(command);
      this.room -= command.accountIds.length;
      if (isOverSeveral(command)) this.stepOver(command, line, reached);
      else line.next += 1;
    }
  }

  /** Moves all lines of a command on that has been taken from one of them; the others are taken from next. */
  private stepOver(command: T, from: Line<T>, reached: Line<T>[]): void {
    this.linesAt.delete(command);
    for (const accountId of command.accountIds) {
      const line = this.lines.get(accountId) as Line<T>;
      line.next += 1;
      line.counted = false;
      if (line !== from) reached.push(line);
    }
  }

  private uncount(line: Line<T>): void {
    if (!line.counted) return;
    line.counted = false;
    const first = line.commands[line.next] as T;
    this.linesAt.set(first, (this.linesAt.get(first) ?? 0) - 1);
  }

  /** Removes commands that wait from all their lines. */
  private leaveLines(commands: readonly T[]): void {
    const leaving = new Set(commands);
    for (const command of leaving) this.linesAt.delete(command);
    for (const accountId of new Set(commands.flatMap((command) => command.accountIds))) {
      this.keep(this.lines.get(accountId) as Line<T>, (command) => !leaving.has(command));
    }
  }

  private keep(line: Line<T>, stays: (command: T) => boolean): void {
    const { commands, next } = line;
    const waiting = next === 0 ? commands : commands.slice(next);
    const kept = waiting.filter(stays);
    if (kept.length === waiting.length) return;
    line.commands = kept;
    line.next = 0;
    if (kept[0] === waiting[0]) return;
    line.counted = false;
    if (line.state !== 'free') return;
    if (kept.length > 0) this.callFirst(line);
    else {
      this.lines.delete(line.accountId);
      this.ready.delete(line.accountId);
    }
  }
}

function isOverSeveral({ accountIds }: Waiting): boolean {
  return accountIds.length > 1;
}
