import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { signatureOf } from './signature.js';
import { digestOfOwner, nameOf, readSubmissionId, writeSubmissionId } from './submission-id.js';

const SECRETS = ['one', 'two'];
const secretOf = (shard: number) => SECRETS[shard];

const name = nameOf({ type: 'debit', accountId: 7, amount: 1n, idempotencyKey: 'order.4711' }, 1, 'ada');

describe('the id of a submission', () => {
  it('says what it names', () => {
    expect(readSubmissionId(writeSubmissionId(name, 'two'), secretOf)).toEqual(name);
    expect(name).toMatchObject({ kind: 'transaction', accountId: 7, owner: digestOfOwner('ada') });
  });

  it('is none when anything of it is changed, or another secret has signed it', () => {
    const id = writeSubmissionId(name, 'two');
    expect(readSubmissionId(writeSubmissionId(name, 'one'), secretOf)).toBeUndefined();
    const place = fc.integer({ min: 0, max: id.length - 1 });
    fc.assert(
      fc.property(place, fc.constantFrom(...'Aa0-_.'), (at, sign) => {
        const changed = id.slice(0, at) + sign + id.slice(at + 1);
        fc.pre(changed !== id);
        expect(readSubmissionId(changed, secretOf)).toBeUndefined();
      }),
    );
  });

  it('is none of what is no id at all', () => {
    const odd = ['', '.', 'x.y', `${Buffer.from('[9]').toString('base64url')}.x`, 'null.null'];
    for (const id of odd) expect(readSubmissionId(id, secretOf)).toBeUndefined();
  });

  it('is signed for nothing else', () => {
    expect(signatureOf('one', 'id', 'a')).not.toBe(signatureOf('one', 'message', 'a'));
    expect(signatureOf('one', 'message', 'a', 'b')).not.toBe(signatureOf('one', 'message', 'ab'));
  });
});
