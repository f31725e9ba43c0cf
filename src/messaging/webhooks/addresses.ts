import ipaddr from 'ipaddr.js';

/** Whether an IP address, in any of its spellings, is one of the public internet: no private, local or reserved one. */
export function isPublicAddress(ip: string): boolean {
  return ipaddr.isValid(ip) && ipaddr.process(ip).range() === 'unicast';
}
