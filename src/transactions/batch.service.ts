import { Inject, Injectable, Logger } from '@nestjs/common';
import { forbidden } from '../access/access-errors.js';
import { MOVEMENT_SCOPES, type Principal } from '../access/principal.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { LedgerError } from '../domain/errors.js';
import { Ledger } from '../domain/ports.js';
import type { PostingCommand } from '../domain/command.js';
import type { ErrorAnswer } from '../http/errors/error-answer.js';
import type { Transaction } from '../domain/transaction.js';
import { answerOf } from '../http/exception.filter.js';
import type { ResultStream } from '../http/server/result-stream.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { isCommand, refuseUnfit, type BatchItem } from './batch-items.js';
import { inForm, written } from '../http/openapi/resource.js';
import { ReceiptDto } from '../http/openapi/receipt.js';

/** Maximum number of items of one batch that have gone to the ledger and whose results are not written yet. */
const MAX_IN_FLIGHT = 1_000;

/** The answer to a transaction that was posted. */
interface PostedAnswer {
  readonly status: 201;
  readonly code?: undefined;
  readonly body: ReceiptDto;
}

/** The result of an item: the answer that it would have got as a single call. */
type Result = PostedAnswer | ErrorAnswer;

/** The answer to an atomic batch, as a whole and for each item. */
export interface AtomicAnswer extends Pick<ErrorAnswer, 'status' | 'headers'> {
  readonly results: readonly string[];
}

/** The sender of a batch. */
export interface BatchSender {
  /** The name under which users share limited resources. */
  readonly user: string;
  /** Leads from the answer to an internal error to its line in the log. */
  readonly requestId: string;
  /** The form of the money in its results. */
  readonly textMoney: boolean;
  /**
   * Checks the credential again: it may end while the rest of a batch is arriving. @throws UnauthorizedError when it
   * has
   */
  principalNow(): Promise<Principal>;
}

/** Counts each transaction against the rate limit by itself: its error, or undefined if it is admitted. */
export type AdmitEach = (transactions: number) => Promise<readonly (Error | undefined)[]>;

@Injectable()
export class BatchService {
  private readonly logger = new Logger('HTTP');
  private readonly maxInFlight: number;

  constructor(
    private readonly ledger: Ledger,
    private readonly owners: AccountOwners,
    @Inject(CONFIG) { http, ledger: { queue } }: Config,
  ) {
    // All batches together take at most half of a shard's queue, or one place each if the queue is very short.
    const share = Math.floor(queue / 2 / http.maxBatches);
    this.maxInFlight = Math.max(1, Math.min(MAX_IN_FLIGHT, share));
  }

  /**
   * Posts each item by itself, in order, and writes the results in the same order, a chunk's as soon as all of them are
   * known. Stops when nobody reads the results any more; what the ledger has by then is still carried out.
   */
  async postEach(
    chunks: AsyncIterable<readonly BatchItem[]>,
    results: ResultStream,
    admitEach: AdmitEach | undefined,
    sender: BatchSender,
  ): Promise<void> {
    const inFlight: { readonly items: number; readonly written: Promise<void> }[] = [];
    let itemsInFlight = 0;
    let allWritten = Promise.resolve();
    for await (const chunk of parts(chunks, this.maxInFlight)) {
      while (itemsInFlight + chunk.length > this.maxInFlight) {
        const oldest = inFlight.shift();
        await oldest?.written;
        itemsInFlight -= oldest?.items ?? 0;
      }
      const items = await this.checked(chunk, admitEach, sender);
      if (results.isGone) break;
      const answers = Promise.all(items.map((item) => this.post(item, sender)));
      const before = allWritten;
      allWritten = answers.then(async (texts) => {
        await before;
        await results.write(texts);
      });
      inFlight.push({ items: items.length, written: allWritten });
      itemsInFlight += items.length;
    }
    await allWritten;
    results.end();
  }

  /** Posts all items or none. An error that is found before the ledger is asked also stops them all. */
  async postAtomically(
    items: readonly BatchItem[],
    admit: ((transactions: number) => Promise<void>) | undefined,
    sender: BatchSender,
  ): Promise<AtomicAnswer> {
    const { user, requestId, textMoney } = sender;
    const principal = await sender.principalNow();
    const fit = refuseUnfit(items, (accountId) => this.ledger.shardOf(accountId));
    if (!fit.every(isCommand)) return this.notApplied(fit, requestId);
    const commands = await this.refuseForbidden(fit, principal, user);
    if (!commands.every(isCommand)) return this.notApplied(commands, requestId);
    if (admit) await admit(commands.length);
    const posted = this.ledger.executeAtomically(commands, user);
    return atomicAnswer(
      await Promise.all(
        posted.map((one) =>
          one.then(
            ({ transactions }): Result => ({
              status: 201,
              body: new ReceiptDto(transactions.at(-1) as Transaction),
            }),
            (error: unknown) => this.refused(error, requestId),
          ),
        ),
      ),
      textMoney,
    );
  }

  /** Replaces items that must not reach the ledger with an error. */
  private async checked(
    items: readonly BatchItem[],
    admitEach: AdmitEach | undefined,
    sender: BatchSender,
  ): Promise<readonly BatchItem[]> {
    let principal: Principal;
    try {
      principal = await sender.principalNow();
    } catch (error) {
      return items.map(() => error as Error);
    }
    const allowed = await this.refuseForbidden(items, principal, sender.user);
    return admitEach ? admitted(allowed, admitEach) : allowed;
  }

  /** Replaces items that the sender may not post, because of their type or their account, with an error. */
  private async refuseForbidden(
    items: readonly BatchItem[],
    principal: Principal,
    user: string,
  ): Promise<readonly BatchItem[]> {
    const { owner } = principal;
    const allowed = refuse(items, ({ type }) => forbidden(principal, MOVEMENT_SCOPES[type]));
    if (owner === undefined) return allowed;
    const accountIds = allowed.filter(isCommand).map(({ accountId }) => accountId);
    const problems = await this.owners.problems(owner, accountIds, user);
    return refuse(allowed, ({ accountId }) => problems.get(accountId));
  }

  /** Answers each item with its error, and the others with "not applied". */
  private notApplied(items: readonly BatchItem[], requestId: string): AtomicAnswer {
    const stopped = new LedgerError({ code: 'NOT_APPLIED' });
    const errors = items.map((item) => this.refused(isCommand(item) ? stopped : item, requestId));
    return atomicAnswer(errors, false);
  }

  private async post(item: BatchItem, { requestId, textMoney }: BatchSender): Promise<string> {
    try {
      if (!isCommand(item)) throw item;
      return resultText({ status: 201, body: new ReceiptDto(await this.ledger.post(item)) }, textMoney);
    } catch (error) {
      return resultText(this.refused(error, requestId), textMoney);
    }
  }

  private refused(error: unknown, requestId: string): ErrorAnswer {
    const answer = answerOf(error);
    if (answer.status === 500) this.logger.error({ msg: 'internal error', requestId, err: error });
    return answer;
  }
}

const receipt = written(ReceiptDto);

function resultText({ status, code, body }: Result, textMoney: boolean): string {
  if (code !== undefined) return `{"status":${status},"code":"${code}","body":${JSON.stringify(body)}}`;
  return `{"status":${status},"body":${inForm(receipt, textMoney).write(body)}}`;
}

/** Splits chunks into parts that fit the window. */
async function* parts(
  chunks: AsyncIterable<readonly BatchItem[]>,
  maxItems: number,
): AsyncGenerator<readonly BatchItem[]> {
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += maxItems) yield chunk.slice(at, at + maxItems);
  }
}

/** Replaces items over the rate limit with an error. Items that have an error already are not counted. */
async function admitted(items: readonly BatchItem[], admitEach: AdmitEach): Promise<readonly BatchItem[]> {
  const problems = (await admitEach(items.filter(isCommand).length)).values();
  return refuse(items, () => problems.next().value);
}

/** Replaces each command that has a problem with an error. */
function refuse(
  items: readonly BatchItem[],
  problemOf: (command: PostingCommand) => Error | undefined,
): readonly BatchItem[] {
  return items.map((item) => (isCommand(item) ? (problemOf(item) ?? item) : item));
}

/** The first result that stopped the batch decides its status and its header fields. */
function atomicAnswer(results: readonly Result[], textMoney: boolean): AtomicAnswer {
  const stopped = results.find((result) => result.code !== undefined && result.code !== 'NOT_APPLIED');
  return {
    status: 200,
    headers: {},
    ...stopped,
    results: results.map((result) => resultText(result, textMoney)),
  };
}
