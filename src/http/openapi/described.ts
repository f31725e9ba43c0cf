import type { TransactionDetails } from '../../domain/transaction.js';
import { Field, jsonText, Metadata, plainText, text } from './resource.js';

const optional = { optional: true };

/** What the client said about it, as far as it did. */
export abstract class Described {
  @Field(text({ type: 'string', description: 'What it is for.' }), optional)
  readonly description: string | undefined;

  @Field(text({ type: 'string', description: "The client's own name for it." }), optional)
  readonly reference: string | undefined;

  @Field(jsonText(Metadata), optional)
  readonly metadata: string | undefined;

  @Field(
    plainText({
      type: 'string',
      format: 'date',
      description: 'The day on which it takes effect for the client.',
    }),
    optional,
  )
  readonly effectiveDate: string | undefined;

  constructor({ description, reference, metadata, effectiveDate }: TransactionDetails = {}) {
    this.description = description;
    this.reference = reference;
    this.metadata = metadata;
    this.effectiveDate = effectiveDate;
  }
}
