/** A batch that takes longer gives its slot back: one shard that is locked or hangs must not hold up the others. */
const SLOW_MS = 100;

/**
 * Batches that this process runs at the same time on one PostgreSQL server, over all of its shards. More of them would
 * not make the server faster, only each batch smaller: a batch costs nearly as much for ten commands as for fifty.
 */
export class BatchSlots {
  /** Called in order when slots are free, each once. */
  private readonly waiting = new Set<() => void>();

  constructor(private free: number) {}

  /**
   * Takes a slot. The caller gives it back by the function returned; undefined: none is free, and `onFree` is called
   * when there may be one.
   */
  take(onFree: () => void): (() => void) | undefined {
    if (this.free === 0) {
      this.waiting.add(onFree);
      return undefined;
    }
    this.free -= 1;
    let taken = true;
    const giveBack = () => {
      if (!taken) return;
      taken = false;
      clearTimeout(slow);
      this.free += 1;
      this.tellWaiting();
    };
    const slow = setTimeout(giveBack, SLOW_MS);
    return giveBack;
  }

  /** One after the other until the slots are taken, since a waiter may have nothing left to do. */
  private tellWaiting(): void {
    for (const onFree of this.waiting) {
      if (this.free === 0) return;
      this.waiting.delete(onFree);
      onFree();
    }
  }
}
