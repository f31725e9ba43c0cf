import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { LedgerError } from '../domain/errors.js';
import { BATCH_BODY_LIMIT_BYTES } from './validation/json-body.js';
import { MAX_ID } from '../domain/account.js';
import type { ConcurrencyLimiter, Ledger } from '../domain/ports.js';
import { userOf } from '../access/user.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Frees its permit of the ledger's limiter. */
    freePermit?: (reachedDatabase: boolean) => void;
    /** When it began to wait for its permit, on the clock of performance.now(); undefined: it did not wait. */
    waitingSinceMs?: number;
    /** Of a batch: settles when nothing of it is in memory any more. */
    batchAtWork?: Promise<void>;
  }
}

/** Refused before the ledger was asked. */
const NEVER_POSTED: readonly number[] = [400, 401, 403, 429];
const POSTING = '/accounts/:accountId/transactions';
const BATCH = '/transactions/batch';
/** One transaction on each line. */
export const NDJSON_TYPES = ['application/x-ndjson', 'application/jsonl'];
/** Batches that wait for a place; one more is refused at once. */
export const MAX_BATCHES_HELD = 100;

/**
 * Lets only so many postings be at work at a time. Asked when the request has come in whole, so that none takes a place
 * while its client is slow, and before anything is made of it: a request that is refused for overload must cost little.
 * To be called before the routes are made.
 */
export function admitPostings(fastify: FastifyInstance, ledger: Ledger): void {
  fastify.addHook('onRoute', (route) => {
    if (route.method !== 'POST' || route.url !== POSTING) return;
    route.preValidation = (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void) =>
      enter(request, ledger, done);
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
 * Lets only a few batches be at work at a time. Asked before the body is read: held ones must not fill the memory. A
 * batch leaves when its answer has left and its work is done, which may go on for a moment without the client.
 */
export function admitBatches(fastify: FastifyInstance, limiter: ConcurrencyLimiter): void {
  fastify.addHook('onRoute', (route) => {
    if (route.method !== 'POST' || route.url !== BATCH) return;
    route.bodyLimit = BATCH_BODY_LIMIT_BYTES;
    route.preParsing = (request: FastifyRequest, reply: FastifyReply, payload, done) =>
      limiter.acquire({
        user: userOf(request),
        isGone: () => request.raw.socket.destroyed,
        granted: (free) => {
          const { socket } = request.raw;
          // The answer to a request that was pipelined behind another one may end without a word of its own.
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
export function isBatch(request: FastifyRequest): boolean {
  return request.routeOptions.url === BATCH;
}

function enter(request: FastifyRequest, ledger: Ledger, done: (error?: Error) => void): void {
  const accountId = Number((request.params as { accountId: string }).accountId);
  // It is answered 400 by what reads the path.
  if (!Number.isInteger(accountId) || accountId < 1 || accountId > MAX_ID) return done();
  ledger.limiterOf(accountId).acquire({
    user: userOf(request),
    isGone: () => request.raw.socket.destroyed,
    granted: (free, waitingSinceMs) => {
      request.freePermit = free;
      request.waitingSinceMs = waitingSinceMs;
      done();
    },
    rejected: () => done(new LedgerError({ code: 'OVERLOADED' })),
  });
}
