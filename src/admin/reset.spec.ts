import { describe, expect, it } from '@jest/globals';
import type { LedgerAccount } from '../domain/account.js';
import { Books } from '../domain/books.js';
import { LedgerError } from '../domain/errors.js';
import type { PostingCommand } from '../domain/command.js';
import type { Transaction } from '../domain/transaction.js';
import { decide } from '../domain/decide.js';
import { accountWith, knowledgeOf } from '../domain/knowledge.fixture.js';
import { postDifference } from './reset.js';

/** An account to which somebody else posts 1.00 before each of the first few postings. */
function contested(balance: bigint, intruders: number) {
  let account = accountWith({ accountId: 1, balance, version: 5 });
  const commands: PostingCommand[] = [];
  let left = intruders;
  const post = (command: PostingCommand): Promise<Transaction> => {
    commands.push(command);
    if (left > 0) {
      left -= 1;
      account = { ...account, balance: account.balance + 100n, version: account.version + 1 };
    }
    const decision = decide(command, new Books(knowledgeOf([account])));
    if (!decision.accepted) return Promise.reject(new LedgerError(decision.rejection));
    const { accounts, transactions } = decision.effects;
    account = accounts[0] as LedgerAccount;
    return Promise.resolve(transactions[0] as Transaction);
  };
  return {
    ledger: { post },
    reader: { account: () => Promise.resolve(account) },
    commands,
    now: () => account,
  };
}

describe('postDifference', () => {
  it('posts what is missing, expecting the version that it read', async () => {
    const { ledger, reader, commands } = contested(35_000n, 0);
    await postDifference(ledger, reader, 1, 100_000n);
    expect(commands).toEqual([{ accountId: 1, type: 'credit', amount: 65_000n, expectedVersion: 5 }]);
  });

  it('reads again whenever somebody else was faster', async () => {
    const { ledger, reader, commands, now } = contested(100_000n, 99);
    const report = await postDifference(ledger, reader, 1, 50_000n);
    expect(commands).toHaveLength(100);
    expect(now()).toMatchObject({ accountId: 1, balance: 50_000n, version: 105 });
    expect(report).toMatchObject({
      before: { balance: 109_900n, version: 104 },
      after: { balance: 50_000n, version: 105 },
    });
  });

  it('gives up after a hundred tries, with nothing posted', async () => {
    const { ledger, reader, commands, now } = contested(100_000n, Infinity);
    await expect(postDifference(ledger, reader, 1, 50_000n)).rejects.toThrow(
      'account 1 changed 100 times while it was to be reset; nothing was posted',
    );
    expect(commands).toHaveLength(100);
    expect(now().balance).toBe(110_000n);
  });

  it('never repeats a posting that may have been applied', async () => {
    const { reader } = contested(0n, 0);
    let posts = 0;
    const ledger = {
      post: () => {
        posts += 1;
        return Promise.reject(new LedgerError({ code: 'OUTCOME_UNKNOWN' }));
      },
    };
    await expect(postDifference(ledger, reader, 1, 1n)).rejects.toMatchObject({
      failure: { code: 'OUTCOME_UNKNOWN' },
    });
    expect(posts).toBe(1);
  });

  it('posts nothing if the balance is right already', async () => {
    const { ledger, reader, commands, now } = contested(100_000n, 0);
    const report = await postDifference(ledger, reader, 1, 100_000n);
    expect(report).toEqual({ before: now(), after: now(), transaction: undefined });
    expect(commands).toEqual([]);
  });
});
