/** Why a request about a webhook is refused, by the code of the catalogue. */
export type WebhookProblem =
  /** There is no such endpoint, or it belongs to another owner. */
  | 'WEBHOOK_NOT_FOUND'
  /** Neither a failure nor a recent attempt of the endpoint is about the event. */
  | 'DELIVERY_NOT_FOUND'
  /** The bank, or the owner, has as many endpoints as it may have. */
  | 'TOO_MANY_WEBHOOKS'
  /** As many single events as may be wait to be delivered again. */
  | 'TOO_MANY_REDELIVERIES'
  /** There is no key to encrypt secrets with. */
  | 'WEBHOOKS_NOT_CONFIGURED';

export class WebhookError extends Error {
  constructor(readonly code: WebhookProblem) {
    super(code);
    this.name = 'WebhookError';
  }
}
