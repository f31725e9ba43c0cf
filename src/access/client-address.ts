import ipaddr from 'ipaddr.js';

export type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** An address in brackets, or an IPv4 address, with a port, as some proxies write it in X-Forwarded-For. */
const BRACKETED = /^\[([^\]]*)\](?::\d{1,5})?$/;
const WITH_PORT = /^([\d.]+):\d{1,5}$/;
/** The longest address, with a zone. */
const MAX_LENGTH = 100;

/**
 * Reads the address of a client or a proxy, without its port. An IPv4 address becomes one, however it is written. A zone
 * (`fe80::1%eth0`) has a meaning on one machine only, and is dropped.
 *
 * @returns undefined: the text is not an address
 */
export function readAddress(text: string): Address | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const [, bare = text] = BRACKETED.exec(text) ?? WITH_PORT.exec(text) ?? [];
  const isAddress = text.startsWith('[')
    ? ipaddr.IPv6.isValid(bare)
    : ipaddr.IPv4.isValidFourPartDecimal(bare) || ipaddr.IPv6.isValid(bare);
  return isAddress ? ipaddr.process(bare) : undefined;
}

/** Tells whether an address is in one of these networks. */
export function isAmong(networks: readonly string[]): (text: string) => boolean {
  const ranges = networks.map(readNetwork);
  return (text) => {
    const address = readAddress(text);
    return (
      address !== undefined &&
      ranges.some(([network, bits]) => network.kind() === address.kind() && address.match(network, bits))
    );
  };
}

const MAPPED_BITS = 96;

function readNetwork(text: string): [Address, number] {
  if (!ipaddr.isValidCIDR(text)) {
    const address = ipaddr.process(text);
    return [address, 8 * address.toByteArray().length];
  }
  const [network, bits] = ipaddr.parseCIDR(text);
  const isMapped = network instanceof ipaddr.IPv6 && network.isIPv4MappedAddress() && bits >= MAPPED_BITS;
  return isMapped ? [network.toIPv4Address(), bits - MAPPED_BITS] : [network, bits];
}
