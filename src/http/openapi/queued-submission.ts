import { AccountId, Field, plainText, Resource, text } from './resource.js';

export const SUBMISSION_KINDS = ['transaction', 'transfer', 'hold'] as const;

export type SubmissionKind = (typeof SUBMISSION_KINDS)[number];

export const SubmissionId = plainText({ type: 'string', description: 'Signed by the bank.' });
export const SubmissionKindWord = plainText({ type: 'string', enum: [...SUBMISSION_KINDS] });
export const SubmittedKey = text({
  type: 'string',
  description: 'The `Idempotency-Key` with which it was submitted.',
});

/** What the id of a submission tells of it. */
export interface NamedSubmission {
  readonly kind: SubmissionKind;
  readonly accountId: number;
  readonly idempotencyKey: string;
}

/** The answer to a request that was queued. */
@Resource('QueuedSubmission')
export class QueuedSubmissionDto {
  @Field(SubmissionId) readonly id: string;
  @Field(SubmissionKindWord) readonly kind: SubmissionKind;
  @Field(AccountId) readonly accountId: number;
  @Field(SubmittedKey) readonly idempotencyKey: string;
  @Field(plainText({ type: 'string', const: 'queued' })) readonly status = 'queued';

  constructor(id: string, { kind, accountId, idempotencyKey }: NamedSubmission) {
    this.id = id;
    this.kind = kind;
    this.accountId = accountId;
    this.idempotencyKey = idempotencyKey;
  }
}
