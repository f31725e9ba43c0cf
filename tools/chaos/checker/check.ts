import { readHistory } from './history.js';
import { AccessChecker } from './check-access.js';
import { checkBooks, checkEvents, type Arrival } from './check-books.js';
import { HistoryChecker, type Tally } from './check-history.js';
import type { Books } from './books.js';
import { Violations } from './rules.js';

export interface Evidence {
  /** The file of the history. */
  readonly history: string;
  readonly books: Books;
  /** In the order in which they came; undefined where nobody listened. */
  readonly arrivals: readonly Arrival[] | undefined;
  /** How long a balance may be answered from the shared cache. */
  readonly cacheTtlMs: number;
  /** How many the bank has. */
  readonly shards: number;
}

export interface Verdict {
  readonly violations: Violations;
  readonly tally: Tally;
}

/**
 * Holds a run to the rules. Knows nothing of the service's code: it reads what was sent and answered, what the
 * databases hold, and which events arrived. One pass over each.
 */
export async function check({ history, books, arrivals, cacheTtlMs, shards }: Evidence): Promise<Verdict> {
  const violations = new Violations();
  checkBooks(books, violations);
  const checker = new HistoryChecker(books, violations, cacheTtlMs);
  const access = new AccessChecker(shards, violations);
  for await (const entry of readHistory(history)) {
    checker.take(entry);
    access.take(entry);
  }
  access.finish();
  const tally = checker.finish();
  if (arrivals) checkEvents(books, arrivals, violations);
  if (books.unpublished > 0)
    violations.add('event-missing', `${books.unpublished} rows are left in the outbox`);
  return { violations, tally };
}
