import type { LedgerAccount } from './account.js';
import type { AccountChange, Books, Effects } from './books.js';
import type { AccountChanges } from './command.js';
import type { Hold } from './hold.js';
import type { Money } from './money.js';
import type { Transaction, TransactionLinks, TransactionType } from './transaction.js';

/** The effects of one command while they are put together. The books stay as they are until it is accepted. */
export class Draft {
  private readonly transactions: Transaction[] = [];
  private readonly accounts = new Map<number, LedgerAccount>();
  private readonly holds = new Map<number, Hold>();
  private readonly changes: AccountChange[] = [];

  constructor(private readonly books: Books) {}

  /** @throws Error for an account that is not locked */
  account(accountId: number): LedgerAccount {
    const account = this.accounts.get(accountId) ?? this.books.accounts.get(accountId);
    if (!account) throw new Error(`account ${accountId} is not locked`);
    return account;
  }

  /** The id of the next transaction, for one that names itself or the first leg of its transfer. */
  get nextId(): number {
    return this.books.idAt(this.transactions.length);
  }

  /** Posts one transaction; whether it may be is for the caller to check. */
  post(accountId: number, type: TransactionType, amount: Money, links: TransactionLinks): void {
    const account = this.account(accountId);
    const after = { ...account, ...moved(account, type, amount), version: account.version + 1 };
    this.accounts.set(accountId, after);
    this.transactions.push({
      ...links,
      transactionId: this.nextId,
      timestamp: this.books.now,
      accountId,
      type,
      amount,
      balanceAfter: after.balance,
      heldAfter: after.held,
      versionAfter: after.version,
    });
  }

  /** Sets a hold; its account's number of active ones follows. */
  setHold(hold: Hold): void {
    const before = this.holds.get(hold.holdId) ?? this.books.holds.get(hold.holdId);
    const account = this.account(hold.accountId);
    const change = Number(hold.status === 'active') - Number(before?.status === 'active');
    if (change !== 0)
      this.accounts.set(hold.accountId, { ...account, activeHolds: account.activeHolds + change });
    this.holds.set(hold.holdId, hold);
  }

  /** Changes an account otherwise than by a transaction. */
  change(accountId: number, changes: AccountChanges, actor: string | undefined): void {
    const account = this.account(accountId);
    const { status = account.status, overdraftLimit = account.overdraftLimit } = changes;
    const revision = account.revision + 1;
    this.accounts.set(accountId, { ...account, status, overdraftLimit, revision });
    this.changes.push({ accountId, revision, changes, actor });
  }

  get effects(): Effects {
    const { transactions, changes } = this;
    return { transactions, changes, accounts: [...this.accounts.values()], holds: [...this.holds.values()] };
  }
}

function moved(
  { balance, held }: LedgerAccount,
  type: TransactionType,
  amount: Money,
): Pick<LedgerAccount, 'balance' | 'held'> {
  switch (type) {
    case 'credit':
      return { balance: balance + amount, held };
    case 'debit':
      return { balance: balance - amount, held };
    case 'hold':
      return { balance, held: held + amount };
    case 'release':
      return { balance, held: held - amount };
  }
}
