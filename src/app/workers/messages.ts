import type { MetricObjectWithValues, MetricValue } from 'prom-client';
import type { BankShards } from '../../sharding/bootstrap-shards.js';

/** What a process has counted and measured, as prom-client's registry tells it. */
export type MetricValues = readonly MetricObjectWithValues<MetricValue<string>>[];

export interface Assignment {
  /** Settled by the primary; contains the database's password, so it is told and not passed on a command line. */
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
