import { LedgerError } from '../domain/errors.js';

export interface TurnBounds {
  /** Pieces of work at the same time; of one client no more than half of them. */
  readonly atWork: number;
  /** Those that wait for their turn, of all clients … */
  readonly waiting: number;
  /** … and of one. */
  readonly waitingOfOne: number;
  readonly waitMs: number;
}

/**
 * Bounds work that anybody can set off, and shares it among clients: whoever sends a lot waits behind himself, not before
 * the others.
 */
export class FairTurns {
  private atWork = 0;
  private waiting = 0;
  private readonly atWorkOf = new Map<string, number>();
  /** Clients in the order of their turns, and what each waits with in the order in which it came. */
  private readonly queues = new Map<string, Set<() => void>>();

  constructor(private readonly bounds: TurnBounds) {}

  /** @throws LedgerError OVERLOADED when too much waits, or the turn does not come in time; what the work fails with */
  async run<T>(client: string, work: () => Promise<T>): Promise<T> {
    if (this.hasRoomFor(client) && !this.queues.has(client)) this.begin(client);
    else await this.turnOf(client);
    try {
      return await work();
    } finally {
      this.end(client);
    }
  }

  private turnOf(client: string): Promise<void> {
    const queue = this.queues.get(client) ?? new Set();
    const { waiting, waitingOfOne, waitMs } = this.bounds;
    if (this.waiting >= waiting || queue.size >= waitingOfOne) throw new LedgerError({ code: 'OVERLOADED' });
    this.queues.set(client, queue);
    this.waiting += 1;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.leave(client, queue, begin);
        reject(new LedgerError({ code: 'OVERLOADED' }));
      }, waitMs);
      const begin = () => {
        clearTimeout(late);
        this.leave(client, queue, begin);
        this.begin(client);
        resolve();
      };
      queue.add(begin);
    });
  }

  private leave(client: string, queue: Set<() => void>, begin: () => void): void {
    queue.delete(begin);
    this.waiting -= 1;
    if (queue.size === 0) this.queues.delete(client);
  }

  private hasRoomFor(client: string): boolean {
    const { atWork } = this.bounds;
    return this.atWork < atWork && (this.atWorkOf.get(client) ?? 0) < Math.ceil(atWork / 2);
  }

  private begin(client: string): void {
    this.atWork += 1;
    this.atWorkOf.set(client, (this.atWorkOf.get(client) ?? 0) + 1);
  }

  private end(client: string): void {
    this.atWork -= 1;
    const left = (this.atWorkOf.get(client) ?? 0) - 1;
    if (left === 0) this.atWorkOf.delete(client);
    else this.atWorkOf.set(client, left);
    for (const [next, queue] of this.queues) {
      if (!this.hasRoomFor(next)) continue;
      const [begin] = queue;
      begin?.();
      // To the end of the line, if it is still in it.
      if (this.queues.delete(next)) this.queues.set(next, queue);
      return;
    }
  }
}
