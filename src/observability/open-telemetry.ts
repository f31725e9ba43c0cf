import { setTimeout as sleep } from 'node:timers/promises';
import {
  diag,
  DiagLogLevel,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Context,
  type Span as OtelSpan,
  type Tracer,
} from '@opentelemetry/api';
import { ExportResultCode, parseTraceParent, TraceState } from '@opentelemetry/core';
import {
  detectResources,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceNameEnvDetector,
} from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  SamplingDecision,
  TraceIdRatioBasedSampler,
  TracerProvider,
  type Sampler,
  type SpanExporter,
} from '@opentelemetry/sdk-trace';
import {
  ATTR_ERROR_TYPE,
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_HTTP_ROUTE,
  ATTR_SERVICE_NAME,
  ATTR_URL_PATH,
} from '@opentelemetry/semantic-conventions';
import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import type { Span } from '../domain/origin.js';
import type {
  BatchSpan,
  RequestSpan,
  ShardTracing,
  TracedAnswer,
  TracedRequest,
  Tracing,
} from './tracing.js';

type Settings = NonNullable<Config['tracing']>;

/** The most links of a span, to requests or to batches. */
const MAX_LINKS = 128;
/** How often spans are exported, and so the most of them that a crash loses. More often where there are many. */
const EXPORT_EVERY_MS = 1_000;
/** In characters. A path may have 16 KB. */
const MAX_ATTRIBUTE_LENGTH = 1_024;

/**
 * Traces through OpenTelemetry. The spans are made by hand: instrumentation that patches modules knows neither batches
 * nor routes. There is no active context that would follow each promise: a span goes where it is handed on.
 */
export class OpenTelemetryTracing implements Tracing {
  private readonly provider: TracerProvider;
  private readonly tracer: Tracer;

  private constructor(
    private readonly settings: Settings,
    exporter: SpanExporter,
  ) {
    this.provider = new TracerProvider({
      resource: resourceFromAttributes({
        [ATTR_SERVICE_NAME]: 'scalable-banking-api',
        'process.pid': process.pid,
      }).merge(detectResources({ detectors: [resourceAttributesEnvDetector, serviceNameEnvDetector] })),
      sampler: withLinked(samplerOf(settings)),
      spanLimits: { linkCountLimit: MAX_LINKS, attributeValueLengthLimit: MAX_ATTRIBUTE_LENGTH },
      // Bounded: it drops spans rather than let more than 2,048 wait.
      spanProcessors: [new BatchSpanProcessor({ exporter, scheduledDelayMillis: EXPORT_EVERY_MS })],
    });
    this.tracer = this.provider.getTracer('scalable-banking-api');
  }

  static async open(settings: Settings, logger: Logger): Promise<OpenTelemetryTracing> {
    // The errors are those of failed exports, of which `logged` tells once. What is no text may hold anything.
    const warn = (...parts: readonly unknown[]) =>
      logger.warn(
        { detail: parts.filter((part) => typeof part === 'string').join(': ') },
        'OpenTelemetry warns',
      );
    const silent = () => undefined;
    diag.setLogger({ warn, error: silent, info: silent, debug: silent, verbose: silent }, DiagLogLevel.WARN);
    const { OTLPTraceExporter } =
      settings.protocol === 'http/json'
        ? await import('@opentelemetry/exporter-trace-otlp-http')
        : await import('@opentelemetry/exporter-trace-otlp-proto');
    const url = `${settings.endpoint.replace(/\/$/, '')}/v1/traces`;
    return new OpenTelemetryTracing(settings, logged(new OTLPTraceExporter({ url }), logger));
  }

  request({ id, method, url, headers }: TracedRequest): RequestSpan {
    const query = url.indexOf('?');
    const attributes = {
      [ATTR_HTTP_REQUEST_METHOD]: method,
      [ATTR_URL_PATH]: query < 0 ? url : url.slice(0, query),
      'http.response.header.x-request-id': [id],
    };
    const options = { kind: SpanKind.SERVER, attributes };
    return new ServerSpan(this.tracer.startSpan(method, options, parentOf(headers)), method);
  }

  forShard(shardIndex: number): ShardTracing {
    return {
      batch: (commands) => {
        const requests = recordedAmong(commands);
        if (requests.size === 0) return undefined;
        const links = Array.from(requests, (request) => ({ context: request.spanContext() })).slice(
          0,
          MAX_LINKS,
        );
        const attributes = { 'bank.shard': shardIndex, 'bank.batch.commands': commands.length };
        const span = this.tracer.startSpan('ledger batch', { links, attributes }, ROOT_CONTEXT);
        for (const request of requests) request.addLink({ context: span.spanContext() });
        return new LedgerSpan(span);
      },
    };
  }

  async close(): Promise<void> {
    const late = sleep(this.settings.closeTimeoutMs, undefined, { ref: false });
    await Promise.race([this.provider.shutdown(), late]).catch(() => undefined);
  }
}

abstract class TracedSpan implements Span {
  constructor(readonly span: OtelSpan) {}

  get traceId(): string {
    return this.span.spanContext().traceId;
  }

  get traceparent(): string {
    const { traceId, spanId, traceFlags } = this.span.spanContext();
    return `00-${traceId}-${spanId}-0${traceFlags & TraceFlags.SAMPLED}`;
  }
}

class ServerSpan extends TracedSpan implements RequestSpan {
  constructor(
    span: OtelSpan,
    private readonly method: string,
  ) {
    super(span);
  }

  answered({ route, status, code }: TracedAnswer): void {
    const { span } = this;
    if (route !== undefined) span.updateName(`${this.method} ${route}`).setAttribute(ATTR_HTTP_ROUTE, route);
    span.setAttribute(ATTR_HTTP_RESPONSE_STATUS_CODE, status);
    if (code !== undefined) span.setAttribute(ATTR_ERROR_TYPE, code);
    // What the client got wrong is no error of the server's. 408 says that the database failed.
    if (status >= 500 || status === 408) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end();
  }
}

class LedgerSpan extends TracedSpan implements BatchSpan {
  committed(transactions: number): void {
    this.span.setAttribute('bank.batch.transactions', transactions).end();
  }

  failed(failure: string): void {
    this.span.setAttribute(ATTR_ERROR_TYPE, failure).setStatus({ code: SpanStatusCode.ERROR }).end();
  }
}

/** Of several commands of one request its span is one. */
function recordedAmong(commands: readonly { readonly span?: Span }[]): Set<OtelSpan> {
  const recorded = new Set<OtelSpan>();
  for (const { span } of commands)
    if (span instanceof TracedSpan && span.span.isRecording()) recorded.add(span.span);
  return recorded;
}

/** W3C Trace Context: of a header that is not valid nothing is taken, and `tracestate` counts only with a valid one. */
function parentOf({ traceparent, tracestate }: TracedRequest['headers']): Context {
  const parent = typeof traceparent === 'string' ? parseTraceParent(traceparent) : null;
  if (!parent) return ROOT_CONTEXT;
  const traceState = typeof tracestate === 'string' ? new TraceState(tracestate) : undefined;
  return trace.setSpanContext(ROOT_CONTEXT, { ...parent, traceState, isRemote: true });
}

function samplerOf({ sampler, ratio }: Settings): Sampler {
  const name = sampler.replace(/^parentbased_/, '');
  const root =
    name === 'traceidratio'
      ? new TraceIdRatioBasedSampler(ratio)
      : name === 'always_on'
        ? new AlwaysOnSampler()
        : new AlwaysOffSampler();
  return name === sampler ? root : new ParentBasedSampler({ root });
}

/** A batch is recorded if a request is that it serves: only those are linked when a span begins. */
function withLinked(ofRequests: Sampler): Sampler {
  return {
    shouldSample: (context, traceId, name, kind, attributes, links) =>
      links.length > 0
        ? { decision: SamplingDecision.RECORD_AND_SAMPLED }
        : ofRequests.shouldSample(context, traceId, name, kind, attributes, links),
    toString: () => ofRequests.toString(),
  };
}

/** Logs when exports begin to fail, and when they succeed again. */
function logged(exporter: SpanExporter, logger: Logger): SpanExporter {
  let failing = false;
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        const failed = result.code === ExportResultCode.FAILED;
        if (failed && !failing) logger.warn({ err: result.error }, "traces can't be exported, and are lost");
        if (!failed && failing) logger.info('traces are exported again');
        failing = failed;
        done(result);
      }),
    shutdown: () => exporter.shutdown(),
  };
}
