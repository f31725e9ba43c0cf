import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { AdaptiveConcurrencyLimiter } from '../concurrency/adaptive-concurrency-limiter.js';
import { MAX_LEGS } from '../domain/command.js';
import { LedgerError } from '../domain/errors.js';
import { readVersion } from './validation/field-rules.js';
import { BATCH_BODY_LIMIT_BYTES } from './validation/json-body.js';
import { parsePositiveInteger } from './validation/positive-integer.js';
import type { Ledger, PermitRequest } from '../domain/ports.js';
import { userOf } from '../access/user.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Frees its permit of the ledger's limiter. */
    freePermit?: (reachedDatabase: boolean) => void;
    /** When it began to wait for its permit, on the clock of performance.now(); undefined: it did not wait. */
    waitingSinceMs?: number;
    /** For a batch: settles when nothing of it is in memory any more. */
    batchAtWork?: Promise<void>;
  }
}

/** Statuses of requests that were rejected before they reached the ledger. */
const NEVER_POSTED: readonly number[] = [400, 401, 403, 429];
const BATCH = '/transactions/batch';
/** Batches that wait for a permit; one more is rejected at once. */
export const MAX_BATCHES_HELD = 100;

/** What a posting names, from which its shard can be told. */
interface Named {
  /** Undefined: validation will answer 400. */
  readonly id: number | undefined;
  /** The account to which its money goes, where it may be in another shard. */
  readonly to?: number;
}

type Names = (request: FastifyRequest) => Named;

/** The number after a prefix in a parameter of the path. The ids of all resources tell their shard. */
const inPath =
  (parameter: string, prefix = ''): Names =>
  ({ params }) => {
    const text = (params as Readonly<Record<string, string>>)[parameter] ?? '';
    return { id: text.startsWith(prefix) ? parsePositiveInteger(text.slice(prefix.length)) : undefined };
  };

/** The two accounts of a transfer. One of more legs stays within a shard. */
const inTransfer: Names = ({ body }) => {
  const { from, to, legs } = (body ?? {}) as Readonly<Record<'from' | 'to' | 'legs', unknown>>;
  const [one, other] = Array.isArray(legs) ? (legs as Readonly<Record<string, unknown>>[]) : [];
  const [payer, payee] = other?.['type'] === 'Withdraw' ? [other, one] : [one, other];
  return {
    id: readVersion(from ?? payer?.['accountId']),
    to: readVersion(to ?? payee?.['accountId']),
  };
};

const inCapture: Names = (request) => {
  const { to } = (request.body ?? {}) as { readonly to?: unknown };
  return { ...inPath('holdId', 'hold')(request), to: readVersion(to) };
};

/** The accounts that a request names in its path or, as a transfer, in its body; undefined: none. */
export function accountsNamedBy({
  params,
  body,
  routeOptions,
}: FastifyRequest): number | number[] | undefined {
  const { accountId } = (params ?? {}) as { readonly accountId?: string };
  if (accountId !== undefined) return parsePositiveInteger(accountId);
  if (routeOptions.url !== '/transfers') return undefined;
  const { from, to, legs } = (body ?? {}) as Readonly<Record<'from' | 'to' | 'legs', unknown>>;
  const ofLegs = Array.isArray(legs) ? (legs as { readonly accountId?: unknown }[]).slice(0, MAX_LEGS) : [];
  const named = [from, to, ...ofLegs.map((leg) => leg?.accountId)].map(readVersion);
  return named.filter((id) => id !== undefined);
}

/** Every route that gives the ledger a command, but for batches. */
const POSTINGS: ReadonlyMap<string, Names> = new Map([
  ['POST /accounts/:accountId/transactions', inPath('accountId')],
  ['POST /accounts/:accountId/holds', inPath('accountId')],
  ['POST /holds/:holdId/capture', inCapture],
  ['POST /holds/:holdId/void', inPath('holdId', 'hold')],
  ['POST /transactions/:transactionId/reversal', inPath('transactionId', 'txn')],
  ['POST /transfers', inTransfer],
  ['POST /transfers/:transferId/reversal', inPath('transferId', 'tr')],
  ['PATCH /accounts/:accountId', inPath('accountId')],
]);

/**
 * Bounds the postings in flight. A request asks once it has arrived completely, so that no slow client holds a permit,
 * and before anything is done with it: rejecting for overload must cost little. Call it before the routes are made.
 */
export function admitPostings(fastify: FastifyInstance, ledger: Ledger): void {
  fastify.addHook('onRoute', (route) => {
    const names = POSTINGS.get(`${String(route.method)} ${route.url}`);
    if (!names) return;
    route.preValidation = (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void) =>
      enter(request, names(request), ledger, done);
    route.onSend = (
      request: FastifyRequest,
      reply: FastifyReply,
      payload: unknown,
      done: (error: null, payload: unknown) => void,
    ) => {
      request.freePermit?.(!NEVER_POSTED.includes(reply.statusCode));
      request.freePermit = undefined;
      done(null, payload);
    };
  });
}

/**
 * Bounds the batches in flight. A batch asks before its body is read, because waiting ones must not fill the memory. It
 * frees its permit when its answer has been sent and its work is done, which may go on for a moment after the client
 * is gone.
 */
export function admitBatches(fastify: FastifyInstance, limiter: AdaptiveConcurrencyLimiter): void {
  fastify.addHook('onRoute', (route) => {
    if (route.method !== 'POST' || route.url !== BATCH) return;
    route.bodyLimit = BATCH_BODY_LIMIT_BYTES;
    route.preParsing = (request: FastifyRequest, reply: FastifyReply, payload, done) =>
      limiter.acquire({
        user: userOf(request),
        isGone: () => request.raw.socket.destroyed,
        granted: (free) => {
          const { socket } = request.raw;
          // The answer to a request that was pipelined behind another one may end without an event of its own.
          const ended = () => {
            reply.raw.off('close', ended);
            socket.off('close', ended);
            void Promise.allSettled([request.batchAtWork]).then(() => free(false));
          };
          reply.raw.once('close', ended);
          socket.once('close', ended);
          done(null, payload);
        },
        rejected: () => done(new LedgerError({ code: 'OVERLOADED' })),
      });
  });
}

/** A batch reads its body itself: as text, or as a stream. */
export function isBatch({ url }: FastifyRequest['routeOptions']): boolean {
  return url === BATCH;
}

/**
 * Exchanges a request's permit for that of a transfer to another shard, once it turns out to be one.
 *
 * @throws LedgerError OVERLOADED
 */
export function exchangePermit(
  request: FastifyRequest,
  ledger: Ledger,
  from: number,
  to: number,
): Promise<void> {
  request.freePermit?.(false);
  request.freePermit = undefined;
  return new Promise((resolve, reject) =>
    enter(request, { id: from, to }, ledger, (error) => (error ? reject(error) : resolve())),
  );
}

function enter(
  request: FastifyRequest,
  { id, to }: Named,
  ledger: Ledger,
  done: (error?: Error) => void,
): void {
  if (id === undefined) return done();
  const permit: PermitRequest = {
    user: userOf(request),
    isGone: () => request.raw.socket.destroyed,
    granted: (free, waitingSinceMs) => {
      request.freePermit = free;
      request.waitingSinceMs ??= waitingSinceMs;
      done();
    },
    rejected: () => done(new LedgerError({ code: 'OVERLOADED' })),
  };
  ledger.acquirePermit(id, permit, to);
}
