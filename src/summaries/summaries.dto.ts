import type { AccountStatus } from '../domain/account.js';
import { formatMoney } from '../domain/money.js';
import {
  Field,
  integer,
  LedgerMoney,
  listOf,
  plainText,
  Resource,
  Timestamp,
  written,
} from '../http/openapi/resource.js';
import { reads } from '../http/validation/incoming.js';
import type { CurrencyTotals, LedgerSummary } from '../ledger/read/summary-reader.js';

/** GET /ledger/summary */
export const summaryRequestOf = reads({}, () => undefined);

const Count = integer({ type: 'integer', minimum: 0 });

@Resource('AccountsByStatus')
export class AccountsByStatusDto implements Readonly<Record<AccountStatus, number>> {
  @Field(Count) readonly open!: number;
  @Field(Count) readonly debits_blocked!: number;
  @Field(Count) readonly frozen!: number;
  @Field(Count) readonly closed!: number;
}

/** The balance is the credits less the debits, exactly. */
@Resource('CurrencySummary')
export class CurrencySummaryDto {
  @Field(plainText({ type: 'string', pattern: '^[A-Z]{3}$', description: 'ISO 4217.' }))
  readonly currency: string;
  @Field(Count) readonly accounts: number;
  @Field(written(AccountsByStatusDto)) readonly accountsByStatus: AccountsByStatusDto;
  /** Of all accounts. */
  @Field(LedgerMoney) readonly balance: string;
  @Field(LedgerMoney) readonly held: string;
  /** The part of `held` that is on its way to accounts in other shards. */
  @Field(LedgerMoney) readonly inFlight: string;
  /** Of all time. */
  @Field(LedgerMoney) readonly credits: string;
  @Field(LedgerMoney) readonly debits: string;

  constructor({ currency, accounts, balance, held, inFlight, credits, debits }: CurrencyTotals) {
    const { code, decimals } = currency;
    this.currency = code;
    this.accounts = Object.values(accounts).reduce((sum, count) => sum + count, 0);
    this.accountsByStatus = accounts;
    this.balance = formatMoney(balance, decimals);
    this.held = formatMoney(held, decimals);
    this.inFlight = formatMoney(inFlight, decimals);
    this.credits = formatMoney(credits, decimals);
    this.debits = formatMoney(debits, decimals);
  }
}

@Resource('LedgerSummary')
export class LedgerSummaryDto {
  @Field(Timestamp) readonly asOf: string;
  @Field(listOf(written(CurrencySummaryDto), { description: 'In the order of their codes.' }))
  readonly currencies: readonly CurrencySummaryDto[];

  constructor({ asOf, currencies }: LedgerSummary) {
    this.asOf = asOf.toISOString();
    this.currencies = currencies.map((totals) => new CurrencySummaryDto(totals));
  }
}
