import { createHash } from 'node:crypto';

/**
 * Finds what belongs to a shard. Ids carry their shard: shard k of N hands out k+1, k+1+N, k+1+2N … for accounts and
 * for transactions, so no directory is needed.
 */
export class ShardRouter<T> {
  private turn = 0;

  constructor(readonly shards: readonly T[]) {
    if (shards.length === 0) throw new Error('a bank has at least one shard');
  }

  /** The shard of an account's or a transaction's id. */
  of(id: number): T {
    return this.shards[this.indexOf(id)] as T;
  }

  indexOf(id: number): number {
    return (id - 1) % this.shards.length;
  }

  /**
   * The shard in which an owner's idempotency key opens an account: always the same one, where it is used once. By its
   * length the owner's name can't run into the key.
   */
  ofOpening(owner: string | undefined, idempotencyKey: string): T {
    const name = owner ?? '';
    const digest = createHash('sha256').update(`${name.length}:${name}${idempotencyKey}`).digest();
    return this.shards[Number(digest.readBigUInt64BE() % BigInt(this.shards.length))] as T;
  }

  /** Shards take turns with new accounts. */
  forNewAccount(): T {
    this.turn = (this.turn + 1) % this.shards.length;
    return this.shards[this.turn] as T;
  }
}
