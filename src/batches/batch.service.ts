import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Principal } from '../access/principal.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { keyOf } from '../domain/books.js';
import { accountsOf } from '../domain/command.js';
import { LedgerError } from '../domain/errors.js';
import type { Origin } from '../domain/origin.js';
import { Ledger } from '../domain/ports.js';
import { isTooEarly } from '../holds/holds.dto.js';
import { executeInTime, tooEarly } from '../holds/holds.service.js';
import type { ErrorAnswer } from '../http/errors/error-answer.js';
import { answerOf } from '../http/exception.filter.js';
import { inForm } from '../http/openapi/resource.js';
import type { ResultStream } from '../http/server/result-stream.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { RefusedBodyError } from '../http/validation/refused-body.js';
import { inChunks } from './batch-body.js';
import { isRequest, MAX_ITEMS, namedIn, type BatchItem } from './batch-items.js';
import {
  BatchPreparation,
  isPrepared,
  type PostedAnswer,
  type Prepared,
  type PreparedItem,
} from './batch-preparation.js';

/** Maximum number of items of one batch that have gone to the ledger and whose results are not written yet. */
const MAX_IN_FLIGHT = 1_000;

/** The result of an item: the answer that it would have got as a single call. */
type Result = PostedAnswer | ErrorAnswer;

/** The answer to an atomic batch, as a whole and for each item. */
export interface AtomicAnswer extends Pick<ErrorAnswer, 'status' | 'headers'> {
  readonly results: readonly string[];
}

/** The sender of a batch. */
export interface BatchSender extends Pick<Origin, 'span'> {
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

/**
 * Counts each item, with its number of transactions, against the rate limit by itself: its error, or undefined if it is
 * admitted.
 */
export type AdmitEach = (weights: readonly number[]) => Promise<readonly (Error | undefined)[]>;

@Injectable()
export class BatchService {
  private readonly logger = new Logger('HTTP');
  private readonly maxInFlight: number;

  constructor(
    private readonly ledger: Ledger,
    private readonly preparation: BatchPreparation,
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
    const { user, requestId } = sender;
    const principal = await sender.principalNow();
    const inOneShard = refuseOtherShards(items, (id) => this.ledger.shardOf(id));
    if (!inOneShard.every(isRequest)) return this.notApplied(inOneShard, requestId);
    const shardOf = (id: number) => this.ledger.shardOf(id);
    const all = await this.prepareAll(inOneShard, principal, user);
    const prepared = refuseRepeatedKeys(all.map((item) => refuseBetweenShards(item, shardOf)));
    if (!prepared.every(isPrepared)) return this.notApplied(prepared, requestId);
    if (admit) await admit(totalOf(prepared));
    const late = prepared.find(({ command }) => command.type === 'hold' && isTooEarly(command));
    return late ? this.refuseLate(prepared, late, sender) : this.execute(prepared, sender);
  }

  /**
   * In chunks, so that no more is looked up than a batch may hold.
   *
   * @throws RefusedBodyError
   */
  private async prepareAll(
    items: readonly BatchItem[],
    principal: Principal,
    user: string,
  ): Promise<readonly PreparedItem[]> {
    const all: PreparedItem[] = [];
    let transactions = 0;
    for await (const chunk of inChunks(items)) {
      const prepared = await this.preparation.prepare(chunk, principal, user);
      all.push(...prepared);
      transactions += totalOf(prepared.filter(isPrepared));
      if (transactions > MAX_ITEMS) throw new RefusedBodyError('TOO_MANY_TRANSACTIONS');
    }
    return all;
  }

  private async execute(prepared: readonly Prepared[], sender: BatchSender): Promise<AtomicAnswer> {
    return atomicAnswer(await this.outcomes(prepared, sender), sender.textMoney);
  }

  private outcomes(prepared: readonly Prepared[], sender: BatchSender): Promise<Result[]> {
    const commands = prepared.map(({ command }) => command);
    const { user, requestId } = sender;
    const effects = this.ledger.executeAtomically(commands, user, sender);
    return Promise.all(
      effects.map((one, index) =>
        one.then(
          (ofOne): Result => (prepared[index] as Prepared).answer(ofOne),
          (error: unknown) => this.refused(error, requestId),
        ),
      ),
    );
  }

  /** A hold would end too early. The batch may still be the retry of one that was applied; a dry run tells. */
  private async refuseLate(
    prepared: readonly Prepared[],
    late: Prepared,
    sender: BatchSender,
  ): Promise<AtomicAnswer> {
    const rehearsal = prepared.map((item) => ({ ...item, command: { ...item.command, dryRun: true } }));
    const outcomes = await this.outcomes(rehearsal, sender);
    if (outcomes.some(({ code }) => code !== undefined)) return atomicAnswer(outcomes, sender.textMoney);
    return this.notApplied(
      prepared.map((item) => (item === late ? tooEarly() : item)),
      sender.requestId,
    );
  }

  /** Replaces items that must not reach the ledger with an error. */
  private async checked(
    items: readonly BatchItem[],
    admitEach: AdmitEach | undefined,
    sender: BatchSender,
  ): Promise<readonly PreparedItem[]> {
    let principal: Principal;
    try {
      principal = await sender.principalNow();
    } catch (error) {
      return items.map(() => error as Error);
    }
    const prepared = await this.preparation.prepare(items, principal, sender.user);
    return admitEach ? admitted(prepared, admitEach) : prepared;
  }

  /** Answers each item with its error, and the others with "not applied". */
  private notApplied(items: readonly (object | Error)[], requestId: string): AtomicAnswer {
    const stopped = new LedgerError({ code: 'NOT_APPLIED' });
    const errors = items.map((item) => this.refused(item instanceof Error ? item : stopped, requestId));
    return atomicAnswer(errors, false);
  }

  private async post(item: PreparedItem, sender: BatchSender): Promise<string> {
    const { requestId, textMoney } = sender;
    try {
      if (!isPrepared(item)) throw item;
      const { command } = item;
      const effects =
        command.type === 'hold'
          ? await executeInTime(this.ledger, command, sender)
          : await this.ledger.execute(command, sender);
      return resultText(item.answer(effects), textMoney);
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

function resultText(result: Result, textMoney: boolean): string {
  const { status, code, body } = result;
  if (code !== undefined) return `{"status":${status},"code":"${code}","body":${JSON.stringify(body)}}`;
  return `{"status":${status},"body":${inForm(result.as, textMoney).write(body)}}`;
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
async function admitted(
  items: readonly PreparedItem[],
  admitEach: AdmitEach,
): Promise<readonly PreparedItem[]> {
  const problems = (await admitEach(items.filter(isPrepared).map(({ weight }) => weight))).values();
  return items.map((item) => (isPrepared(item) ? (problems.next().value ?? item) : item));
}

const totalOf = (items: readonly Prepared[]) => items.reduce((sum, { weight }) => sum + weight, 0);

/** Replaces items that don't fit an atomic batch, because they are in another shard than the first, with an error. */
export function refuseOtherShards(
  items: readonly BatchItem[],
  shardOf: (id: number) => number,
): readonly BatchItem[] {
  const first = items.find(isRequest);
  const shard = first && shardOf(namedIn(first).ids[0] ?? 0);
  return items.map((item) => {
    if (!isRequest(item)) return item;
    const { field, ids } = namedIn(item);
    const [one = 0, ...others] = ids.map(shardOf);
    if (others.some((other) => other !== one)) return new LedgerError({ code: 'DIFFERENT_SHARDS' });
    return one === shard ? item : InvalidRequestError.of(field, OTHER_SHARD);
  });
}

/** Replaces an item that turns out to concern accounts of several shards, like a reversal, with an error. */
export function refuseBetweenShards(item: PreparedItem, shardOf: (id: number) => number): PreparedItem {
  if (!isPrepared(item)) return item;
  const [one, ...others] = accountsOf(item.command).map(shardOf);
  return others.every((other) => other === one) ? item : new LedgerError({ code: 'DIFFERENT_SHARDS' });
}

/** Replaces items whose key was given before, for the same account, with an error. */
export function refuseRepeatedKeys(items: readonly PreparedItem[]): readonly PreparedItem[] {
  const keys = new Set<string>();
  return items.map((item) => {
    if (!isPrepared(item) || item.command.idempotencyKey === undefined) return item;
    const key = keyOf(item.command.accountId, item.command.idempotencyKey);
    if (keys.has(key)) return InvalidRequestError.of('idempotencyKey', KEY_TWICE);
    keys.add(key);
    return item;
  });
}

const OTHER_SHARD = 'is in another shard than the first account: an atomic batch stays within one shard';
const KEY_TWICE = 'is given twice in an atomic batch';

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
