import type { IncomingMessage, Server } from 'node:http';
import { NotFoundException, PayloadTooLargeException, UnsupportedMediaTypeException } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { EVERYBODY, isIdentified, NOBODY } from '../access/principal.js';
import type { Config } from '../config/config.js';
import { LedgerError } from '../domain/errors.js';
import type { Lifecycle } from '../observability/lifecycle.js';
import type { Metrics } from '../observability/metrics.js';
import type { RequestSpan, Tracing } from '../observability/tracing.js';
import { accountsNamedBy, isBatch } from './admission.js';
import { writeAnswers } from './openapi/answers.js';
import { isAmong } from '../access/client-address.js';
import { answerBelowRoutes, answerRaw, Connections, serverOptions } from './server/connections.js';
import { allowOrigins } from './server/cors.js';
import { answerOf, sendError } from './exception.filter.js';
import { bodyProblem } from './validation/refused-body.js';
import { gatherText } from './validation/gather-text.js';
import { headProblem } from './server/head-problem.js';
import { InvalidRequestError } from './validation/invalid-request.js';
import { BODY_LIMIT_BYTES, parseJsonBody } from './validation/json-body.js';
import { isEventStream } from './server/event-stream.js';
import { isManagement, serveManagement } from './server/management.js';
import { MethodNotAllowedError, Paths } from './server/paths.js';
import { NDJSON_TYPES } from './validation/representation.js';
import { requestIdOf } from './server/request-id.js';
import type { SecurityHeaders } from './server/security-headers.js';
import { isSwaggerUi } from './server/swagger-ui.js';
import { sentFromElsewhere } from './server/this-machine.js';
import { readTls } from './server/tls.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Undefined: nothing is traced. */
    span?: RequestSpan;
  }
}

/** Longer than any request line that Node accepts, so that an overlong id is a bad id and not a missing route. */
const ROUTER = { maxParamLength: 16 * 1024 };
/** RFC 3986, 3.2.2 and 3.2.3: a name, which may be empty, or an address in brackets; and a port. */
const HOST = /^(?:[\w.~!$&'()*+,;=%-]*|\[[\w.~!$&'()*+,;=:-]+\])(?::\d*)?$/;

/**
 * The Fastify server below Nest: TLS, limits, request ids, and answers to requests that never reach a route.
 *
 * @throws ConfigError when the TLS files are not valid
 */
export function createFastifyAdapter(config: Config, { api }: SecurityHeaders): FastifyAdapter {
  const { http: limits } = config;
  const tls = readTls(limits);
  const options = serverOptions(limits);
  return new FastifyAdapter<Server>({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    trustProxy: limits.trustedProxies.length > 0 && isAmong(limits.trustedProxies),
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    // Open connections are still served while the service stops: otherwise requests under way would be lost.
    return503OnClosing: false,
    routerOptions: ROUTER,
    // Fastify answers it without hooks where the plugin for CORS has a route for every path.
    rewriteUrl: ({ url = '' }) => (url === '*' ? '/*' : url),
    genReqId: (request: IncomingMessage) => requestIdOf(request),
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      void reply.headers(api).header('x-request-id', request.id);
      const malformedUrl = 'code' in error && error.code === 'FST_ERR_BAD_URL';
      sendError(reply, answerOf(malformedUrl ? InvalidRequestError.of('path', 'is not a valid URL') : error));
    },
    ...(tls
      ? { https: { ...options, ...tls, allowHalfOpen: true, handshakeTimeout: limits.headersTimeoutMs } }
      : { http: options }),
    clientErrorHandler: (error, socket) => answerRaw(error, socket, api),
  });
}

/** What the hooks depend on. */
export interface HookParts {
  readonly config: Config;
  readonly security: SecurityHeaders;
  readonly metrics: Metrics;
  readonly lifecycle: Lifecycle;
  readonly logger: Logger;
  /** Undefined: nothing is traced. */
  readonly tracing?: Tracing;
}

/** Installs the hooks and the parser that every request passes. Call it before the application listens. */
export function installFastifyHooks(app: NestFastifyApplication, parts: HookParts): void {
  const { config, security } = parts;
  const fastify = app.getHttpAdapter().getInstance();
  writeAnswers(fastify);
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('application/json', readJson);
  fastify.addContentTypeParser(NDJSON_TYPES, readNdjson);
  answerBelowRoutes(fastify.server, security.api);
  const connections = new Connections(config.http);
  parts.metrics.watchConnections(connections.watch(fastify.server, config.http.maxConnections));
  fastify.addHook('preClose', (done) => {
    connections.windUp();
    done();
  });
  receive(fastify, connections, parts);
  if (config.http.corsOrigins.length > 0) allowOrigins(fastify, config.http.corsOrigins);
  const paths = new Paths(fastify, ROUTER, config);
  // The last hook before the body is read: a missing route is rejected without parsing the body.
  fastify.addHook('onRequest', (request, reply, done) => {
    const problem = problemOf(request, config);
    if (problem || !paths.isDoubtful(request)) return done(problem);
    answerDoubtful(request, reply, paths.methodsOf(request), done);
  });
  report(fastify, connections, parts);
  if (config.management) serveManagement(fastify, config.management, config.http, connections, security);
}

type Parsed = (error: Error | null, body?: unknown) => void;

function readJson(request: FastifyRequest, stream: IncomingMessage, done: Parsed): void {
  // Fastify creates it anew on each access.
  const { routeOptions } = request;
  const { bodyLimit } = routeOptions;
  const problem = bodyProblem(request.headers);
  if (problem) return done(problem);
  if (Number(request.headers['content-length']) > bodyLimit) return done(new PayloadTooLargeException());
  gatherText(stream, bodyLimit, (error, text = '') => {
    if (error) return done(error);
    let body: unknown = text;
    try {
      if (!isBatch(routeOptions)) body = parseJsonBody(text);
    } catch (malformed) {
      return done(malformed as Error);
    }
    done(null, body);
  });
}

/** Its lines are read while they arrive. */
function readNdjson(request: FastifyRequest, stream: IncomingMessage, done: Parsed): void {
  if (!isBatch(request.routeOptions)) return done(new UnsupportedMediaTypeException());
  done(bodyProblem(request.headers) ?? null, stream);
}

/** The first hook. */
function receive(
  fastify: FastifyInstance,
  connections: Connections,
  { config, security, lifecycle, tracing }: HookParts,
): void {
  const initial = config.auth.enabled ? NOBODY : EVERYBODY;
  fastify.addHook('onRequest', (request, reply, done) => {
    const { socket } = request.raw;
    request.principal = initial;
    if (tracing) request.span = tracing.request(request);
    void reply
      .headers(isSwaggerUi(request) ? security.docs : security.api)
      .header('x-request-id', request.id);
    if (lifecycle.stopping || connections.isSurplus(socket)) void reply.header('connection', 'close');
    done(connections.admit(socket) ? undefined : new LedgerError({ code: 'OVERLOADED' }));
  });
}

/** The last hook: reports the request, whatever the answer was. */
function report(
  fastify: FastifyInstance,
  connections: Connections,
  { config, metrics, logger }: HookParts,
): void {
  fastify.addHook('onResponse', (request, reply, done) => {
    connections.answered(request.raw.socket);
    const { routeOptions } = request;
    const { url: route = 'unknown' } = routeOptions;
    const durationMs = reply.elapsedTime;
    const { statusCode: status } = reply;
    // A stream of events lasts as long as its client likes, which is no duration of work.
    const isStream = isEventStream(reply);
    if (!isStream) metrics.requestDone(request.method, route, status, durationMs / 1000);
    request.span?.answered({ route: routeOptions.url, status, code: codeOf(reply) });
    // How long a batch takes is up to its client.
    const isSlow = durationMs >= config.log.slowRequestMs && !isBatch(routeOptions) && !isStream;
    const problem = status >= 500 || status === 408 || isSlow;
    if (problem || config.log.requests === 'all') {
      const line = {
        requestId: request.id,
        traceId: request.span?.traceId,
        principal: isIdentified(request.principal) ? request.principal.id : undefined,
        account: accountsNamedBy(request),
        method: request.method,
        route,
        status,
        code: codeOf(reply),
        durationMs,
      };
      logger[problem ? 'warn' : 'info'](line, 'request');
    }
    done();
  });
}

const codeOf = (reply: FastifyReply) => reply.getHeader('x-error-code') as string | undefined;

/** What is wrong with the head of a request, whatever its route. */
function problemOf(request: FastifyRequest, { auth, http }: Config): Error | undefined {
  // The management port is meant for other machines, too.
  const guarded = auth.onlyThisMachine && !isManagement(request);
  return (
    headProblem(request.raw) ??
    hostProblem(request.raw) ??
    (guarded ? sentFromElsewhere(request.raw, http.corsOrigins) : undefined)
  );
}

/** @param methods those of its path; undefined: there is no such path */
function answerDoubtful(
  request: FastifyRequest,
  reply: FastifyReply,
  methods: readonly string[] | undefined,
  done: (error?: Error) => void,
): void {
  if (!methods) return done(new NotFoundException());
  const allow = methods.join(', ');
  if (request.method === 'OPTIONS') return void reply.status(204).header('allow', allow).send();
  done(methods.includes(request.method) ? undefined : new MethodNotAllowedError(allow));
}

/** RFC 9112, 3.2: a server must reject a request without a Host header, or with an invalid one. */
function hostProblem({ headers, httpVersion }: IncomingMessage): InvalidRequestError | undefined {
  const { host } = headers;
  if (host === undefined) {
    return httpVersion === '1.1' ? InvalidRequestError.of('Host', 'is missing') : undefined;
  }
  if (!HOST.test(host)) return InvalidRequestError.of('Host', 'is not a host with an optional port');
  return undefined;
}
