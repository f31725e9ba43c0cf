import cors, { type FastifyCorsOptions, type FastifyCorsOptionsDelegateCallback } from '@fastify/cors';
import type { FastifyInstance, FastifyRequest } from 'fastify';

declare module 'fastify' {
  interface FastifyContextConfig {
    cors?: false;
  }
}

/** How long browsers may cache the answer to a preflight request, in seconds. */
const PREFLIGHT_MAX_AGE_S = 600;
/** Routes for operators, and pages of the service itself. */
const NOT_FOR_OTHERS = /^\/(?:health|metrics|docs)\b/;

/**
 * Lets scripts on web pages of these origins use the API. Without credentials in the sense of CORS: those are cookies,
 * and the service has none. Call it after the first hook and before those that reject: the page may read a rejection,
 * too, and a preflight request carries no credential.
 */
export function allowOrigins(fastify: FastifyInstance, origins: readonly string[]): void {
  fastify.addHook('onRoute', (route) => {
    if (NOT_FOR_OTHERS.test(route.url)) route.config = { ...route.config, cors: false };
  });
  const options: FastifyCorsOptions = {
    origin: [...origins],
    methods: ['DELETE', 'GET', 'HEAD', 'PATCH', 'POST'],
    allowedHeaders: [
      // Browsers ask before they send one with quotes, or of more than 128 bytes.
      'Accept',
      'Authorization',
      'Cache-Control',
      'Content-Type',
      'Idempotency-Key',
      'If-Match',
      'If-None-Match',
      'Last-Event-ID',
      'Prefer',
      'X-Request-Id',
    ],
    exposedHeaders: [
      'Allow',
      'ETag',
      'Location',
      'Preference-Applied',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'WWW-Authenticate',
      'X-Error-Code',
      'X-Request-Id',
    ],
    maxAge: PREFLIGHT_MAX_AGE_S,
  };
  // Any other OPTIONS asks for the methods of its path, which a later hook answers.
  const withoutPreflight = { ...options, preflight: false };
  const delegator: FastifyCorsOptionsDelegateCallback = (request, use) =>
    use(null, isPreflight(request) ? options : withoutPreflight);
  // Called, not registered: a registered plugin's hooks would run after all hooks added so far.
  cors(fastify, { delegator }, () => undefined);
}

function isPreflight({ headers }: FastifyRequest): boolean {
  return headers.origin !== undefined && headers['access-control-request-method'] !== undefined;
}
