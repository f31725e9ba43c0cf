export interface Node<T> {
  readonly value: T;
  before: Node<T> | undefined;
  after: Node<T> | undefined;
}

/**
 * A doubly linked list: appending, removing any node and reading either end cost O(1). A Set would do, but V8 finds its
 * first element by stepping over all deleted ones before it.
 */
export class LinkedList<T> {
  first: Node<T> | undefined;
  last: Node<T> | undefined;

  append(value: T): Node<T> {
    const node: Node<T> = { value, before: this.last, after: undefined };
    if (this.last) this.last.after = node;
    else this.first = node;
    this.last = node;
    return node;
  }

  /** @param node of this list */
  remove(node: Node<T>): void {
    const { before, after } = node;
    if (before) before.after = after;
    else this.first = after;
    if (after) after.before = before;
    else this.last = before;
  }
}
