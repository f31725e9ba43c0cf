/** A batch that takes longer loses its slot: one shard that is locked or hangs must not hold up the others. */
const SLOW_MS = 100;

/**
 * Bounds the batches that this process has in flight on one PostgreSQL server, over all of its shards. More of them
 * would not make the server faster, only each batch smaller, and a batch of ten commands costs nearly as much as one of
 * fifty.
 */
export class BatchSlots {
  /** Called once each, in order, as slots become free. */
  private readonly waiting = new Set<() => void>();

  constructor(private free: number) {}

  /**
   * Takes a slot. The function returned gives it back; undefined: none is free, and `onFree` is called when there may
   * be one.
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

  /** Calls waiters until the slots are taken: one that is called may have nothing left to do. */
  private tellWaiting(): void {
    for (const onFree of this.waiting) {
      if (this.free === 0) return;
      this.waiting.delete(onFree);
      onFree();
    }
  }
}
