import type { LedgerAccount } from './account.js';
import type { IncomingTransfer, OutgoingTransfer } from './between-shards.js';
import type { AccountChange, Books, Effects } from './books.js';
import type { AccountChanges, InMinorUnits } from './command.js';
import type { Hold } from './hold.js';
import type { Money } from './money.js';
import type { Transaction, TransactionLinks, TransactionType } from './transaction.js';

/** The effects of one command while they are put together. The books stay as they are until it is accepted. */
export class Draft {
  // Most commands post one transaction to one account. So a list is made with its first item: an empty one that grows
  // takes room for 17. And a list of accounts, at most one of each, is faster than a map.
  private transactions: Transaction[] | undefined;
  private accounts: LedgerAccount[] | undefined;
  private holds: Map<number, Hold> | undefined;
  private changes: AccountChange[] | undefined;
  private outgoing: OutgoingTransfer[] | undefined;
  private incoming: IncomingTransfer[] | undefined;

  constructor(private readonly books: Books) {}

  /** @throws Error for an account that is not locked */
  account(accountId: number): LedgerAccount {
    const account = this.accounts?.find(isOf(accountId)) ?? this.books.accounts.get(accountId);
    if (!account) throw new Error(`account ${accountId} is not locked`);
    return account;
  }

  /** The id of the next transaction, for one that names itself or the first leg of its transfer. */
  get nextId(): number {
    return this.books.idAt(this.transactions?.length ?? 0);
  }

  /** Posts one transaction; whether it may be is for the caller to check. */
  post(accountId: number, type: TransactionType, amount: Money, links: TransactionLinks): void {
    const after = moved(this.account(accountId), type, amount);
    const transactionId = this.nextId;
    this.set(after);
    // Each member by name: a spread would make the object larger and slower, and this is made for every posting.
    this.transactions = extended(this.transactions, {
      transactionId,
      timestamp: this.books.now,
      accountId,
      type,
      amount,
      balanceAfter: after.balance,
      heldAfter: after.held,
      versionAfter: after.version,
      decimals: after.decimals,
      idempotencyKey: links.idempotencyKey,
      fingerprint: links.fingerprint,
      transferId: links.transferId,
      holdId: links.holdId,
      reversesId: links.reversesId,
      details: links.details,
    });
  }

  /** Sets a hold; its account's number of active ones follows. */
  setHold(hold: Hold): void {
    const holds = (this.holds ??= new Map<number, Hold>());
    const before = holds.get(hold.holdId) ?? this.books.holds.get(hold.holdId);
    const account = this.account(hold.accountId);
    const change = Number(hold.status === 'active') - Number(before?.status === 'active');
    if (change !== 0) this.set({ ...account, activeHolds: account.activeHolds + change });
    holds.set(hold.holdId, hold);
  }

  /** Changes an account otherwise than by a transaction. */
  change(accountId: number, changes: InMinorUnits<AccountChanges>, actor: string | undefined): void {
    const account = this.account(accountId);
    const { status = account.status, overdraftLimit = account.overdraftLimit } = changes;
    const revision = account.revision + 1;
    this.set({ ...account, status, overdraftLimit, revision });
    this.changes = extended(this.changes, {
      ...{ accountId, revision, changes, actor },
      decimals: account.decimals,
    });
  }

  setOutgoing(transfer: OutgoingTransfer): void {
    this.outgoing = [transfer];
  }

  setIncoming(transfer: IncomingTransfer): void {
    this.incoming = [transfer];
  }

  /** The transaction that was posted last. */
  get last(): Transaction {
    return this.transactions?.at(-1) as Transaction;
  }

  get effects(): Effects {
    const { transactions = NONE, accounts = NONE, changes = NONE, holds } = this;
    const { outgoing = NONE, incoming = NONE } = this;
    const held = holds ? [...holds.values()] : NONE;
    return { transactions, accounts, changes, holds: held, outgoing, incoming };
  }

  private set(account: LedgerAccount): void {
    const place = this.accounts?.findIndex(isOf(account.accountId)) ?? -1;
    if (place === -1) this.accounts = extended(this.accounts, account);
    else (this.accounts as LedgerAccount[])[place] = account;
  }
}

const NONE: readonly never[] = [];

function extended<T>(list: T[] | undefined, item: T): T[] {
  if (!list) return [item];
  list.push(item);
  return list;
}

/** An account after a transaction. */
function moved(before: LedgerAccount, type: TransactionType, amount: Money): LedgerAccount {
  const { accountId, decimals, activeHolds, overdraftLimit, status, revision, currency } = before;
  let { balance, held } = before;
  switch (type) {
    case 'credit':
      balance += amount;
      break;
    case 'debit':
      balance -= amount;
      break;
    case 'hold':
      held += amount;
      break;
    case 'release':
      held -= amount;
      break;
  }
  const version = before.version + 1;
  return {
    accountId,
    balance,
    version,
    decimals,
    held,
    activeHolds,
    overdraftLimit,
    status,
    revision,
    currency,
  };
}

const isOf = (accountId: number) => (account: LedgerAccount) => account.accountId === accountId;
