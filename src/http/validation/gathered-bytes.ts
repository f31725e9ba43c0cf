const FIRST_BYTES = 1024;

/**
 * Bytes that arrive in pieces, copied into one block that doubles when it is full. Time and memory depend only on the
 * number of bytes, however they are cut: joining them anew for each piece would be quadratic, and a list of one-byte
 * pieces takes a hundred times their size.
 */
export class GatheredBytes {
  private block: Buffer = Buffer.alloc(0);
  private used = 0;

  get length(): number {
    return this.used;
  }

  append(piece: Uint8Array): void {
    const needed = this.used + piece.length;
    if (needed > this.block.length) {
      const larger = Buffer.allocUnsafe(Math.max(FIRST_BYTES, 2 * this.block.length, needed));
      this.block.copy(larger, 0, 0, this.used);
      this.block = larger;
    }
    this.block.set(piece, this.used);
    this.used = needed;
  }

  /** All bytes; valid until more are appended. */
  get bytes(): Buffer {
    return this.block.subarray(0, this.used);
  }

  /** Starts again, in the same block. */
  clear(): void {
    this.used = 0;
  }
}
