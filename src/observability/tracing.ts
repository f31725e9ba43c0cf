import type { IncomingHttpHeaders } from 'node:http';
import type { Span } from '../domain/origin.js';

/** Where the traces of requests and of the batches that serve them begin. Undefined: nothing is traced. */
export const TRACING = Symbol('TRACING');

export interface Tracing {
  /** Begins the span of a request, a part of the trace that its `traceparent` names, if it has a valid one. */
  request(request: TracedRequest): RequestSpan;
  forShard(shardIndex: number): ShardTracing;
  /** Sends what is left, for a bounded time. Never throws. */
  close(): Promise<void>;
}

/** What is known of a request when it arrives. */
export interface TracedRequest {
  readonly id: string;
  readonly method: string;
  /** With its query, which may hold what a client put there by mistake, so that is left out. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

export interface RequestSpan extends Span {
  answered(answer: TracedAnswer): void;
}

export interface TracedAnswer {
  /** The template of the path; undefined: no route has it. */
  readonly route: string | undefined;
  readonly status: number;
  /** The error's code, if it is one. */
  readonly code: string | undefined;
}

export interface ShardTracing {
  /**
   * Begins the span of a batch, the root of its own trace, because it serves many requests: it and theirs are linked.
   *
   * @returns undefined: none of the requests is recorded
   */
  batch(commands: readonly { readonly span?: Span }[]): BatchSpan | undefined;
}

export interface BatchSpan extends Span {
  committed(transactions: number): void;
  /** @param failure why its transaction did not commit, or may not have */
  failed(failure: string): void;
}
