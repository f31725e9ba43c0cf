import type { Account } from '../domain/account.js';
import { IsAmount, IsOptionalField, IsOwner, IsVersion, type Numeric } from '../http/field-rules.js';
import { InvalidRequestError } from '../http/invalid-request.js';
import { JsonMoney } from '../http/json-money.js';

/** POST /accounts */
export class OpenAccountDto {
  @IsOptionalField()
  @IsAmount()
  openingDeposit?: Numeric;

  @IsOptionalField()
  @IsOwner()
  owner?: string;
}

/**
 * Whose a new account is to be.
 *
 * @param sender whose accounts alone the sender may use; undefined: everybody's
 * @throws InvalidRequestError
 */
export function ownerOf({ owner }: OpenAccountDto, sender: string | undefined): string | undefined {
  if (sender !== undefined && owner !== undefined && owner !== sender) {
    throw InvalidRequestError.of('owner', 'must be your own, or left out');
  }
  return sender ?? owner;
}

/** GET /accounts/{accountId}/balance */
export class BalanceQueryDto {
  @IsOptionalField()
  @IsVersion()
  minVersion?: string;
}

/** `{"accountId":1,"balance":1000.00,"version":2}`, and `"owner"` where it has one. */
export function accountResource({ accountId, balance, version, owner }: Account) {
  return { accountId, balance: new JsonMoney(balance), version, ...(owner !== undefined && { owner }) };
}

/** `{"balance":350.00,"version":12}` */
export function balanceResource(account: Account) {
  return { balance: new JsonMoney(account.balance), version: account.version };
}
