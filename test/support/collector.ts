import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';

type Value = {
  readonly stringValue?: string;
  readonly intValue?: number | string;
  readonly arrayValue?: { readonly values: readonly Value[] };
};

interface Attribute {
  readonly key: string;
  readonly value: Value;
}

interface Place {
  readonly traceId: string;
  readonly spanId: string;
}

interface SentSpan extends Place {
  readonly parentSpanId?: string;
  readonly traceState?: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes: readonly Attribute[];
  readonly links?: readonly Place[];
  readonly status: { readonly code?: number };
}

interface Sent {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly SentSpan[] }[];
  }[];
}

type Plain = string | number | readonly Plain[];

/** A span with its attributes and those of its process as plain values. */
export interface CollectedSpan extends Omit<SentSpan, 'attributes' | 'links'> {
  readonly attributes: Readonly<Record<string, Plain>>;
  readonly resource: Readonly<Record<string, Plain>>;
  /** The spans that it is linked to. */
  readonly linked: readonly string[];
}

/** The kind and the status of a span, as OTLP numbers them. */
export const SERVER = 2;
export const FAILED = 2;

/** One export. */
export interface Export {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/**
 * Takes the place of an OpenTelemetry collector, which is not to be had from npm: it keeps what is sent over OTLP/HTTP,
 * and understands JSON.
 */
export class Collector {
  readonly exports: Export[] = [];
  private readonly server = createServer((request, response) => void this.take(request, response));

  /** @param hangs takes everything, and answers nothing */
  private constructor(private readonly hangs: boolean) {}

  /** @param port 0: any */
  static async start({ port = 0, hangs = false } = {}): Promise<Collector> {
    const collector = new Collector(hangs);
    await once(collector.server.listen(port, '127.0.0.1'), 'listening');
    return collector;
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url: path = '', headers } = request;
    const sent = await buffer(request);
    const body = headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent;
    this.exports.push({ path, headers, body });
    if (this.hangs) return;
    const type = headers['content-type'] ?? '';
    // An answer that says nothing.
    response.setHeader('content-type', type).end(type === 'application/json' ? '{}' : '');
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** All spans so far. */
  get spans(): CollectedSpan[] {
    return this.exports
      .flatMap(({ body }) => (JSON.parse(body.toString()) as Sent).resourceSpans)
      .flatMap(({ resource, scopeSpans }) =>
        scopeSpans
          .flatMap(({ spans }) => spans)
          .map(({ attributes, links = [], ...span }) => ({
            ...span,
            attributes: plain(attributes),
            resource: plain(resource.attributes),
            linked: links.map(({ spanId }) => spanId),
          })),
      );
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}

const plain = (attributes: readonly Attribute[]): Record<string, Plain> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, plainValue(value)]));

function plainValue({ stringValue, intValue, arrayValue }: Value): Plain {
  return stringValue ?? (arrayValue ? arrayValue.values.map(plainValue) : Number(intValue));
}
