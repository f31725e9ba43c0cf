export interface Page<T> {
  readonly data: readonly T[];
  /** null: this is the last page. */
  readonly nextCursor: string | null;
}

/** A list. `for await` reads all of it, page by page, as it is consumed. */
export class Pages<T> implements AsyncIterable<T> {
  constructor(private readonly load: (cursor?: string) => Promise<Page<T>>) {}

  /** One page: the first one, or that of an earlier page's `nextCursor`. */
  page(cursor?: string): Promise<Page<T>> {
    return this.load(cursor);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    let cursor: string | undefined;
    do {
      const { data, nextCursor } = await this.load(cursor);
      yield* data;
      if (nextCursor === cursor) throw new Error('the list does not go on: its cursor leads to itself');
      cursor = nextCursor ?? undefined;
    } while (cursor !== undefined);
  }
}
