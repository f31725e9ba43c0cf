import type { HoldCommand, PostingCommand, TransferCommand } from '../domain/command.js';

/** What a submission may ask for. */
export type SubmittedRequest = PostingCommand | TransferCommand | HoldCommand;

export const KINDS = ['transaction', 'transfer', 'hold'] as const;

export type SubmissionKind = (typeof KINDS)[number];

export function kindOf({ type }: SubmittedRequest): SubmissionKind {
  return type === 'transfer' || type === 'hold' ? type : 'transaction';
}
