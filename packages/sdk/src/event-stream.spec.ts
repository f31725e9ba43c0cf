import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { EventStreamParser } from './event-stream.js';

/** Each feature of the format, with each kind of line end. */
const STREAM = [
  ': a comment\nid: 1\nevent: posted\ndata: {"a":1}\n\n',
  'data:two\r\ndata: lines\r\n\r\n',
  'id:3\rdata\r\r',
  'event: nothing\n\nid: 4\n\nid\ndata: :x\nunknown: y\nretry: 250\nretry: soon\nid: a\0b\n\n',
  'data: unfinished\n',
].join('');
const EVENTS = [
  { id: '1', type: 'posted', data: '{"a":1}' },
  { id: '1', type: 'message', data: 'two\nlines' },
  { id: '3', type: 'message', data: '' },
  { id: '4', type: 'message', data: undefined },
  { id: '', type: 'message', data: ':x' },
];

describe('EventStreamParser', () => {
  it('finds the same events, wherever the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(STREAM.length)), (cuts) => {
        const parser = new EventStreamParser(1_000);
        const ends = [...cuts.sort((a, b) => a - b), STREAM.length];
        const events = ends.flatMap((end, i) => parser.push(STREAM.slice(ends[i - 1] ?? 0, end)));
        expect(events).toEqual(EVENTS);
        expect(parser.retryMs).toBe(250);
      }),
    );
  });

  it('goes on with the id that a resumed stream does not name again', () => {
    expect(new EventStreamParser(100, '7').push('data: x\n\n')).toEqual([
      { id: '7', type: 'message', data: 'x' },
    ]);
  });

  it.each([
    ['a line', 'x'.repeat(101)],
    ['many lines', 'data: 12345678\n'.repeat(12)],
  ])('refuses an event of %s that is too long', (_, text) => {
    const parser = new EventStreamParser(100);
    expect(() => parser.push(text)).toThrow('an event is longer than 100 characters');
  });
});
