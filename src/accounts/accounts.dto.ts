import type { Account, OwnedAccount } from '../domain/account.js';
import {
  IsAmount,
  IsOptionalField,
  IsOwner,
  IsVersion,
  type Numeric,
} from '../http/validation/field-rules.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { JsonMoney } from '../http/validation/json-money.js';
import type { ChainProof } from '../ledger/read/ledger-reader.js';

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

/** GET /accounts/{accountId}/proof */
export class ProofQueryDto {
  @IsOptionalField()
  @IsVersion()
  fromVersion?: string;
}

/** `{"accountId":1,"balance":1000.00,"version":2}`, and `"owner"` where it has one. */
export function accountResource({ accountId, balance, version, owner }: OwnedAccount) {
  return { accountId, balance: new JsonMoney(balance), version, ...(owner !== undefined && { owner }) };
}

/** `{"balance":350.00,"version":12}` */
export function balanceResource(account: Account) {
  return { balance: new JsonMoney(account.balance), version: account.version };
}

/** `{"accountId":1,"version":3,"hash":"5f8b…","lines":["7:1:credit:…"],"nextFromVersion":null}`; the last two where they were asked for. */
export function proofResource(
  { accountId, version, hash, lines, nextFromVersion }: ChainProof,
  withLines: boolean,
) {
  const head = { accountId, version, hash };
  return withLines ? { ...head, lines, nextFromVersion: nextFromVersion ?? null } : head;
}
