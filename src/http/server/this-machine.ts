import type { IncomingMessage } from 'node:http';
import { isThisMachine } from '../../config/values.js';
import { InvalidRequestError } from '../validation/invalid-request.js';

/**
 * Headers that proxies add and clients have no reason to send: those of RFC 7239 and RFC 9110 (7.6.3), the usual ones
 * of nginx, Apache, HAProxy, Envoy, Traefik and cloud load balancers (X-Forwarded-*, X-Original-*, X-Envoy-*,
 * …-Real-IP, …-Client-IP), and those of content delivery networks (RFC 8586; CF-Connecting-IP).
 */
const ADDED_BY_PROXIES =
  /^(?:forwarded|via|x-forwarded(?:-.*)?|x-original-.*|x-envoy-.*|(?:.*-)?real-ip|(?:.*-)?client-?ip|.*-connecting-ip|cdn-loop)$/;

const WHAT_TO_SET =
  'Where others than this machine send, set AUTH=on, and TRUSTED_PROXIES to the address of a proxy';

/** What a web page may send anywhere, since it changes nothing. */
const SAFE: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Looks for signs that a request was not made on this machine, where no credential is needed because nobody else can
 * send: a local proxy has forwarded it, or a web page from elsewhere has sent it. A proxy that speaks HTTP/1.1, adds no
 * header and names this machine as the Host leaves no sign.
 *
 * @param origins of web pages that may use the API
 */
export function sentFromElsewhere(
  { headers, httpVersion, method }: IncomingMessage,
  origins: readonly string[],
): InvalidRequestError | undefined {
  for (const name in headers) {
    if (ADDED_BY_PROXIES.test(name)) return rejection(name, 'is what a proxy adds');
  }
  // nginx before 1.29.7 speaks it by default; clients of today don't.
  if (httpVersion === '1.0') return rejection('request', 'is HTTP/1.0, as proxies speak it');
  if (!isOfThisMachine(headers.host ?? '')) return rejection('Host', 'is not of this machine');
  // Without a body, browsers do not ask before they send a POST. They always name the page's origin with it.
  const { origin } = headers;
  if (origin === undefined || SAFE.has(method) || origins.includes(origin)) return undefined;
  return origin.replace(/^https?:\/\//, '') === headers.host
    ? undefined
    : InvalidRequestError.of('Origin', 'is of a web page that is not in CORS_ORIGINS');
}

const rejection = (field: string, problem: string) =>
  InvalidRequestError.of(field, `${problem}. ${WHAT_TO_SET}`);

/**
 * A name that a stranger can own and point at this machine has a dot: a browser would treat the stranger's page as
 * having the same origin as the service (DNS rebinding). The address of another machine comes from something that
 * forwards requests.
 */
function isOfThisMachine(host: string): boolean {
  const name = host
    .replace(/:\d*$/, '')
    .replace(/\.$/, '')
    .replace(/^\[(.*)\]$/, '$1');
  return isThisMachine(name) || /\.localhost$/i.test(name) || !/[.:]/.test(name);
}
