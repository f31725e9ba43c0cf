import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { isInstant, millisecondFrom } from './instant.js';

const NS_PER_MS = 1_000_000n;
const two = (number: number) => String(number).padStart(2, '0');

/** An instant as text with up to nine fractional digits, and its value in nanoseconds since 1970. */
const instants = fc
  .record({
    second: fc.integer({ min: Date.UTC(0, 0, 2) / 1000, max: Date.UTC(9999, 11, 30) / 1000 }),
    fraction: fc.stringMatching(/^\d{0,9}$/),
    offset: fc.option(fc.integer({ min: -1439, max: 1439 }), { nil: undefined }),
  })
  .map(({ second, fraction, offset = 0, ...rest }) => {
    const local = new Date((second + offset * 60) * 1000).toISOString().slice(0, 19);
    const sign = offset < 0 ? '-' : '+';
    const zone = `${sign}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
    return {
      ...rest,
      text: `${local}${fraction && `.${fraction}`}${offset === 0 ? 'Z' : zone}`,
      ns: BigInt(second) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0')),
    };
  });

describe('millisecondFrom', () => {
  it('has the same whole milliseconds before it and after it as the instant, to the nanosecond', () => {
    fc.assert(
      fc.property(instants, fc.integer({ min: -2, max: 2 }), ({ text, ns }, step) => {
        expect(isInstant(text)).toBe(true);
        const ms = Number(ns / NS_PER_MS) + step;
        const isBefore = BigInt(ms) * NS_PER_MS < ns;
        expect(ms < millisecondFrom(text).getTime()).toBe(isBefore);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['2025-05-02', '2025-05-02T00:00:00.000Z'],
    ['2025-05-02T10:24Z', '2025-05-02T10:24:00.000Z'],
    ['2025-05-02T10:24:02+02:00', '2025-05-02T08:24:02.000Z'],
    ['2025-05-02T10:24:02.1Z', '2025-05-02T10:24:02.100Z'],
    ['2025-05-02T10:24:02.123Z', '2025-05-02T10:24:02.123Z'],
    ['2025-05-02T10:24:02.123000000Z', '2025-05-02T10:24:02.123Z'],
    ['2025-05-02T10:24:02.123000001Z', '2025-05-02T10:24:02.124Z'],
    ['2025-05-02T10:24:02.1239999+05:30', '2025-05-02T04:54:02.124Z'],
    ['2025-12-31T23:59:59.9991Z', '2026-01-01T00:00:00.000Z'],
    ['1969-12-31T23:59:59.9990001Z', '1970-01-01T00:00:00.000Z'],
    ['2025-01-01T24:00:00Z', '2025-01-02T00:00:00.000Z'],
    ['9999-12-31T23:59:59.999999999Z', '+010000-01-01T00:00:00.000Z'],
    ['0000-01-01', '0000-01-01T00:00:00.000Z'],
  ])('%s: %s', (text, expected) => {
    expect(isInstant(text)).toBe(true);
    expect(millisecondFrom(text).toISOString()).toBe(expected);
  });
});

describe('isInstant', () => {
  it.each([
    '2025-01-01T00:00:60Z',
    '2025-01-01T24:00:00.5Z',
    '2025-01-01T00:00:00.Z',
    '2025-01-01T00:00:00.1234567891Z',
    '2025-01-01t00:00:00z',
    '2025-02-30',
    '10000-01-01',
  ])('refuses %s', (text) => {
    expect(isInstant(text)).toBe(false);
  });
});
