import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { codeOf } from '../domain/error-message.js';
import { readBankEvent, type BankEvent } from '../messaging/bank-event.js';
import { signatureProblem } from '../messaging/webhooks/signature.js';
import { CommandError } from './command-error.js';

export interface ListenOptions {
  /** 0: any that is free. */
  readonly port: number;
  /** Of the webhook; undefined: nothing is verified. */
  readonly secret?: string;
  /** Ends after so many events. */
  readonly count?: number;
}

export interface WebhookListener {
  /** Called when it has begun. */
  readonly onReady: (url: string) => void;
  /** Called for each event that has arrived, also for one that comes again. */
  readonly onEvent: (event: BankEvent) => void;
  /** Called when a request was refused. */
  readonly onRefused: (reason: string) => void;
}

/** Longer than any event. */
const MAX_BODY_BYTES = 256 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 100;

type Received = { readonly event: BankEvent } | { readonly status: number; readonly reason: string };

const answerTo = (received: Received) =>
  'event' in received
    ? { status: 204, text: undefined }
    : { status: received.status, text: `${received.reason}\n` };

/**
 * Receives webhooks on this machine, for trying them out, until the signal or the count ends it.
 *
 * @throws CommandError when the port is taken
 */
export async function listenForWebhooks(
  { port, secret, count = Infinity }: ListenOptions,
  { onReady, onEvent, onRefused }: WebhookListener,
  signal: AbortSignal,
): Promise<void> {
  const enough = new AbortController();
  let seen = 0;
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    void receive(request, secret)
      .catch((): Received => ({ status: 400, reason: 'it did not arrive' }))
      .then((received) => {
        if ('event' in received) onEvent(received.event);
        else onRefused(received.reason);
        const { status, text } = answerTo(received);
        response.writeHead(status, { connection: 'close' }).end(text);
        if ('event' in received && ++seen >= count) response.once('close', () => enough.abort());
      });
  });
  server.maxConnections = MAX_CONNECTIONS;
  const stop = AbortSignal.any([signal, enough.signal]);
  onReady(`http://127.0.0.1:${await listen(server, port)}/`);
  if (!stop.aborted) await once(stop, 'abort');
  server.close();
  server.closeAllConnections();
}

async function listen(server: Server, port: number): Promise<number> {
  server.listen({ host: '127.0.0.1', port });
  await once(server, 'listening').catch((error: unknown) => {
    if (codeOf(error) === 'EADDRINUSE')
      throw new CommandError(`port ${port} is taken: choose another one with --port`);
    throw error;
  });
  return (server.address() as AddressInfo).port;
}

async function receive(request: IncomingMessage, secret: string | undefined): Promise<Received> {
  if (request.url !== '/') return { status: 404, reason: 'events come to the path /' };
  if (request.method !== 'POST') return { status: 405, reason: 'events come by POST' };
  const body = await bodyOf(request);
  if (body === undefined) return { status: 413, reason: 'its body is too long' };
  const problem = secret === undefined ? undefined : signatureProblem(secret, headersOf(request), body);
  if (problem !== undefined) return { status: 401, reason: problem };
  const event = readBankEvent(body);
  return event ? { event } : { status: 400, reason: 'it is no event of a bank' };
}

function headersOf({ headers }: IncomingMessage) {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature } = headers;
  return { 'webhook-id': one(id), 'webhook-timestamp': one(timestamp), 'webhook-signature': one(signature) };
}

const one = (value: string | string[] | undefined) => (typeof value === 'string' ? value : undefined);

/** Undefined: it is too long. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Not destroyed, so that who sends too much is answered.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
