/** A client of the Scalable Banking API. */
export { BankClient, type BankClientOptions } from './bank-client.js';
export type { ConditionalPostOptions, PostOptions } from './calls.js';
export { isApplied } from './batches.js';
export * from './errors.js';
export { liveEvents, type LiveEvent, type LiveEventsOptions } from './live-events.js';
export * as money from './money.js';
export { Pages, type Page } from './pages.js';
export type { CallOptions, Limits } from './transport.js';
export * as webhooks from './webhooks.js';
export type * from './generated/api/types.gen.js';
export type * from './generated/events/types.gen.js';
// Both have it.
export type { ClientOptions } from './generated/api/types.gen.js';
