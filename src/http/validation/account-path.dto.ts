import type { FastifyRequest } from 'fastify';
import { Contract } from './contract.js';
import { IsVersion, readVersion } from './field-rules.js';

/** /accounts/{accountId}/… */
export class AccountPathDto {
  @IsVersion({ description: 'The id of an account.', example: 1 })
  accountId!: string;
}

const accountPath = new Contract(AccountPathDto);

/** The account in a request's path. @throws InvalidRequestError */
export const accountIdOf = ({ params }: FastifyRequest): number =>
  readVersion(accountPath.read(params).accountId) ?? 0;
