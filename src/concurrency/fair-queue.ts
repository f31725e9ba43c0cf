import { LinkedList, type Node } from './linked-list.js';

/** A waiting item of a {@link FairQueue}. */
export interface Waiting<T> {
  readonly user: string;
  readonly item: T;
}

/** The waiting items of one user, oldest first. */
class Line<T> {
  readonly places = new LinkedList<Waiting<T>>();
  size = 0;
  inRound: Node<Line<T>>;
  inSize: Node<Line<T>>;

  constructor(
    readonly user: string,
    round: LinkedList<Line<T>>,
    empty: LinkedList<Line<T>>,
  ) {
    this.inRound = round.append(this);
    this.inSize = empty.append(this);
  }
}

/**
 * A bounded queue that is fair by user: users take turns, each with their oldest item.
 *
 * An item is in its user's line from {@link push} until it is taken, removed, or dropped for another. A user is in the
 * round while their line is not empty: they join at the end with their first item, go to the end when one of their
 * items is taken, keep their place when {@link take} skips them, and leave with their last item. So a user waits for at
 * most one turn of each other user.
 *
 * When the queue is full, a new item replaces the newest item of the user with the most, provided that its own user
 * then has no more items than that user. So a user with many items can't keep out one with few. When all users have
 * equally many, the new item is rejected.
 *
 * Each operation takes O(1) time, however many items and users there are, plus the users that `take` skips.
 */
export class FairQueue<T> {
  private readonly lines = new Map<string, Line<T>>();
  private readonly round = new LinkedList<Line<T>>();
  /** Lines by their size. */
  private readonly bySize: LinkedList<Line<T>>[] = [];
  private largest = 0;
  /** All items in order of arrival, each with its node in its user's line. */
  private readonly all = new Map<Waiting<T>, Node<Waiting<T>>>();

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.all.size;
  }

  /** @returns the item that was dropped because the queue is full, the new one or another; undefined: there was room */
  push(user: string, item: T): Waiting<T> | undefined {
    const waiting = { user, item };
    let givenUp: Waiting<T> | undefined;
    if (this.size >= this.limit) {
      givenUp = this.newestOfLargest((this.lines.get(user)?.size ?? 0) + 1);
      if (!givenUp) return waiting;
      this.remove(givenUp);
    }
    const line = this.lines.get(user) ?? this.begin(user);
    this.all.set(waiting, line.places.append(waiting));
    this.resize(line, 1);
    return givenUp;
  }

  /** Takes the oldest item of the first suitable user in the round; undefined: there is none. */
  take(suits: (user: string) => boolean): Waiting<T> | undefined {
    for (let turn = this.round.first; turn; turn = turn.after) {
      const line = turn.value;
      const next = line.places.first?.value;
      if (!next || !suits(line.user)) continue;
      this.remove(next);
      if (line.size > 0) {
        this.round.remove(turn);
        line.inRound = this.round.append(line);
      }
      return next;
    }
    return undefined;
  }

  /** All items in order of arrival. Each may be removed during the iteration. */
  waiting(): Iterable<Waiting<T>> {
    return this.all.keys();
  }

  remove(waiting: Waiting<T>): void {
    const place = this.all.get(waiting);
    const line = this.lines.get(waiting.user);
    if (!place || !line) return;
    this.all.delete(waiting);
    line.places.remove(place);
    this.resize(line, -1);
    if (line.size > 0) return;
    this.round.remove(line.inRound);
    this.listOf(0).remove(line.inSize);
    this.lines.delete(line.user);
  }

  private begin(user: string): Line<T> {
    const line = new Line<T>(user, this.round, this.listOf(0));
    this.lines.set(user, line);
    return line;
  }

  /** The newest item of the user with the most, unless that would leave them with fewer than `least`. */
  private newestOfLargest(least: number): Waiting<T> | undefined {
    const line = this.bySize[this.largest]?.first?.value;
    return line && line.size > least ? line.places.last?.value : undefined;
  }

  private listOf(size: number): LinkedList<Line<T>> {
    return (this.bySize[size] ??= new LinkedList());
  }

  /** Sizes change by one at a time, so the largest does too. */
  private resize(line: Line<T>, by: 1 | -1): void {
    this.listOf(line.size).remove(line.inSize);
    line.size += by;
    line.inSize = this.listOf(line.size).append(line);
    if (line.size > this.largest) this.largest = line.size;
    else if (!this.listOf(this.largest).first) this.largest -= 1;
  }
}
