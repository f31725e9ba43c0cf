import { describe, expect, it } from '@jest/globals';
import { CHECKS } from '../admin/verify/checks.js';
import { SHARD_CHECKS } from '../admin/verify/shard-checks.js';
import type { VerifyReport } from '../admin/verify/verify.js';
import { verifyText } from './verify.js';

const WHOLE: VerifyReport = {
  accounts: 2,
  transactions: 3,
  balance: '10.00',
  faults: [],
  faulty: 0,
  ok: true,
};

describe('verifyText', () => {
  it('tells what was checked', () => {
    const text = verifyText(WHOLE, 1_250);
    expect(text).toMatch(/^accounts +2\ntransactions +3\nbalances +10\.00 in all\ntime +1\.3 s\n/);
    for (const [name, check] of Object.entries({ ...CHECKS, ...SHARD_CHECKS }))
      expect(text).toMatch(new RegExp(`${name} +${check.says}`));
    expect(text).toMatch(/\nThe books are whole\.$/);
  });

  it('names what failed', () => {
    const faults = [
      { accountId: 0, checks: ['account_exists'] },
      { accountId: 7, checks: ['balance_is_sum', 'keys_are_unique'] },
    ];
    expect(verifyText({ ...WHOLE, faults, faulty: 2, ok: false }, 1)).toMatch(
      /NOT whole\. 2 account\(s\) fail:\n {2}rows without an account id: account_exists\n {2}account 7: balance_is_sum, keys_are_unique$/,
    );
  });
});
