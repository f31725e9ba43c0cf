/** The rules that the checker applies to a run. */
export const RULES = {
  'acknowledged-lost': 'every acknowledged transaction is in the books, with the acknowledged values',
  'applied-twice': 'an operation, and an idempotency key on an account, is applied at most once',
  'refused-but-applied': 'what was refused, and what was answered 408 or 503 Overloaded, left nothing',
  'from-nowhere': 'every transaction and every change of an account in the books was asked for',
  'key-forgotten': 'a retry of a request that succeeded is answered Duplicate, with the id of the first',
  'wrong-refusal': 'a refusal is true of the account at some moment of the request',
  'version-check': 'a transaction with an expected version is the one that follows it',
  'revision-check':
    'a change with an expected revision is the one that follows it, and an answer tells a revision that the account had',
  'wrong-order':
    'a request that begins after an acknowledgement comes after it, and one that is submitted after the acceptance of another after that',
  'never-decided': 'what was accepted is posted or refused once all is healed',
  'decided-twice': 'what was accepted, or sent to another shard, has one outcome, which never changes',
  'refusal-forgotten':
    'a refused submission, and a transfer that another shard refused, is on record, and every repeat gets the same answer',
  'books-unsound':
    'versions run without gaps and times forwards, balances are credits less debits, and what is held is the holds less the releases',
  overdrawn: 'no account is ever below what its holds and its overdraft limit allow',
  'half-applied': 'a command is applied with all its parts, each once, or not at all',
  'torn-batch': 'an atomic batch is applied with all its commands, in one piece, or not at all',
  'sides-differ':
    'both shards of a transfer tell the same of it: debited and credited once, or refused and given back',
  'transfer-undecided': 'a transfer to another shard is completed or has failed once all is healed',
  'hold-broken':
    'what was captured, released and remains of a hold is what was put on hold; it ends once, and never by a client after it has expired',
  'over-reversed': 'a transaction is reversed on its account for at most its amount',
  'status-ignored': 'a transaction is one that the status of its account allows',
  'money-created': 'the money in the bank is the deposits less the withdrawals and captures',
  'wrong-read': 'a read shows a balance, or transactions, that the account had at that version',
  'stale-read': 'a read is at least as new as what was acknowledged before it began',
  'cache-differs': 'once all is healed, every instance answers what the database holds',
  'event-missing':
    'every transaction, transfer, step of a hold and change of an account is published, those of one account in their order',
  'event-wrong': 'every event matches the books',
  'foreign-account': 'an owner only pays into accounts of another owner, and learns nothing of them',
  'credential-refused':
    'a good credential is never answered 401, 403 or 404, but for accounts of another owner',
  'credential-forgotten':
    'a process goes on accepting a credential that it has accepted, whether its key can be read or not',
  bulkhead: 'no shard fails because another one does',
  'unexpected-answer': 'no answer but those of the contract, and none that says there is a defect',
  'service-ended': 'the service never ends by itself',
  unresolved: 'every unknown outcome is resolved by a retry with its key',
} as const;

export type Rule = keyof typeof RULES;

export interface Violation {
  readonly rule: Rule;
  readonly detail: string;
}

/** Counts violations and keeps the first few of each rule in full. */
export class Violations {
  readonly kept: Violation[] = [];
  private readonly counts = new Map<Rule, number>();

  add(rule: Rule, detail: string): void {
    const count = (this.counts.get(rule) ?? 0) + 1;
    this.counts.set(rule, count);
    if (count <= KEPT_OF_EACH) this.kept.push({ rule, detail });
  }

  get byRule(): ReadonlyMap<Rule, number> {
    return this.counts;
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }
}

const KEPT_OF_EACH = 10;
