import { dataOf, type Calls } from './calls.js';
import * as api from './generated/api/sdk.gen.js';
import type { Submission } from './generated/api/types.gen.js';
import { poll, type PollOptions } from './poll.js';
import type { CallOptions } from './transport.js';

/** What became of requests with `Prefer: respond-async`. */
export class Submissions {
  constructor(private readonly calls: Calls) {}

  get(submissionId: string, call?: CallOptions): Promise<Submission> {
    return dataOf(api.getSubmission({ ...this.calls.reading(call), path: { submissionId } }));
  }

  /**
   * Waits until a submission is `posted` or `refused`, which its `status` says.
   *
   * @throws TimeoutError it is still queued
   */
  settled(submissionId: string, options?: PollOptions): Promise<Submission> {
    return poll(
      (call) => this.get(submissionId, call),
      ({ status }) => status !== 'queued',
      options,
    );
  }
}
