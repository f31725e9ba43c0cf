import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Config } from '../../config/config.js';
import { errorAnswer } from '../errors/error-answer.js';
import { answerBelowRoutes, answerRaw, endUnrouted, serverOptions, type Connections } from './connections.js';
import type { SecurityHeaders } from './security-headers.js';

/** Room for a Prometheus, some probes and an operator; each request has its own connection. */
export const MANAGEMENT_CONNECTIONS = 64;

/** All that is served without a credential. Compared exactly: nothing else that a router might accept for one of these. */
const PATHS = /^\/(?:metrics|health\/live|health\/ready)(?:\?|$)/;

const METRICS = '/metrics';

const received = new WeakSet<IncomingMessage>();

/** Whether a request came in through the management port: then its sender counts as an operator. */
export function isManagement({ raw }: FastifyRequest): boolean {
  return received.has(raw);
}

/** Whether a request may see what is meant for operators: on the management port if there is one, else as an admin. */
export function isForOperators(request: FastifyRequest, { management }: Config): boolean {
  return isManagement(request) || (management === undefined && request.principal.scopes.has('admin'));
}

/** Whether a route is not there for a request, because the management port alone has it. */
export function isOnManagementOnly(
  route: string,
  request: FastifyRequest,
  { management }: Pick<Config, 'management'>,
): boolean {
  return route === METRICS && management !== undefined && !isManagement(request);
}

/**
 * A second server, in plain HTTP, that passes requests for health and metrics to the same routes. It opens before the
 * service's own port and closes with it.
 */
export function serveManagement(
  fastify: FastifyInstance,
  { host, port }: NonNullable<Config['management']>,
  limits: Config['http'],
  connections: Connections,
  { api }: SecurityHeaders,
): void {
  const server = createServer(serverOptions(limits), (request, response) => {
    response.shouldKeepAlive = false;
    if (PATHS.test(request.url ?? '')) {
      received.add(request);
      return fastify.routing(request, response);
    }
    endUnrouted(request, response, errorAnswer('NOT_FOUND'), api);
  });
  answerBelowRoutes(server, api);
  server.on('clientError', (error, socket) => answerRaw(error, socket as Socket, api));
  connections.watch(server, MANAGEMENT_CONNECTIONS);
  fastify.addHook('onReady', async () => {
    server.listen({ host, port });
    await once(server, 'listening');
  });
  let closed: Promise<unknown> | undefined;
  fastify.addHook('preClose', (done) => {
    if (server.listening) closed = once(server.close(), 'close');
    done();
  });
  fastify.addHook('onClose', async () => void (await closed));
}
