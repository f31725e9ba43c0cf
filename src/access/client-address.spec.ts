import { describe, expect, it } from '@jest/globals';
import { isAmong } from './client-address.js';

describe('isAmong', () => {
  it.each([
    ['10.0.0.0/8', '10.1.2.3', true],
    ['10.0.0.0/8', '10.1.2.3:44321', true],
    ['10.0.0.0/8', '::ffff:10.1.2.3', true],
    ['10.0.0.0/8', '11.1.2.3', false],
    ['10.1.2.3', '10.1.2.3', true],
    ['10.1.2.3', '10.1.2.4', false],
    ['::ffff:10.0.0.0/104', '10.1.2.3', true],
    ['::ffff:10.1.2.3', '10.1.2.3', true],
    ['2001:db8::/32', '[2001:db8::1]:443', true],
    ['2001:db8::/32', '2001:db9::1', false],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['::/0', '10.1.2.3', false],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['10.0.0.0/8', 'unknown', false],
  ])('of %s and %s is %p', (network, text, expected) => {
    expect(isAmong(['192.0.2.0/24', network])(text)).toBe(expected);
  });
});
