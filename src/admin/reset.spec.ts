import { describe, expect, it } from '@jest/globals';
import type { LedgerAccount } from '../domain/account.js';
import { Books, type Effects } from '../domain/books.js';
import type { Command } from '../domain/command.js';
import { decide } from '../domain/decide.js';
import { LedgerError } from '../domain/errors.js';
import { postDifference } from './reset.js';

/** An account to which somebody else posts 1.00 before each of the first few postings. */
function contested(balance: bigint, intruders: number, others: Partial<LedgerAccount> = {}) {
  let account: LedgerAccount = {
    ...{ accountId: 1, balance, version: 5, decimals: 2, held: 0n, activeHolds: 0 },
    ...{ overdraftLimit: 0n, status: 'open', revision: 0, currency: undefined, ...others },
  };
  const commands: Command[] = [];
  const acts: string[] = [];
  let left = intruders;
  const execute = (command: Command): Promise<Effects> => {
    const isDry = command.dryRun === true;
    if (!isDry) {
      commands.push(command);
      acts.push('posted');
    }
    if (!isDry && left > 0) {
      left -= 1;
      account = { ...account, balance: account.balance + 100n, version: account.version + 1 };
    }
    const books = new Books({
      ...{ outgoing: new Map(), incoming: new Map(), pending: { inShard: 0, ofAccount: new Map() } },
      ...{
        accounts: new Map([[1, account]]),
        keyed: new Map(),
        holds: new Map(),
        captures: new Map(),
        originals: new Map(),
      },
      ...{ due: new Map([[1, []]]), now: new Date(), ids: [100] },
    });
    const decision = decide(command, books);
    if (!decision.accepted) return Promise.reject(new LedgerError(decision.rejection));
    if (!isDry) account = decision.effects.accounts[0] as LedgerAccount;
    return Promise.resolve(decision.effects);
  };
  return {
    ledger: { execute },
    reader: { account: () => Promise.resolve(account) },
    commands,
    record: () => Promise.resolve(void acts.push('recorded')),
    acts,
    now: () => account,
  };
}

describe('postDifference', () => {
  it('posts what is missing, expecting the version that it read', async () => {
    const { ledger, reader, record, commands } = contested(35_000n, 0);
    await postDifference(ledger, reader, 1, 100_000n, record);
    expect(commands).toEqual([{ accountId: 1, type: 'credit', amount: 65_000n, expectedVersion: 5 }]);
  });

  it('reads again whenever somebody else was faster', async () => {
    const { ledger, reader, record, commands, now } = contested(100_000n, 99);
    const report = await postDifference(ledger, reader, 1, 50_000n, record);
    expect(commands).toHaveLength(100);
    expect(now()).toMatchObject({ accountId: 1, balance: 50_000n, version: 105 });
    expect(report).toMatchObject({ before: { balance: 109_900n, version: 104 }, after: now() });
  });

  it('gives up after a hundred tries, with nothing posted', async () => {
    const { ledger, reader, record, commands, now } = contested(100_000n, Infinity);
    await expect(postDifference(ledger, reader, 1, 50_000n, record)).rejects.toThrow(
      'account 1 changed 100 times while it was to be reset; nothing was posted',
    );
    expect(commands).toHaveLength(100);
    expect(now().balance).toBe(110_000n);
  });

  it('is recorded once, before it is posted', async () => {
    const { ledger, reader, record, acts } = contested(100_000n, 2);
    await postDifference(ledger, reader, 1, 50_000n, record);
    expect(acts).toEqual(['recorded', 'posted', 'posted', 'posted']);
  });

  it('never repeats a posting that may have been applied', async () => {
    const { reader, record } = contested(0n, 0);
    let posts = 0;
    const ledger = {
      execute: ({ dryRun }: Command) => {
        if (dryRun === true) return Promise.resolve({} as Effects);
        posts += 1;
        return Promise.reject(new LedgerError({ code: 'OUTCOME_UNKNOWN' }));
      },
    };
    await expect(postDifference(ledger, reader, 1, 1n, record)).rejects.toMatchObject({
      failure: { code: 'OUTCOME_UNKNOWN' },
    });
    expect(posts).toBe(1);
  });

  it('posts nothing if the balance is right already', async () => {
    const { ledger, reader, record, acts, now } = contested(100_000n, 0);
    const report = await postDifference(ledger, reader, 1, 100_000n, record);
    expect(report).toEqual({ before: now(), after: now(), transaction: undefined });
    expect(acts).toEqual([]);
  });

  it('leaves what is on hold, and counts it as a part of the balance', async () => {
    const { ledger, reader, record, now } = contested(100_000n, 0, { held: 3_000n, activeHolds: 1 });
    await postDifference(ledger, reader, 1, 3_000n, record);
    expect(now()).toMatchObject({ balance: 3_000n, held: 3_000n, activeHolds: 1 });
  });

  it.each([
    [
      'below what is on hold less the limit',
      { held: 3_000n, activeHolds: 1, overdraftLimit: 1_000n },
      "account 1 has 30.00 on hold, so its balance can't go below 20.00: capture or void its holds first",
    ],
    ['of a frozen account', { status: 'frozen' }, 'account 1 is frozen: `unfreeze 1` first'],
    [
      'of one without debits',
      { status: 'debits_blocked' },
      'debits of account 1 are blocked: `unfreeze 1` first',
    ],
    ['of a closed one', { status: 'closed' }, 'account 1 is closed for ever: open another one'],
  ] as const)('refuses a balance %s, and says what to do', async (_what, others, message) => {
    const { ledger, reader, record, acts, now } = contested(100_000n, 0, others);
    await expect(postDifference(ledger, reader, 1, 1_999n, record)).rejects.toThrow(message);
    expect(now().version).toBe(5);
    expect(acts).toEqual([]);
  });

  it('takes a balance as it is written, if the currency has its decimals', async () => {
    const yen = { decimals: 0, currency: 'JPY' };
    const { ledger, reader, record, now, acts } = contested(500n, 0, yen);
    await postDifference(ledger, reader, 1, { units: 350n, decimals: 0 }, record);
    expect(now().balance).toBe(350n);
    await expect(
      postDifference(ledger, reader, 1, { units: 3505n, decimals: 1 }, record),
    ).rejects.toMatchObject({ failure: { code: 'TOO_MANY_DECIMALS' } });
    expect(acts).toEqual(['recorded', 'posted']);
  });
});
