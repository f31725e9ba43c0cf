import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { BankClient, BankError, ForbiddenError, TimeoutError, type LiveEvent } from '../src/index.js';

type Handler = (response: ServerResponse, request: IncomingMessage) => unknown;

/** What the server does with its next connections, in order; the last one again and again. */
let handlers: Handler[];
let requests: IncomingMessage[];
let server: Server;
let bank: BankClient;

beforeEach(async () => {
  requests = [];
  server = createServer((request, response) => {
    requests.push(request);
    const handler = handlers.length > 1 ? handlers.shift() : handlers[0];
    handler?.(response, request);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  bank = new BankClient({ baseUrl, credential: 'key' });
});

afterEach(async () => {
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
});

const begin = (response: ServerResponse): void =>
  void response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
const event = (id: number, data: object = { id }) =>
  `id: ${id}\nevent: transaction.posted.v1\ndata: ${JSON.stringify(data)}\n\n`;
/** Short waits between connections. */
const RETRY = 'retry: 10\n\n';

/** Sends events, and then does something to the connection. */
const sending =
  (ids: number[], end: (response: ServerResponse) => unknown): Handler =>
  (response) => {
    begin(response);
    response.write(RETRY + ids.map((id) => event(id)).join(''), () => void end(response));
  };
const close = (response: ServerResponse) => response.end();
const cut = (response: ServerResponse) => response.destroy();
const keepOpen = () => undefined;

async function take(events: AsyncIterable<LiveEvent>, count: number): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of events) if (ids.push(id) === count) break;
  return ids;
}

describe('live events', () => {
  it('arrive in order, with their ids and types, as they are sent', async () => {
    handlers = [
      (response) => {
        begin(response);
        response.write(': hello\n\n');
        // In the middle of a character, and of a line end.
        const bytes = Buffer.from(event(1, { text: '€' }).replaceAll('\n', '\r\n'));
        bytes.forEach((byte) => response.write(Buffer.of(byte)));
      },
    ];
    const events = bank.accounts.events(7, { lastEventId: '0' });
    const { value } = await events.next();
    expect(value).toEqual({ id: '1', type: 'transaction.posted.v1', data: { text: '€' } });
    expect(requests[0]).toMatchObject({
      url: '/accounts/7/events',
      headers: { accept: 'text/event-stream', 'last-event-id': '0', authorization: 'Bearer key' },
    });
    const closed = once((requests[0] as IncomingMessage).socket, 'close');
    await events.return();
    await closed;
  });

  it('go on behind the last one that was handed out, however the connection ends', async () => {
    handlers = [sending([1, 2], close), sending([3], cut), sending([4, 5], keepOpen)];
    expect(await take(bank.events(), 5)).toEqual(['1', '2', '3', '4', '5']);
    expect(requests.map(({ url }) => url)).toEqual(Array(3).fill('/events'));
    expect(requests.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, '2', '3']);
  });

  it('do not skip those that arrived, but were not handed out', async () => {
    handlers = [sending([1, 2, 3], cut), sending([2, 3], keepOpen)];
    expect(await take(bank.events(), 1)).toEqual(['1']);
    expect(await take(bank.events({ lastEventId: '1' }), 2)).toEqual(['2', '3']);
    expect(requests[1]?.headers['last-event-id']).toBe('1');
  });

  it('go on where the stream began, if it breaks off before its first event', async () => {
    const atSeven: Handler = (response) => {
      begin(response);
      response.write('retry: 10\nid: 7\n\n', () => response.destroy());
    };
    handlers = [atSeven, sending([8], keepOpen)];
    expect(await take(bank.accounts.events(1), 1)).toEqual(['8']);
    expect(requests[1]?.headers['last-event-id']).toBe('7');
  });

  it('go on after an outage: refused connections and answers that ask to come back', async () => {
    const unavailable: Handler = (response) => response.writeHead(503, { 'retry-after': '1' }).end();
    handlers = [sending([1], cut), cut, unavailable, sending([2], keepOpen)];
    const from = performance.now();
    expect(await take(bank.events(), 2)).toEqual(['1', '2']);
    expect(performance.now() - from).toBeGreaterThan(1_000);
  });

  it('are read on a new connection when the old one is silent for too long', async () => {
    handlers = [sending([1], keepOpen), sending([2], keepOpen)];
    expect(await take(bank.events({ heartbeatTimeoutMs: 200 }), 2)).toEqual(['1', '2']);
  });

  it('keep a connection that only says that it lives', async () => {
    handlers = [
      async (response) => {
        begin(response);
        for (let i = 0; i < 10; i++) {
          response.write(':\n\n');
          await sleep(50);
        }
        response.write(event(1));
      },
    ];
    expect(await take(bank.events({ heartbeatTimeoutMs: 250 }), 1)).toEqual(['1']);
    expect(requests).toHaveLength(1);
  });

  it('slow the sender down while nobody takes them', async () => {
    let written = 0;
    handlers = [
      async (response) => {
        begin(response);
        for (let id = 1; ; id++) {
          if (response.destroyed) return;
          const text = event(id, { filler: 'x'.repeat(10_000) });
          written += text.length;
          if (!response.write(text)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
        }
      },
    ];
    const events = bank.events();
    await events.next();
    await sleep(300);
    const whenFull = written;
    await sleep(300);
    expect(written).toBe(whenFull);
    for (let id = 2; id <= 2_000; id++) expect((await events.next()).value).toMatchObject({ id: String(id) });
    await events.return();
  });

  it('end with the error of a stream that is refused', async () => {
    handlers = [
      (response) => response.writeHead(403, { 'x-error-code': 'FORBIDDEN' }).end('{"error":"Forbidden"}'),
    ];
    await expect(bank.events().next()).rejects.toBeInstanceOf(ForbiddenError);
    expect(requests).toHaveLength(1);
  });

  it('end where there is no stream, and where the server wants no more connections', async () => {
    handlers = [(response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>')];
    await expect(bank.events().next()).rejects.toBeInstanceOf(BankError);
    handlers = [(response) => response.writeHead(204).end()];
    expect(await take(bank.events(), 1)).toEqual([]);
  });

  it('end after so many connections in a row that failed', async () => {
    handlers = [sending([1], keepOpen), cut];
    const events = bank.events({ heartbeatTimeoutMs: 100, maxReconnects: 2 });
    await events.next();
    await expect(events.next()).rejects.toMatchObject({ code: 'NETWORK_ERROR' });
    expect(requests).toHaveLength(3);
    handlers = [sending([], keepOpen)];
    const silent = bank.events({ heartbeatTimeoutMs: 50, maxReconnects: 0 });
    await expect(silent.next()).rejects.toBeInstanceOf(TimeoutError);
  });

  it('refuse an event without end, instead of keeping it in memory', async () => {
    handlers = [
      async (response) => {
        begin(response);
        while (!response.destroyed)
          if (!response.write(`data: ${'x'.repeat(50_000)}\n`))
            await Promise.race([once(response, 'drain'), once(response, 'close')]);
      },
    ];
    await expect(bank.events().next()).rejects.toThrow('an event is longer than 1000000 characters');
  });

  it.each<[string, Handler]>([
    ['of a connection', sending([], keepOpen)],
    ['before an answer', keepOpen],
    ['between connections', (response) => response.writeHead(503, { 'retry-after': '20' }).end()],
  ])('end with the reason of their signal, in the middle %s', async (_, handler) => {
    handlers = [handler];
    const controller = new AbortController();
    const reason = new Error('the page was left');
    setTimeout(() => controller.abort(reason), 200);
    const from = performance.now();
    await expect(bank.events({ signal: controller.signal }).next()).rejects.toBe(reason);
    expect(performance.now() - from).toBeLessThan(1_000);
  });
});
