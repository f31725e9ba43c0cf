import { PayloadTooLargeException } from '@nestjs/common';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { accountsOf } from '../domain/command.js';
import { LedgerError } from '../domain/errors.js';
import type { Ledger } from '../domain/ports.js';
import { isTooEarly, placingOf } from '../holds/holds.dto.js';
import { tooEarly } from '../holds/holds.service.js';
import { principalNow } from '../http/access/access.guard.js';
import { readKeyOf } from '../http/idempotency.interceptor.js';
import { QueuedSubmissionDto } from '../http/openapi/queued-submission.js';
import { written } from '../http/openapi/resource.js';
import type { TransactionRate } from '../http/transaction-rate.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { BODY_LIMIT_BYTES } from '../http/validation/json-body.js';
import { jsonTextOf } from '../http/validation/metadata.js';
import { prefersAsync, RESPOND_ASYNC } from '../http/validation/preferences.js';
import { contentTypeOf, JSON_MEDIA_TYPE } from '../http/validation/representation.js';
import { postingOf } from '../transactions/transactions.dto.js';
import { transferOf } from '../transfers/transfers.dto.js';
import { nameOf, writeSubmissionId } from './submission-id.js';
import type { SubmissionPublisher } from './submission-publisher.js';
import type { SubmittedRequest } from './submission.js';

/** A shard, for those who submit. */
export interface SubmissionShard {
  /** Undefined: its database has not been reached since the start. */
  readonly submissionSecret: string | undefined;
  readonly publisher: SubmissionPublisher;
}

/** What accepting submissions depends on. */
export interface Acceptance {
  readonly ledger: Ledger;
  readonly shards: readonly SubmissionShard[];
  /** Undefined: there is no limit. */
  readonly rate: TransactionRate | undefined;
}

interface Route {
  readonly read: (request: FastifyRequest) => SubmittedRequest;
  /** What an item of a batch says besides the body of this route. */
  readonly besides: (request: SubmittedRequest) => object;
}

const ofAccount = ({ accountId }: SubmittedRequest) => ({ accountId });

const ROUTES: ReadonlyMap<string, Route> = new Map<string, Route>([
  ['POST /accounts/:accountId/transactions', { read: postingOf, besides: ofAccount }],
  [
    'POST /accounts/:accountId/holds',
    { read: placingOf, besides: (request) => ({ type: 'Hold', ...ofAccount(request) }) },
  ],
  ['POST /transfers', { read: transferOf, besides: () => ({ type: 'Transfer' }) }],
]);

/**
 * Takes over those requests of the routes for postings, transfers and holds that prefer to be answered before they are
 * decided: they are checked as far as that needs no database, queued, and answered 202. They need no permit of the
 * ledger, so call it after `admitPostings`, and before the routes are made.
 */
export function acceptSubmissions(fastify: FastifyInstance, acceptance: Acceptance): void {
  fastify.addHook('onRoute', (route) => {
    const submitted = ROUTES.get(`${String(route.method)} ${route.url}`);
    if (!submitted) return;
    const others = [route.preValidation ?? []].flat();
    const accept = (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => {
      if (request.headers.prefer === undefined || !prefersAsync(request.headers)) return done();
      submit(request, reply, submitted, acceptance).then((isAccepted) => {
        if (!isAccepted) done();
      }, done);
    };
    route.preValidation = [accept, ...others];
  });
}

/**
 * @returns false: it is a dry run, which is answered at once
 * @throws what the request would be answered otherwise
 */
async function submit(
  request: FastifyRequest,
  reply: FastifyReply,
  { read, besides }: Route,
  { ledger, shards, rate }: Acceptance,
): Promise<boolean> {
  // Its body may have taken longer than a revocation needs.
  request.principal = await principalNow(request);
  readKeyOf(request);
  const submitted = read(request);
  if (submitted.dryRun === true) return false;
  check(request, submitted, ledger);
  const index = ledger.shardOf(submitted.accountId);
  const { submissionSecret: secret, publisher } = shards[index] as SubmissionShard;
  if (secret === undefined) throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion: null });
  const { idempotencyKey } = submitted;
  const item = jsonTextOf({ ...(request.body as object), ...besides(submitted), idempotencyKey });
  if (Buffer.byteLength(item) > BODY_LIMIT_BYTES) throw new PayloadTooLargeException();
  if (rate) await rate.admit(request, reply, accountsOf(submitted).length);
  const claim = { principal: request.principal, at: Date.now() };
  await publisher.publish({ claim, item }, secret);
  answer(request, reply, submitted, index, secret);
  return true;
}

/** What can be known without the database. */
function check(request: FastifyRequest, submitted: SubmittedRequest, ledger: Ledger): void {
  if (submitted.idempotencyKey === undefined)
    throw InvalidRequestError.of('Idempotency-Key', `must be given with Prefer: ${RESPOND_ASYNC}`);
  if (request.headers['if-match'] !== undefined)
    throw InvalidRequestError.of('If-Match', `is not supported with Prefer: ${RESPOND_ASYNC}; ${INSTEAD}`);
  const [first, ...others] = accountsOf(submitted).map((accountId) => ledger.shardOf(accountId));
  if (others.some((shard) => shard !== first)) throw new LedgerError({ code: 'DIFFERENT_SHARDS' });
  if (submitted.type === 'hold' && isTooEarly(submitted)) throw tooEarly();
}

const INSTEAD = 'give expectedVersion in the body';

function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  submitted: SubmittedRequest,
  shard: number,
  secret: string,
): void {
  const name = nameOf(submitted, shard, request.principal.owner);
  const id = writeSubmissionId(name, secret);
  void reply
    .status(202)
    .headers({
      'preference-applied': RESPOND_ASYNC,
      location: `/submissions/${id}`,
      'content-type': contentTypeOf(JSON_MEDIA_TYPE, { textMoney: false }),
    })
    .send(written(QueuedSubmissionDto).write(new QueuedSubmissionDto(id, name)));
}
