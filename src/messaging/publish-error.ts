import type { PublishFailure } from '../observability/metrics.js';

/** The broker did not take the events, or did not confirm them: they stay in the outbox. */
export class PublishError extends Error {
  constructor(
    readonly reason: PublishFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'PublishError';
  }
}
