import { describe, expect, it } from '@jest/globals';
import type { FastifyRequest } from 'fastify';
import { EVERYBODY, NOBODY, principalOf, type Principal } from './principal.js';
import { addressOf, networkOf, userOf } from './user.js';

describe('networkOf', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:201', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['192.0.2.1:1000', '192.0.2.1'],
    ['[2001:db8:1:2::9]', '2001:db8:1:2::/64'],
    ['[2001:db8:1:2::9]:65535', '2001:db8:1:2::/64'],
    ['[fe80::1%eth0]:443', 'fe80:0:0:0::/64'],
    ['::ffff:192.0.2.1%eth0', '192.0.2.1'],
    ['[::ffff:192.0.2.1]:1000', '192.0.2.1'],
  ])('%s is of %s', (text, network) => {
    expect(networkOf(text)).toBe(network);
  });

  it.each([
    '',
    'unknown',
    '1',
    '127.1',
    '0x7f.0.0.1',
    '192.0.2.1:',
    '192.0.2.1:http',
    '192.0.2.1:123456',
    '[192.0.2.1]:80',
    '[2001:db8::1',
    '[2001:db8::1]:',
    '[2001:db8::1]80',
    '192.0.2.1, 192.0.2.2',
    'x'.repeat(9_999),
  ])('%s is no address', (text) => {
    expect(networkOf(text)).toBeUndefined();
  });
});

const request = (ip: string, remoteAddress?: string, principal: Principal = EVERYBODY) =>
  ({ ip, socket: { remoteAddress }, principal }) as unknown as FastifyRequest;

describe('userOf', () => {
  it('is who has shown a credential, from wherever', () => {
    const principal = principalOf('key:7', undefined, ['admin']);
    for (const ip of ['192.0.2.1', '192.0.2.2', '']) expect(userOf(request(ip, ip, principal))).toBe('key:7');
  });

  it('is the address of who has shown none', () => {
    expect(userOf(request('192.0.2.1', '10.0.0.1', NOBODY))).toBe('192.0.2.1');
    expect(userOf(request('192.0.2.1', '10.0.0.1', EVERYBODY))).toBe('192.0.2.1');
  });
});

describe('addressOf', () => {
  it('is the client address', () => {
    expect(addressOf(request('192.0.2.1', '10.0.0.1'))).toBe('192.0.2.1');
  });

  it('is the proxy when what it forwards is no address', () => {
    expect(addressOf(request('of course', '::ffff:10.0.0.1'))).toBe('10.0.0.1');
  });

  it('is one user for all requests without any address', () => {
    expect(addressOf(request('', undefined))).toBe('unknown');
  });
});
