import type { Rejection } from './errors.js';

/** What is remembered of a submission that was refused. */
export interface RecordedRefusal {
  readonly rejection: Rejection;
  /** To recognise the same request; undefined: what was submitted could not be read. */
  readonly fingerprint: string | undefined;
}

/** A submission's refusal, with the key that it spends. */
export interface Refusal extends RecordedRefusal {
  readonly accountId: number;
  readonly idempotencyKey: string;
}
