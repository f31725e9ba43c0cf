import type { OwnedAccount } from '../domain/account.js';
import type { Currency } from '../domain/currency.js';
import type { Money } from '../domain/money.js';
import type { MovementType } from '../domain/transaction.js';
import type { Movement, Turnover } from '../ledger/read/statement-reader.js';

/** What a statement says, whatever its form. */
export interface Statement {
  readonly account: Pick<OwnedAccount, 'accountId' | 'owner' | 'reference'>;
  readonly currency: Currency;
  /** Inclusive. */
  readonly from: Date;
  /** Exclusive. */
  readonly to: Date;
  readonly createdAt: Date;
  readonly openingBalance: Money;
  readonly closingBalance: Money;
  readonly turnover: Readonly<Record<MovementType, Turnover>>;
  /** Oldest first, in chunks. @throws when they don't add up to the closing balance */
  readonly lines: () => AsyncGenerator<readonly Movement[]>;
}

/** A form of statements: writes one, part by part. */
export type StatementWriter = (statement: Statement) => AsyncGenerator<string | Buffer>;

/** How a line changes the balance. */
export const signed = ({ type, amount }: Movement): Money => (type === 'credit' ? amount : -amount);
