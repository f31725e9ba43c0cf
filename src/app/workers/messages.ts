import type { MetricObjectWithValues, MetricValue } from 'prom-client';
import type { BankShards } from '../../sharding/bootstrap-shards.js';

/** The metrics of a process, in the form of prom-client's registry. */
export type MetricValues = readonly MetricObjectWithValues<MetricValue<string>>[];

export interface Assignment {
  /** Opened by the primary. Sent as a message, not on a command line, because it contains the database's password. */
  readonly bank: BankShards;
}

export interface Listening {
  readonly url: string;
}

export type ToWorker =
  | { readonly kind: 'assignment'; readonly assignment: Assignment }
  | { readonly kind: 'collect' }
  | { readonly kind: 'scraped'; readonly text: string };

export type ToPrimary =
  | { readonly kind: 'hello' }
  | { readonly kind: 'listening'; readonly listening: Listening }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'metrics'; readonly metrics: MetricValues }
  | { readonly kind: 'scrape' };
