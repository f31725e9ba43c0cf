import { readHistory } from './history.js';
import { AccessChecker } from './check-access.js';
import { BatchChecker } from './check-batches.js';
import { checkBooks } from './check-books.js';
import { ChangeChecker } from './check-changes.js';
import { OwnerChecker } from './check-owners.js';
import { SubmissionChecker } from './check-submissions.js';
import { TransferChecker } from './check-transfers.js';
import { checkEvents, type Arrival } from './check-events.js';
import { HistoryChecker, type Tally } from './check-history.js';
import type { Books } from './books.js';
import { Violations } from './rules.js';

export interface Evidence {
  /** The path of the history. */
  readonly history: string;
  readonly books: Books;
  /** In the order of their arrival; undefined: nobody listened. */
  readonly arrivals: readonly Arrival[] | undefined;
  /** How long the shared cache may answer with a balance. */
  readonly cacheTtlMs: number;
}

export interface Verdict {
  readonly violations: Violations;
  readonly tally: Tally;
}

/**
 * Checks a run against the rules, without any code of the service: it reads what was sent and answered, what the
 * databases contain, and which events arrived, in one pass over each.
 */
export async function check({ history, books, arrivals, cacheTtlMs }: Evidence): Promise<Verdict> {
  const violations = new Violations();
  checkBooks(books, violations);
  const checker = new HistoryChecker(books, violations, cacheTtlMs);
  const access = new AccessChecker(books, violations);
  const batches = new BatchChecker(books, violations);
  const changes = new ChangeChecker(books, violations);
  const owners = new OwnerChecker(books, violations);
  const submissions = new SubmissionChecker(books, violations);
  const transfers = new TransferChecker(books, violations);
  for await (const entry of readHistory(history)) {
    checker.take(entry);
    access.take(entry);
    batches.take(entry);
    changes.take(entry);
    owners.take(entry);
    submissions.take(entry);
    transfers.take(entry);
  }
  access.finish();
  batches.finish();
  changes.finish();
  owners.finish();
  submissions.finish();
  transfers.finish();
  const tally = checker.finish();
  if (arrivals) checkEvents(books, arrivals, violations);
  if (books.unpublished > 0)
    violations.add('event-missing', `${books.unpublished} rows were never published`);
  return { violations, tally };
}
