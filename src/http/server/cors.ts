import cors, { type FastifyCorsOptions } from '@fastify/cors';
import { NotFoundException } from '@nestjs/common';
import type { FastifyInstance, FastifyRequest } from 'fastify';

declare module 'fastify' {
  interface FastifyContextConfig {
    cors?: false;
  }
}

/** A browser asks again after so many seconds. */
const PREFLIGHT_MAX_AGE_S = 600;
/** They are for operators and for pages of the service's own. */
const NOT_FOR_OTHERS = /^\/(?:health|metrics|docs)\b/;

/**
 * Lets the scripts of web pages of these origins use the API. No credentials in the sense of CORS: those are cookies,
 * which the service has none of. To be called after the first hook and before those that refuse: an answer that refuses is
 * for the page to read, too, and a browser's question beforehand carries no credential.
 */
export function allowOrigins(fastify: FastifyInstance, origins: readonly string[]): void {
  fastify.addHook('onRoute', (route) => {
    if (NOT_FOR_OTHERS.test(route.url)) route.config = { ...route.config, cors: false };
  });
  fastify.addHook('onRequest', (request, _reply, done) => {
    const unasked = request.method === 'OPTIONS' && !isPreflight(request);
    done(unasked ? new NotFoundException() : undefined);
  });
  // Called and not registered: a plugin's hooks come after all that are added before it is loaded.
  const options: FastifyCorsOptions = {
    origin: [...origins],
    methods: ['GET', 'HEAD', 'POST'],
    allowedHeaders: [
      'Authorization',
      'Cache-Control',
      'Content-Type',
      'Idempotency-Key',
      'If-Match',
      'If-None-Match',
      'X-Request-Id',
    ],
    exposedHeaders: [
      'ETag',
      'Location',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'WWW-Authenticate',
      'X-Request-Id',
    ],
    maxAge: PREFLIGHT_MAX_AGE_S,
  };
  cors(fastify, options, () => undefined);
}

function isPreflight({ headers }: FastifyRequest): boolean {
  return headers.origin !== undefined && headers['access-control-request-method'] !== undefined;
}
