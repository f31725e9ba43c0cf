import { inspect } from 'node:util';
import fc from 'fast-check';
import type { Answer, OpenApiContract } from './contract.js';
import { Books } from './books.js';
import { fill, write, type Draft, type Sent } from './draft.js';
import { differences, formAskedFor, inAllForms } from './forms.js';
import { NoAnswerError, RawConnection } from './raw-connection.js';
import { requests } from './requests.js';
import { askedFor, isOfApi, isOfNoRequest, problemsOf, receiptsIn, type Asked } from './rules.js';
import { World } from './world.js';

/** A request, its answer, and the rules that this breaks. */
interface Exchange {
  readonly sent: Sent;
  /** Undefined: there was no answer. */
  readonly answer: Answer | undefined;
  readonly problems: readonly string[];
}

/** A request whose answer breaks a rule. */
export type Violation = Exchange;

const CONNECTIONS = 8;
/** Requests in flight together. When one breaks a rule, its batch is shrunk. */
const BATCH = 64;
const SHRINK_MS = 20_000;

/** Fires generated requests at a service and checks each answer against the document. */
export class Attack {
  readonly byStatus = new Map<number, number>();
  readonly byOperation = new Map<string, number>();
  readonly books = new Books();
  /** Answers that only the ledger can give. */
  reachedLedger = 0;
  sent = 0;
  /** Requests whose answers in all forms were compared. */
  inAllForms = 0;
  private readonly world = new World();
  private readonly connections: RawConnection[];

  constructor(
    url: string,
    private readonly contract: OpenApiContract,
    /** For how long a violation is made smaller. */
    private readonly shrinkMs = SHRINK_MS,
  ) {
    this.connections = Array.from({ length: CONNECTIONS }, () => new RawConnection(url));
  }

  /** @returns the smallest request found that breaks a rule; undefined if none did */
  async run(count: number, seed: number): Promise<Violation | undefined> {
    const request = requests(this.contract);
    const end = this.sent + count;
    for (let batch = 0; this.sent < end; batch++) {
      const maxLength = Math.min(BATCH, end - this.sent);
      const drafts = fc.array(request, { minLength: 1, maxLength, size: 'max' });
      // Neighbouring seeds must not share batches.
      const violation = await this.check(drafts, Math.imul(seed, 0x9e3779b1) + batch);
      if (violation) return violation;
    }
    return undefined;
  }

  close(): void {
    for (const connection of this.connections) connection.close();
  }

  /** Fires one batch and, if it breaks a rule, smaller and smaller ones. */
  private async check(drafts: fc.Arbitrary<readonly Draft[]>, seed: number): Promise<Violation | undefined> {
    let smallest: Violation | undefined;
    let giveUpAt = Infinity;
    const property = fc.asyncProperty(drafts, async (batch) => {
      if (performance.now() > giveUpAt) return true;
      const violation = (await this.fireAll(batch)) ?? (await this.compareForms(batch));
      if (!violation) return true;
      // Bytes that broken framing has left on a connection must not count as answers to the next batch.
      this.close();
      if (!smallest) giveUpAt = performance.now() + this.shrinkMs;
      smallest = violation;
      return false;
    });
    await fc.check(property, { seed, numRuns: 1 });
    return smallest;
  }

  /** @returns the first violation */
  async fireAll(drafts: readonly Draft[]): Promise<Violation | undefined> {
    const waiting = drafts.values();
    const violations: Violation[] = [];
    const work = async (connection: RawConnection) => {
      // All connections share one iterator: each takes the next draft when it is free.
      for (const draft of waiting) {
        const violation = await this.fire(draft, connection);
        if (violation) violations.push(violation);
      }
    };
    await Promise.all(this.connections.map(work));
    return violations[0];
  }

  /** Sends some requests in all forms of answers, one after the other, while nothing else happens. */
  private async compareForms(drafts: readonly Draft[]): Promise<Violation | undefined> {
    for (const draft of drafts) {
      // An Accept header that is wrong must stay.
      const isToBe = draft.inAllForms === true && formAskedFor(draft.headers);
      const violation = isToBe ? await this.fireInAllForms(draft) : undefined;
      if (violation) return violation;
    }
    return undefined;
  }

  private async fireInAllForms(draft: Draft): Promise<Violation | undefined> {
    const [connection] = this.connections as [RawConnection];
    const { plain, others } = inAllForms(this.filled(draft));
    const first = await this.exchange(plain, connection);
    if (first.problems.length > 0 || !first.answer) return first;
    if (!this.isComparable(first.sent, first.answer)) return undefined;
    this.inAllForms += 1;
    for (const other of others) {
      const { sent, answer, problems } = await this.exchange(other, connection);
      const form = formAskedFor(sent.headers);
      const all = [...problems, ...(answer && form ? differences(first.answer, answer, form) : [])];
      if (all.length > 0) return { sent, answer, problems: all };
    }
    return undefined;
  }

  /** Whether the answer is the same again, in another form. */
  private isComparable(sent: Sent, answer: Answer): boolean {
    const asked = askedFor(this.contract, sent);
    const isChange = sent.method === 'PATCH' && answer.status === 200;
    const hasChangedNothing =
      answer.status !== 201 && !isChange && receiptsIn(asked, sent, answer).length === 0;
    // The condition names the entity tags of one form.
    const isConditional = answer.status < 400 && sent.headers.some(([name]) => name === 'If-None-Match');
    // Deliveries go on meanwhile, a deletion succeeds once, and each rotation makes another secret.
    const isOfWebhooks = answer.status < 400 && sent.target.startsWith('/webhooks');
    const isSteady = hasChangedNothing && !isConditional && !isOfWebhooks;
    return isOfApi(asked) && isSteady && !isOfNoRequest(answer);
  }

  private filled(draft: Draft): Draft {
    return fill(draft, (path, text) => this.world.resolve(path, text));
  }

  private async fire(draft: Draft, connection: RawConnection): Promise<Violation | undefined> {
    const exchanged = await this.exchange(this.filled(draft), connection);
    return exchanged.problems.length > 0 ? exchanged : undefined;
  }

  private async exchange(draft: Draft, connection: RawConnection): Promise<Exchange> {
    const sent = write(draft);
    const asked = askedFor(this.contract, sent);
    this.sent += 1;
    try {
      const answer = await connection.exchange(sent.bytes, {
        isHead: sent.method === 'HEAD',
        last: sent.headers.some(([name]) => name === 'Connection'),
      });
      const problems = [
        ...problemsOf(this.contract, asked, sent, answer),
        ...this.world.listingProblems(sent.target, answer),
      ];
      this.note(asked, sent, answer);
      return { sent, answer, problems };
    } catch (error) {
      // Any other error is a defect of the fuzzer, and is also reported with the request that causes it.
      const problem = error instanceof NoAnswerError ? error.message : inspect(error);
      return { sent, answer: undefined, problems: [problem] };
    }
  }

  private note(asked: Asked, sent: Sent, answer: Answer): void {
    count(this.byStatus, answer.status);
    count(this.byOperation, typeof asked === 'object' ? asked.operationId : asked);
    if (typeof asked !== 'object') return;
    if (asked.requestBody && [200, 201, 404, 409, 412, 422].includes(answer.status)) this.reachedLedger += 1;
    this.books.record(asked, sent, answer);
    this.world.learn(sent.target, answer);
  }
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
