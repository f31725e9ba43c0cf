import { createHash } from 'node:crypto';

/** Bytes of a hash that fit a number exactly (48 of 53 bits). */
const HASHED_BYTES = 6;

/**
 * Finds the shard of an id. Shard k of N draws the ids k+1, k+1+N, k+1+2N … for accounts and for transactions, so an
 * id tells its shard and no directory is needed.
 */
export class ShardRouter<T> {
  private turn = 0;

  constructor(readonly shards: readonly T[]) {
    if (shards.length === 0) throw new Error('a bank has at least one shard');
  }

  /** The shard of an account or a transaction. */
  of(id: number): T {
    return this.shards[this.indexOf(id)] as T;
  }

  indexOf(id: number): number {
    return (id - 1) % this.shards.length;
  }

  /**
   * The shard in which an owner's idempotency key opens an account. It is always the same one, so a unique constraint
   * there is enough. The length in front separates the owner's name from the key. `verify` has the same rule in SQL.
   */
  ofOpening(owner: string | undefined, idempotencyKey: string): T {
    const name = owner ?? '';
    const text = `${Buffer.byteLength(name)}:${name}${idempotencyKey}`;
    const number = createHash('sha256').update(text).digest().readUIntBE(0, HASHED_BYTES);
    return this.shards[number % this.shards.length] as T;
  }

  /** Shards take turns with new accounts. */
  forNewAccount(): T {
    this.turn = (this.turn + 1) % this.shards.length;
    return this.shards[this.turn] as T;
  }
}
