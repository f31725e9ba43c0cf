import type { HoldCommand, PostingCommand, TransferCommand } from '../domain/command.js';
import type { SubmissionKind } from '../http/openapi/queued-submission.js';

/** What a submission may ask for. */
export type SubmittedRequest = PostingCommand | TransferCommand | HoldCommand;

export function kindOf({ type }: SubmittedRequest): SubmissionKind {
  return type === 'transfer' || type === 'hold' ? type : 'transaction';
}
