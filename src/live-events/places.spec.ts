import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { readFrom, readPlaces, sentOf, writePlaces } from './places.js';

const place = fc.record(
  { position: fc.nat({ max: Number.MAX_SAFE_INTEGER }), events: fc.integer({ min: 1, max: 99_999 }) },
  { requiredKeys: ['position'] },
);
const places = fc.array(fc.option(place, { nil: undefined }), { minLength: 1, maxLength: 8 });

describe('the places of a listener', () => {
  it('are read as they were written', () => {
    fc.assert(fc.property(places, (all) => expect(readPlaces(writePlaces(all), all.length)).toEqual(all)));
  });

  it.each(['', '1', '1,2,3', '1;2', '-1,2', '01,2', '1.0,2', '1.,2', '1.5.5,2', '1 ,2', `${2 ** 53},2`])(
    'of two shards are not %j',
    (text) => expect(readPlaces(text, 2)).toBeUndefined(),
  );

  it('tell where to read on, and what of the first row was sent', () => {
    const whole = { position: 7 };
    expect([readFrom(whole), sentOf(7, whole), sentOf(8, whole)]).toEqual([7, Infinity, 0]);
    const part = { position: 7, events: 2 };
    expect([readFrom(part), sentOf(6, part), sentOf(7, part), sentOf(8, part)]).toEqual([6, Infinity, 2, 0]);
  });
});
