/** A span of a trace: something that takes a while, and its place among others. */
export interface Span {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** Names the span to others, as W3C Trace Context does: also where it is not recorded. */
  readonly traceparent: string;
}

/** Where a command comes from. An HTTP request is one. */
export interface Origin {
  /** When it began to wait, on the clock of performance.now(); undefined: it has not waited yet. */
  readonly waitingSinceMs?: number;
  /** Undefined: nothing is traced. */
  readonly span?: Span;
}
