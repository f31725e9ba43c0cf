import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Webhook } from 'standardwebhooks';
import type { BankEvent } from '../../src/messaging/bank-event.js';
import { isValidEvent } from './events.js';

/** What a receiver answers; undefined: nothing, ever. */
export interface Answer {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

export interface Delivery {
  readonly event: BankEvent;
  readonly atMs: number;
  readonly headers: IncomingMessage['headers'];
  readonly status: number | undefined;
}

/** An endpoint of a webhook, which verifies what it gets with the library that its authors recommend. */
export class Receiver {
  readonly deliveries: Delivery[] = [];
  /** Deliveries whose signature or body is wrong. */
  readonly forged: string[] = [];
  secret = '';
  answer: (event: BankEvent) => Answer | undefined | Promise<Answer | undefined> = () => ({ status: 204 });
  private readonly server: Server = createServer((request, response) => void this.receive(request, response));

  static async start(): Promise<Receiver> {
    const receiver = new Receiver();
    receiver.server.listen(0, '127.0.0.1');
    await once(receiver.server, 'listening');
    return receiver;
  }

  get url(): string {
    const address = this.server.address();
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/events`;
  }

  /** What it has accepted, each event once, in the order in which they came for the first time. */
  get accepted(): BankEvent[] {
    const seen = new Map<string, BankEvent>();
    for (const { event, status = 0 } of this.deliveries)
      if (status >= 200 && status < 300 && !seen.has(event.id)) seen.set(event.id, event);
    return [...seen.values()];
  }

  /** The versions of an account that it has accepted, in order of arrival. */
  versionsOf(accountId: number): number[] {
    return this.accepted.flatMap((event) =>
      event.type.startsWith('transaction.posted') && event.data.accountId === accountId
        ? [event.data['version'] as number]
        : [],
    );
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private async receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    try {
      new Webhook(this.secret).verify(body, request.headers as Record<string, string>);
    } catch (error) {
      this.forged.push(String(error));
    }
    const event = JSON.parse(body) as BankEvent;
    if (!isValidEvent(event) || request.headers['webhook-id'] !== event.id) this.forged.push(body);
    const atMs = performance.now();
    const answer = await this.answer(event);
    this.deliveries.push({ event, atMs, headers: request.headers, status: answer?.status });
    if (answer) response.writeHead(answer.status, answer.headers).end(answer.body);
  }
}
