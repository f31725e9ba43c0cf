import type { FastifyRequest } from 'fastify';
import ipaddr from 'ipaddr.js';
import { EVERYBODY, NOBODY } from '../auth/principal.js';
import { readAddress } from '../http/client-address.js';

/** IPv6 networks of this length go to one subscriber, who may use any address in it. */
const SUBSCRIBER_HEXTETS = 4;

/** Whom a request is counted for: who has shown a credential, whatever the address; else the address. */
export function userOf(request: FastifyRequest): string {
  const { principal } = request;
  return principal === EVERYBODY || principal === NOBODY ? addressOf(request) : principal.id;
}

/** The client's address, or its network where one client has all of it. */
export function addressOf(request: FastifyRequest): string {
  // What a trusted proxy forwards may be no address at all; then the proxy itself is the client.
  return networkOf(request.ip) ?? networkOf(request.socket.remoteAddress ?? '') ?? 'unknown';
}

/** An IPv4 address, however it is written, or an IPv6 network; undefined: the text is no address. */
export function networkOf(text: string): string | undefined {
  const address = readAddress(text);
  if (!(address instanceof ipaddr.IPv6)) return address?.toString();
  const hextets = address.parts.slice(0, SUBSCRIBER_HEXTETS).map((part) => part.toString(16));
  return `${hextets.join(':')}::/64`;
}
