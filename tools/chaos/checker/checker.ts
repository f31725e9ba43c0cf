import type { Books } from './books.js';
import type { Answer, Attempt, Entry, Operation } from './history.js';
import type { Violations } from './rules.js';

/** Takes one pass over the history, in order. */
export abstract class Checker {
  protected readonly operations = new Map<number, Operation>();
  /** When the history begins, in milliseconds since 1970. */
  protected epochMs = 0;

  constructor(
    protected readonly books: Books,
    protected readonly violations: Violations,
  ) {}

  take(entry: Entry): void {
    if (entry.entry === 'start') this.epochMs = entry.epochMs;
    if (entry.entry === 'intent') this.operations.set(entry.op, entry.operation);
    if (entry.entry === 'attempt') this.begin(entry);
    if (entry.entry === 'answer') this.settle(entry);
  }

  /** Call it once the whole history was read. */
  abstract finish(): void;

  protected abstract begin(attempt: Attempt): void;
  protected abstract settle(answer: Answer): void;
}
