import { IsString, MaxLength } from 'class-validator';
import type { Account } from '../domain/account.js';
import { DEFAULT_LIMIT, MAX_LIMIT } from '../http/cursor.js';
import { IsAmount, IsOptionalField, IsWholeNumber, IsVersion, type Numeric } from '../http/field-rules.js';
import { JsonMoney } from '../http/json-money.js';

/** POST /accounts */
export class OpenAccountDto {
  @IsOptionalField()
  @IsAmount()
  openingDeposit?: Numeric;
}

/** GET /accounts */
export class ListAccountsDto {
  @IsOptionalField()
  @IsString({ message: 'must be a cursor from a previous page' })
  @MaxLength(200, { message: 'is too long' })
  cursor?: string;

  @IsOptionalField()
  @IsWholeNumber(1, MAX_LIMIT)
  limit: string = String(DEFAULT_LIMIT);
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
