import type { IncomingMessage } from 'node:http';
import { isThisMachine } from '../config.js';
import { InvalidRequestError } from './invalid-request.js';

/**
 * What a proxy adds to a request, and a client has no reason to send: RFC 7239 and RFC 9110 (7.6.3), what nginx, Apache,
 * HAProxy, Envoy, Traefik and the balancers of clouds add by habit (X-Forwarded-*, X-Real-IP, X-Original-*, …-Client-IP), and
 * content delivery networks (RFC 8586; CF-Connecting-IP).
 */
const ADDED_BY_PROXIES =
  /^(?:forwarded|via|x-forwarded(?:-.*)?|x-original-.*|x-real-ip|(?:.*-)?client-ip|.*-connecting-ip|cdn-loop)$/;

const WHAT_TO_SET =
  'Where others than this machine send, set AUTH=on, and TRUSTED_PROXIES to the address of a proxy';

/**
 * What shows that a request was not made on this machine, where no credential is asked for because nobody else can send:
 * a proxy on it has passed it on, or a web page from elsewhere has sent it. A proxy that speaks HTTP/1.1, adds nothing and names
 * this machine as the Host does not show.
 */
export function sentFromElsewhere({
  headers,
  httpVersion,
}: IncomingMessage): InvalidRequestError | undefined {
  for (const name in headers) {
    if (ADDED_BY_PROXIES.test(name)) return refusal(name, 'is what a proxy adds');
  }
  // nginx before 1.29.7 does unless it is told otherwise. Today's clients do not.
  if (httpVersion === '1.0') return refusal('request', 'is HTTP/1.0, as proxies speak it');
  return isOfThisMachine(headers.host ?? '') ? undefined : refusal('Host', 'is not of this machine');
}

const refusal = (field: string, problem: string) =>
  InvalidRequestError.of(field, `${problem}. ${WHAT_TO_SET}`);

/**
 * A name that a stranger may own, and lead to this machine, has a dot: to a browser, his page is then of the same origin as
 * the service (DNS rebinding). Another address is that of whatever passes requests on.
 */
function isOfThisMachine(host: string): boolean {
  const name = host
    .replace(/:\d*$/, '')
    .replace(/\.$/, '')
    .replace(/^\[(.*)\]$/, '$1');
  return isThisMachine(name) || /\.localhost$/i.test(name) || !/[.:]/.test(name);
}
