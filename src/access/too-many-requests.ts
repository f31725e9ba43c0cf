/** The user is over the limit: 429. Nothing was applied. */
export class TooManyRequestsError extends Error {
  /** @param retryAfterSeconds whole seconds, at least 1, after which one more request is admitted */
  constructor(readonly retryAfterSeconds: number) {
    super('Too many requests');
    this.name = 'TooManyRequestsError';
  }
}
