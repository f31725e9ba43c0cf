import { forbidden } from '../access/access-errors.js';
import { MOVEMENT_SCOPES, SCOPES, type Principal } from '../access/principal.js';
import { isPrepared, type BatchPreparation, type PreparedItem } from '../batches/batch-preparation.js';
import { itemReader } from '../batches/batch-items.js';
import type { Decision } from '../domain/books.js';
import { accountsOf, fingerprintOfRequest, type Command } from '../domain/command.js';
import { isRejection, LedgerError, type Rejection } from '../domain/errors.js';
import type { Ledger } from '../domain/ports.js';
import { THE_SERVICE } from '../domain/sender.js';
import { isTooEarly } from '../holds/holds.dto.js';
import { tooEarly } from '../holds/holds.service.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import type { AccountOwners } from '../ledger/read/account-owners.js';
import type { SubmissionOutcome } from '../observability/metrics.js';
import { keyNameOf, type CurrentSender, type Senders } from './senders.js';
import type { SubmittedRequest } from './submission.js';
import { MalformedError, type QueuedRequest } from './submission-message.js';

/** What became of a message; an error says why it is no submission. */
export type Settled = Exclude<SubmissionOutcome, 'dead-lettered'> | MalformedError;

/** A message that was read. */
interface Submission extends CurrentSender {
  readonly request: SubmittedRequest;
}

/** Decides the submissions of one shard. */
export class SubmissionPoster {
  constructor(
    private readonly ledger: Ledger,
    private readonly owners: AccountOwners,
    private readonly preparation: BatchPreparation,
    private readonly senders: Senders,
    private readonly shardIndex: number,
  ) {}

  /**
   * Decides requests in their order: checks each like one over HTTP, and looks up again what its sender may do. Call it
   * again with those that were not decided, before any later one.
   *
   * @returns what became of each; undefined: it was not decided, because of a locked row
   * @throws LedgerError when nothing was decided, or that is not known; any other error is a defect in one of them
   */
  async decide(
    requests: readonly (QueuedRequest | MalformedError)[],
  ): Promise<readonly (Settled | undefined)[]> {
    const read = await this.read(requests);
    const prepared = await this.prepareAll(read.filter(isSubmission));
    const outcomes = read.map((each) => (isSubmission(each) ? (prepared.get(each) ?? 'dropped') : each));
    const commands = outcomes.filter((each) => isCommand(each));
    const decisions = (await this.ledger.decideInOrder(commands)).values();
    return outcomes.map((each) => (isCommand(each) ? settledBy(decisions.next().value) : each));
  }

  private async read(
    requests: readonly (QueuedRequest | MalformedError)[],
  ): Promise<(Submission | MalformedError)[]> {
    const claims = requests.flatMap((each) => (isMalformed(each) ? [] : each.claim));
    const senders = (await this.senders.resolve(claims)).values();
    return requests.map((each) => {
      if (isMalformed(each)) return each;
      const sender = senders.next().value;
      if (sender)
        return attempt(() => ({ ...sender, request: this.readRequest(each.item, sender.principal) }));
      const name = 'user' in each.claim ? keyNameOf(each.claim.user) : '';
      return new MalformedError(`there is no valid API key with the name ${name}`);
    });
  }

  /** @throws MalformedError */
  private readRequest(item: string, principal: Principal): SubmittedRequest {
    const request = readItem(item, principal);
    const { type } = request;
    if (type !== 'credit' && type !== 'debit' && type !== 'transfer' && type !== 'hold')
      throw new MalformedError('type must be one of: deposit, withdraw, transfer, hold');
    if (request.idempotencyKey === undefined) throw new MalformedError('idempotencyKey is missing');
    const shard = this.ledger.shardOf(request.accountId);
    if (shard !== this.shardIndex)
      throw new MalformedError(
        `account ${request.accountId} is in shard ${shard}: its routing key is ${shard}`,
      );
    return request;
  }

  /** The command of each submission; none: its sender may not use the account, so it must not spend its keys. */
  private async prepareAll(submissions: readonly Submission[]): Promise<ReadonlyMap<Submission, Command>> {
    const commands = new Map<Submission, Command>();
    const groups = Map.groupBy(submissions, ({ principal }) => principal.owner);
    await Promise.all(
      [...groups].map(async ([owner, group]) => {
        const accountIds = group.map(({ request }) => request.accountId);
        const problems = await this.owners.problems(owner, accountIds, THE_SERVICE);
        const own = group.filter(({ request }) => !isHidden(problems.get(request.accountId)));
        const requests = own.map(({ request }) => request);
        const prepared = await this.preparation.prepare(requests, mayDoAll(owner), THE_SERVICE);
        for (const [index, item] of prepared.entries()) {
          const submission = own[index] as Submission;
          commands.set(submission, this.commandOf(submission, item));
        }
      }),
    );
    return commands;
  }

  private commandOf(submission: Submission, item: PreparedItem): Command {
    const { request } = submission;
    const rejection = this.rejectionOf(submission, item);
    if (!rejection && isPrepared(item)) return { ...item.command, submitted: true };
    return {
      ...{ type: 'refusal', accountId: request.accountId, idempotencyKey: request.idempotencyKey },
      ...{ submitted: true, fingerprint: fingerprintOfRequest(request) },
      rejection: rejection ?? { code: 'SENDER_REFUSED' },
    };
  }

  /** @throws LedgerError when the database failed */
  private rejectionOf({ request, principal, ended }: Submission, item: PreparedItem): Rejection | undefined {
    if (!isPrepared(item)) return rejectionIn(item);
    if (ended || forbidden(principal, scopeOf(request))) return { code: 'SENDER_REFUSED' };
    const isElsewhere = (accountId: number) => this.ledger.shardOf(accountId) !== this.shardIndex;
    if (accountsOf(request).some(isElsewhere)) return { code: 'DIFFERENT_SHARDS' };
    return request.type === 'hold' && isTooEarly(request) ? rejectionIn(tooEarly()) : undefined;
  }
}

function attempt<T>(read: () => T): T | MalformedError {
  try {
    return read();
  } catch (error) {
    if (error instanceof MalformedError) return error;
    throw error;
  }
}

const isMalformed = (each: object): each is MalformedError => each instanceof MalformedError;
const isSubmission = (each: Submission | MalformedError): each is Submission => !isMalformed(each);
const isCommand = (each: Settled | Command): each is Command => typeof each === 'object' && 'type' in each;

/** @throws MalformedError */
function readItem(text: string, principal: Principal) {
  try {
    return itemReader({ principal, dryRun: false })(text);
  } catch (error) {
    if (error instanceof InvalidRequestError) {
      const problems = error.problems.map(({ field, message }) => `${field} ${message}`);
      throw new MalformedError(problems.join('; '));
    }
    throw new MalformedError(error instanceof Error ? error.message : 'it can not be read');
  }
}

const scopeOf = ({ type }: SubmittedRequest) => {
  if (type === 'transfer') return 'transfers:write';
  return type === 'hold' ? 'withdrawals:write' : MOVEMENT_SCOPES[type];
};

/** What a sender may do is checked after whose the account is: a refusal may only spend keys of the sender's accounts. */
const mayDoAll = (owner: string | undefined): Principal => ({ id: '', owner, scopes: new Set(SCOPES) });

/** @throws LedgerError when the database failed */
function isHidden(problem: Error | undefined): boolean {
  if (problem instanceof LedgerError && problem.failure.code === 'ACCOUNT_NOT_FOUND') return true;
  if (problem) throw problem;
  return false;
}

/** The decision that an error stands for. @throws any other error */
function rejectionIn(error: Error): Rejection {
  if (error instanceof InvalidRequestError) {
    const [{ field, message } = { field: 'body', message: 'is not valid' }] = error.problems;
    return { code: 'NO_LONGER_VALID', field, message };
  }
  if (error instanceof LedgerError) {
    const { failure } = error;
    if (isRejection(failure)) return failure;
  }
  throw error;
}

function settledBy(decision: Decision | undefined): Settled | undefined {
  if (!decision) return undefined;
  if (decision.accepted) return 'posted';
  if (decision.repeated === true) return 'repeated';
  const { rejection } = decision;
  // The account itself does not exist; of another one of a transfer it is told which.
  return rejection.code === 'ACCOUNT_NOT_FOUND' && rejection.accountId === undefined ? 'dropped' : 'refused';
}
