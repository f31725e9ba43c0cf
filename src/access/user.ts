import type { Socket } from 'node:net';
import ipaddr from 'ipaddr.js';
import { LRUCache } from 'lru-cache';
import { isIdentified, type Principal } from './principal.js';
import type { Sender } from '../domain/sender.js';
import { readAddress } from './client-address.js';

/** An IPv6 network of this length belongs to one subscriber, who may use any address in it. */
const SUBSCRIBER_HEXTETS = 4;

/** Parsing an IPv6 address takes 18 µs, a tenth of the cost of a posting. */
const networks = new LRUCache<string, string>({ max: 10_000 });

/** What a request tells of where it came from. */
export interface RequestOrigin {
  /** The client's address, as the connection or a trusted proxy tells it. */
  readonly ip: string;
  readonly socket: Socket;
}

/** A request whose sender is known. */
export interface IdentifiedRequest extends RequestOrigin {
  readonly principal: Principal;
}

/** Whom a request counts against: its principal, whatever the address; without a credential, its address. */
export function userOf(request: IdentifiedRequest): string {
  const { principal } = request;
  return isIdentified(principal) ? principal.id : addressOf(request);
}

export const senderOf = (request: IdentifiedRequest): Sender => ({
  user: userOf(request),
  owner: request.principal.owner,
});

/** The client's address, or its network where one subscriber has all of it. */
export function addressOf(request: RequestOrigin): string {
  // A trusted proxy may forward something that is not an address; then the proxy itself is the client.
  return rememberedNetworkOf(request.ip) ?? networkOf(request.socket.remoteAddress ?? '') ?? 'unknown';
}

function rememberedNetworkOf(text: string): string | undefined {
  const known = networks.get(text);
  if (known !== undefined) return known;
  const network = networkOf(text);
  if (network !== undefined) networks.set(text, network);
  return network;
}

/** An IPv4 address, however it is written, or an IPv6 network; undefined: the text is not an address. */
export function networkOf(text: string): string | undefined {
  const address = readAddress(text);
  if (!(address instanceof ipaddr.IPv6)) return address?.toString();
  const hextets = address.parts.slice(0, SUBSCRIBER_HEXTETS).map((part) => part.toString(16));
  return `${hextets.join(':')}::/64`;
}
