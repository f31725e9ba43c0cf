import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A request that arrived at the proxy. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export interface Answer {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

/** What happens to one request. */
export type Fault =
  | { readonly kind: 'passed' }
  /** The proxy answers itself. */
  | ({ readonly kind: 'answered' } & Answer)
  /** The connection breaks before the service has the request. */
  | { readonly kind: 'request lost' }
  /** The connection breaks after the service has answered: before the answer, or in the middle of it. */
  | { readonly kind: 'answer lost' | 'answer cut' }
  /** The service has answered, and nobody is told. */
  | { readonly kind: 'silent' };

/** An HTTP proxy in front of a service that does to its next requests what a test says, and passes all others. */
export class FaultyProxy {
  readonly faults: Fault[] = [];
  readonly seen: Seen[] = [];
  private readonly server = createServer((request, response) => void this.handle(request, response));

  private constructor(private readonly target: string) {}

  static async start(target: string): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(target);
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Forgets what was seen. */
  next(...faults: Fault[]): void {
    this.faults.splice(0, Infinity, ...faults);
    this.seen.length = 0;
  }

  async stop(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request;
    let body = '';
    for await (const chunk of request) body += String(chunk);
    this.seen.push({ method, url, headers, body });
    const fault = this.faults.shift() ?? { kind: 'passed' };
    if (fault.kind === 'request lost') return void request.socket.destroy();
    const answer = fault.kind === 'answered' ? fault : await this.forward({ method, url, headers, body });
    if (fault.kind === 'silent') return;
    if (fault.kind === 'answer lost') return void request.socket.destroy();
    const text = answer.body ?? '';
    response.writeHead(answer.status, { ...answer.headers, 'content-length': Buffer.byteLength(text) });
    if (fault.kind !== 'answer cut') return void response.end(text);
    response.write(text.slice(0, -1));
    // Long enough for the head to arrive by itself.
    await sleep(20);
    request.socket.destroy();
  }

  private async forward({ method, url, headers, body }: Seen): Promise<Answer> {
    const answer = await fetch(this.target + url, {
      method,
      headers: withoutFraming(headers) as Record<string, string>,
      ...(body !== '' && { body }),
    });
    const kept = withoutFraming(Object.fromEntries(answer.headers)) as Record<string, string>;
    return { status: answer.status, headers: kept, body: await answer.text() };
  }
}

/** What belongs to one connection. */
const FRAMING = new Set(['connection', 'content-length', 'host', 'keep-alive', 'transfer-encoding']);
const withoutFraming = (headers: object) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !FRAMING.has(name)));
