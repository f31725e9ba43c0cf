import { requireScope } from '../../access/access-errors.js';
import { Contract, orNone } from './contract.js';
import { DetailsDto, DryRunQueryDto, isDryRun, readDetails } from './details.dto.js';
import {
  IsAmount,
  IsNullableField,
  IsOptionalField,
  IsTrueOrFalse,
  readAmount,
  type Numeric,
} from './field-rules.js';
import { reads } from './incoming.js';

/** POST …/reversal, of a transaction or a transfer. */
export class ReversalDto extends DetailsDto {
  @IsOptionalField()
  @IsAmount()
  amount?: Numeric;

  @IsNullableField()
  @IsTrueOrFalse(
    'Whether to reverse it even if the money is gone: the overdraft limit of the account is raised as far as needed. It ' +
      'takes the scope `admin`.',
  )
  force?: boolean;
}

const dryRunQuery = new Contract(DryRunQueryDto, 'query parameter');
const reversal = orNone(new Contract(ReversalDto));

/**
 * How a reversal is read. Throws ForbiddenError, too.
 *
 * @param originalIn what is reversed, by the request's path
 */
export const readsReversal = <T extends object>(originalIn: (params: unknown) => T) =>
  reads(
    { query: dryRunQuery, body: reversal, headers: ['Idempotency-Key'] },
    ({ params, principal, idempotencyKey }, query, body) => {
      const original = originalIn(params);
      const { amount, force } = body;
      if (force === true) requireScope(principal, 'admin');
      return {
        ...{ ...original, amount: readAmount(amount), force, idempotencyKey },
        ...{ details: readDetails(body, principal, true), dryRun: isDryRun(query) },
      };
    },
  );
