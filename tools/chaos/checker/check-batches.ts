import { isExpiry, type Books, type Posting } from './books.js';
import type { Answer, Attempt, Entry } from './history.js';
import type { Violations } from './rules.js';

/** One request of an atomic batch. */
interface Request {
  /** Its operations, in the order of its items. */
  readonly ops: number[];
  readonly answers: Answer[];
}

/**
 * Checks that atomic batches are applied with all their commands, in one piece, or not at all, and that they are
 * answered so. Takes one pass over the history, in order.
 */
export class BatchChecker {
  /** By the first attempt of each. */
  private readonly requests = new Map<number, Request>();
  private readonly batches = new Map<number, number>();

  constructor(
    private readonly books: Books,
    private readonly violations: Violations,
  ) {}

  take(entry: Entry): void {
    if (entry.entry === 'attempt' && entry.atomic === true) this.begin(entry);
    if (entry.entry !== 'answer') return;
    const batch = this.batches.get(entry.attempt);
    if (batch !== undefined) this.requests.get(batch)?.answers.push(entry);
    else if (entry.status === NOT_APPLIED) this.fail(`operation ${entry.op} stands for itself: Not applied`);
  }

  /** Call it once the whole history was read. */
  finish(): void {
    const seen = new Set<number>();
    for (const { ops, answers } of this.requests.values()) {
      const fault = answerFault(answers);
      if (fault) this.fail(`operations ${ops.join()}: ${fault}: ${JSON.stringify(answers)}`);
      // A batch that was sent again has the same operations.
      const [first = 0] = ops;
      if (!seen.has(first)) this.checkBatch(ops);
      seen.add(first);
    }
  }

  private begin({ attempt, op, batch = attempt }: Attempt): void {
    const request = this.requests.get(batch) ?? { ops: [], answers: [] };
    request.ops.push(op);
    this.requests.set(batch, request);
    this.batches.set(attempt, batch);
  }

  private checkBatch(ops: readonly number[]): void {
    const { byOperation, accounts } = this.books;
    const present = ops.filter((op) => byOperation.has(op));
    if (present.length === 0) return;
    if (present.length < ops.length)
      this.fail(`of the operations ${ops.join()} only ${present.join()} are in the books`);
    const concerned = new Set(ops.flatMap((op) => byOperation.get(op) ?? []).map((one) => one.accountId));
    for (const accountId of concerned) {
      const between = pieceOf(accounts.get(accountId)?.postings ?? [], ops);
      const places = between.map(({ op }) => ops.indexOf(op ?? 0));
      if (places.some((place, index) => place < (places[index - 1] ?? 0)))
        this.fail(`operations ${ops.join()} are not in one piece: ${JSON.stringify(between)}`);
    }
  }

  private fail(detail: string): void {
    this.violations.add('torn-batch', detail);
  }
}

const NOT_APPLIED = 424;

const isSuccess = ({ status }: Answer) => status === 200 || status === 201;

/** All succeed, or none does; and what is not applied has another item that stopped it. */
function answerFault(answers: readonly Answer[]): string | undefined {
  if (answers.some(isSuccess) && !answers.every(isSuccess)) return 'some succeeded, and some did not';
  const stopped = answers.some(({ status }) => status === NOT_APPLIED);
  return stopped && answers.every(({ status }) => status === NOT_APPLIED)
    ? 'nothing stopped them'
    : undefined;
}

/** What an account has from the first to the last posting of some operations, but for the ends of holds. */
function pieceOf(postings: readonly Posting[], ops: readonly number[]): readonly Posting[] {
  const isOurs = ({ op }: Posting) => op !== undefined && ops.includes(op);
  const piece = postings.slice(postings.findIndex(isOurs), postings.findLastIndex(isOurs) + 1);
  return piece.filter((posting) => !isExpiry(posting));
}
