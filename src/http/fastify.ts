import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { Config } from '../config.js';
import { LedgerError } from '../domain/errors.js';
import type { Lifecycle } from '../observability/lifecycle.js';
import type { Metrics } from '../observability/metrics.js';
import { answerRaw, CHECK_MS, Connections, JSON_TYPE } from './connections.js';
import { answerOf, sendError } from './exception.filter.js';
import { InvalidRequestError } from './invalid-request.js';
import { BODY_LIMIT_BYTES, parseJsonBody } from './json-body.js';

const SANE_REQUEST_ID = /^[A-Za-z0-9._~:/+=@-]{1,128}$/;
/** Longer than any request line that Node lets through, so that an over-long id is a bad id and not a missing route. */
const MAX_PARAM_LENGTH = 16 * 1024;
const MAX_HEADER_BYTES = 16 * 1024;

/** The Fastify server below Nest: limits, request ids, and answers to what never reaches a route. */
export function createFastifyAdapter({
  trustedProxies,
  http: limits,
}: Pick<Config, 'trustedProxies' | 'http'>): FastifyAdapter {
  return new FastifyAdapter<Server>({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    trustProxy: trustedProxies.length > 0 && [...trustedProxies],
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    // While it stops, open connections are still served: refusing them would lose requests that are on their way.
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    genReqId: (request: IncomingMessage) => requestIdOf(request),
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      void reply.header('x-request-id', request.id);
      const malformedUrl = 'code' in error && error.code === 'FST_ERR_BAD_URL';
      sendError(reply, answerOf(malformedUrl ? InvalidRequestError.of('path', 'is not a valid URL') : error));
    },
    http: {
      // Node would answer a request without a Host by itself, with no body and no request id; the hook below does.
      requireHostHeader: false,
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      connectionsCheckingInterval: CHECK_MS,
    },
    clientErrorHandler: answerRaw,
  });
}

/** The hooks and the parser that every request passes. To be called before the application listens. */
export function installFastifyHooks(
  app: NestFastifyApplication,
  config: Config,
  metrics: Metrics,
  lifecycle: Lifecycle,
  logger: Logger,
): void {
  const fastify = app.getHttpAdapter().getInstance();
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, text, done) => {
    try {
      done(null, parseJsonBody(text as string));
    } catch (error) {
      done(error as Error);
    }
  });
  const connections = new Connections(fastify.server, config.http);
  metrics.watchConnections(() => connections.size);
  fastify.addHook('preClose', (done) => {
    connections.windUp();
    done();
  });
  fastify.addHook('onRequest', (request, reply, done) => {
    void reply.header('x-request-id', request.id);
    const { socket } = request.raw;
    if (lifecycle.stopping || connections.isSurplus(socket)) void reply.header('connection', 'close');
    if (!connections.admit(socket)) return done(new LedgerError({ code: 'OVERLOADED' }));
    // RFC 9110, 7.2: a server must refuse it.
    const hostless = request.headers.host === undefined && request.raw.httpVersion === '1.1';
    done(hostless ? InvalidRequestError.of('Host', 'is missing') : undefined);
  });
  // A client that closes its side after a request still waits for the answer.
  (fastify.server as Server & { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true;
  fastify.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    response.writeHead(417, { 'content-type': JSON_TYPE, 'x-request-id': requestIdOf(request) });
    response.end('{"error":"Expectation failed"}');
  });
  fastify.addHook('onResponse', (request, reply, done) => {
    connections.answered(request.raw.socket);
    const route = request.routeOptions.url ?? 'unknown';
    const durationMs = reply.elapsedTime;
    metrics.requestDone(request.method, route, reply.statusCode, durationMs / 1000);
    const problem = reply.statusCode >= 500 || reply.statusCode === 408 || durationMs >= config.slowRequestMs;
    if (problem || config.log.requests === 'all') {
      const line = {
        requestId: request.id,
        method: request.method,
        route,
        status: reply.statusCode,
        durationMs,
      };
      logger[problem ? 'warn' : 'info'](line, 'request');
    }
    done();
  });
}

/** The client's own id, if it sent a sane one. */
function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && SANE_REQUEST_ID.test(given) ? given : randomUUID();
}
