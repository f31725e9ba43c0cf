import helmet from '@fastify/helmet';
import Fastify from 'fastify';

type Policy = Parameters<typeof helmet>[1];

export type Headers = Readonly<Record<string, string>>;

/** Headers that tell a browser what it must not do with an answer. */
export interface SecurityHeaders {
  readonly api: Headers;
  /** For Swagger UI and the documents next to it, the only pages there are. */
  readonly docs: Headers;
}

/** To a browser, an answer of the API is data: nothing in it may be shown, run or framed. */
const API: Policy = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
  },
  // These concern only pages, or browsers of the past.
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xFrameOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
};

/**
 * Scripts come only from the service's own files, never from the page. Styles may be inline: the pages bring
 * their own, and what Swagger UI draws has `style` attributes.
 */
const DOCS: Policy = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'", "'unsafe-inline'"],
      // Swagger UI's icons are in its style sheet.
      imgSrc: ["'self'", 'data:'],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
  },
  xFrameOptions: { action: 'deny' },
};

/**
 * Answers of the API are for their client alone: neither proxies nor browsers may cache them. A client that keeps an
 * entity tag itself can still use it.
 */
const PRIVATE = { 'cache-control': 'no-store' };

/** The Accept header decides the form of an answer (RFC 9110, 12.5.5). */
const NEGOTIATED = { vary: 'Accept' };

const HSTS = 'strict-transport-security';

/**
 * Made once by helmet. Its plugin would make them again for each request, which takes longer than all other hooks.
 *
 * @param encrypted whether the service has TLS; only then may browsers be told never to come without it
 */
export async function securityHeaders(encrypted: boolean): Promise<SecurityHeaders> {
  const api = await headersBy(API, encrypted);
  return {
    api: { ...api, ...PRIVATE, ...NEGOTIATED },
    docs: { ...(await headersBy(DOCS, encrypted)), ...NEGOTIATED },
  };
}

async function headersBy(policy: Policy, encrypted: boolean): Promise<Headers> {
  const server = Fastify();
  const headers: Record<string, string> = {};
  await server.register(helmet, policy);
  server.get('/', (_request, reply) => {
    for (const [name, value] of Object.entries(reply.raw.getHeaders())) headers[name] = String(value);
    return reply.send();
  });
  await server.inject('/');
  await server.close();
  if (!encrypted) delete headers[HSTS];
  return headers;
}
