import { createHash } from 'node:crypto';
import { fingerprintOfRequest } from '../domain/command.js';
import { SUBMISSION_KINDS, type NamedSubmission } from '../http/openapi/queued-submission.js';
import { isSignatureOf, signatureOf } from './signature.js';
import { kindOf, type SubmittedRequest } from './submission.js';

/** What the id of a submission says. */
export interface SubmissionName extends NamedSubmission {
  readonly shard: number;
  /** Tells the request from others with the same key. */
  readonly fingerprint: string;
  /** The {@link digestOfOwner} of its sender. */
  readonly owner: string;
}

/** Stands for the owner to whom a sender is bound; empty: the sender may use all accounts. */
export const digestOfOwner = (owner: string | undefined): string =>
  owner === undefined ? '' : createHash('sha256').update(owner).digest('base64url').slice(0, DIGEST_LENGTH);

const DIGEST_LENGTH = 16;

export function nameOf(request: SubmittedRequest, shard: number, owner: string | undefined): SubmissionName {
  return {
    shard,
    accountId: request.accountId,
    kind: kindOf(request),
    idempotencyKey: request.idempotencyKey ?? '',
    fingerprint: fingerprintOfRequest(request),
    owner: digestOfOwner(owner),
  };
}

/** An id that nobody can make up who does not know the secret. It has nothing to look up in, so it needs no row. */
export function writeSubmissionId(
  { shard, accountId, kind, idempotencyKey, fingerprint, owner }: SubmissionName,
  secret: string,
): string {
  const parts = [shard, accountId, SUBMISSION_KINDS.indexOf(kind), fingerprint, owner, idempotencyKey];
  const text = Buffer.from(JSON.stringify(parts)).toString('base64url');
  return `${text}.${signatureOf(secret, 'id', text)}`;
}

/**
 * @param secretOf the secret of a shard; undefined: there is no such shard
 * @returns undefined: the bank has not made this id
 */
export function readSubmissionId(
  id: string,
  secretOf: (shard: number) => string | undefined,
): SubmissionName | undefined {
  const [text = '', signature = '', ...others] = id.split('.');
  const parts = others.length === 0 ? partsOf(text) : undefined;
  const secret = parts && secretOf(parts[0]);
  if (!parts || secret === undefined || !isSignatureOf(signature, secret, 'id', text)) return undefined;
  const [shard, accountId, kind, fingerprint, owner, idempotencyKey] = parts;
  return {
    shard,
    accountId,
    kind: SUBMISSION_KINDS[kind] ?? 'transaction',
    fingerprint,
    owner,
    idempotencyKey,
  };
}

type Parts = [
  shard: number,
  accountId: number,
  kind: number,
  fingerprint: string,
  owner: string,
  idempotencyKey: string,
];

/** Nothing but the shard may be believed before the signature is checked. */
function partsOf(text: string): Parts | undefined {
  try {
    const parts: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
    return Array.isArray(parts) && typeof parts[0] === 'number' ? (parts as Parts) : undefined;
  } catch {
    return undefined;
  }
}
