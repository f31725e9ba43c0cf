import type { Account } from '../domain/account.js';
import { IsAmount, IsOptionalField, IsVersion, type Numeric } from '../http/field-rules.js';
import { JsonMoney } from '../http/json-money.js';

/** POST /accounts */
export class OpenAccountDto {
  @IsOptionalField()
  @IsAmount()
  openingDeposit?: Numeric;
}

/** GET /accounts/{accountId}/balance */
export class BalanceQueryDto {
  @IsOptionalField()
  @IsVersion()
  minVersion?: string;
}

/** `{"accountId":1,"balance":1000.00,"version":2}` */
export function accountResource(account: Account) {
  return { accountId: account.accountId, balance: new JsonMoney(account.balance), version: account.version };
}

/** `{"balance":350.00,"version":12}` */
export function balanceResource(account: Account) {
  return { balance: new JsonMoney(account.balance), version: account.version };
}
