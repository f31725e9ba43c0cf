import { randomBytes } from 'node:crypto';
import { EVERYBODY, type Principal } from '../../access/principal.js';
import { digestOf } from '../../domain/hash-chain.js';
import type { TransactionDetails } from '../../domain/transaction.js';
import { IsDay, IsLine, IsMetadata, IsNullableField, IsOptionalField, IsWord } from './field-rules.js';
import { MAX_METADATA_BYTES, metadataText } from './metadata.js';

/** What a client may say about a posting of any kind. */
export class DetailsDto {
  @IsNullableField()
  @IsLine(500, { description: 'What it is for, in words.' }, 'Description')
  description?: string;

  @IsNullableField()
  @IsLine(255, { description: "The client's own name for it. It need not be unique." }, 'Reference')
  reference?: string;

  @IsNullableField()
  @IsMetadata(
    { description: `A JSON object for the client's own use: at most ${MAX_METADATA_BYTES} bytes.` },
    'Metadata',
  )
  metadata?: object;

  @IsNullableField()
  @IsDay(
    { description: 'The day on which it takes effect for the client. The ledger does not act on it.' },
    'EffectiveDate',
  )
  effectiveDate?: string;
}

/**
 * The details of a transaction, with their digest and the sender. Undefined: there are none.
 *
 * @param alwaysSigned whether the sender is recorded even if the client says nothing, as for a correction
 */
export function readDetails(
  { description, reference, metadata, effectiveDate }: DetailsDto,
  principal: Principal,
  alwaysSigned = false,
): TransactionDetails | undefined {
  const isSilent = (description ?? reference ?? effectiveDate ?? metadata) === undefined;
  if (isSilent && !alwaysSigned) return undefined;
  const actor = actorOf(principal);
  if (isSilent && actor === undefined) return undefined;
  const said = { description, reference, effectiveDate, metadata: metadata && metadataText(metadata) };
  if (said.description === undefined && said.metadata === undefined) return { ...said, actor };
  const salt = randomBytes(16).toString('hex');
  return { ...said, actor, salt, digest: digestOf(salt, said) };
}

/** Who is recorded as the sender. Undefined: authentication is off. */
export function actorOf({ id }: Principal): string | undefined {
  return id === EVERYBODY.id ? undefined : id;
}

/** The query of a posting. */
export class DryRunQueryDto {
  @IsOptionalField()
  @IsWord(['true', 'false'], {
    description:
      'Whether to answer only what would happen: nothing is applied, and no idempotency key is used.',
  })
  dryRun?: string;
}

export const isDryRun = ({ dryRun }: DryRunQueryDto): boolean => dryRun?.toLowerCase() === 'true';
