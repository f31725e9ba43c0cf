import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { BankMessage } from '../../src/messaging/bank-event.js';
import { WebhookSender } from '../../src/messaging/webhooks/webhook-sender.js';

const SECRETS = [`whsec_${Buffer.alloc(32, 1).toString('base64')}`];
const MESSAGE: BankMessage = {
  ...{ id: 'txn1', type: 'transaction.posted.v1', accountId: 1, timestamp: new Date() },
  body: '{}',
};

/** A DNS server that gives each name the address that it is told to; an IPv4 one, or none. */
class NameServer {
  readonly asked: string[] = [];
  readonly addresses = new Map<string, string>();
  /** It does not answer at all. */
  silent = false;
  private readonly socket: Socket = createSocket('udp4');

  static async start(): Promise<NameServer> {
    const server = new NameServer();
    server.socket.bind(0, '127.0.0.1');
    await once(server.socket, 'listening');
    server.socket.on('message', (query, { port, address }) => {
      const answer = server.answerTo(query);
      if (!server.silent) server.socket.send(answer, port, address);
    });
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.socket.address().port}`;
  }

  async stop(): Promise<void> {
    this.socket.close();
    await once(this.socket, 'close');
  }

  /** RFC 1035, 4.1: the header, the question as it was asked, and one A record that refers to its name. */
  private answerTo(query: Buffer): Buffer {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('ascii', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const isA = query.readUInt16BE(at + 1) === 1;
    const name = labels.join('.');
    this.asked.push(name);
    const address = isA ? this.addresses.get(name) : undefined;
    const question = query.subarray(12, at + 5);
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8180, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(address ? 1 : 0, 6);
    if (!address) return Buffer.concat([header, question]);
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...address.split('.').map(Number)]);
    return Buffer.concat([header, question, record]);
  }
}

let names: NameServer;
let inside: Server;
let port: number;
let reached: string[];
let answer: (path: string) => { readonly body: string; readonly hangs?: boolean };
const senders: WebhookSender[] = [];

beforeAll(async () => {
  names = await NameServer.start();
  inside = createServer((request, response) => {
    reached.push(request.url ?? '');
    const { body, hangs } = answer(request.url ?? '');
    response.write(body);
    if (!hangs) response.end();
  }).listen(0, '127.0.0.1');
  await once(inside, 'listening');
  ({ port } = inside.address() as { port: number });
});

afterAll(async () => {
  await names.stop();
  inside.closeAllConnections();
  inside.close();
});

afterEach(async () => {
  await Promise.all(senders.splice(0).map((sender) => sender.close()));
  names.silent = false;
});

function senderOf(privateAddresses: boolean, timeoutMs = 5_000): WebhookSender {
  reached = [];
  answer = () => ({ body: 'ok' });
  const sender = new WebhookSender({ privateAddresses, timeoutMs, dnsServers: [names.address] });
  senders.push(sender);
  return sender;
}

describe('where private addresses are not allowed', () => {
  it.each([
    ...['127.0.0.1', '127.1', '0x7f.1', '2130706433', '0.0.0.0', '10.0.0.7', '172.16.0.1', '192.168.1.1'],
    ...['169.254.169.254', '100.64.0.1', '224.0.0.1', '255.255.255.255', '198.18.0.1', '[::1]', '[::]'],
    ...['[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[fe80::1]', '[fc00::1]', '[fd12::1]', '[64:ff9b::7f00:1]'],
    ...['[2002:7f00:1::]', '[ff02::1]', '[2001:db8::1]'],
  ])('nothing is sent to %s', async (host) => {
    const sent = await senderOf(false).send(`http://${host}:${port}/`, SECRETS, MESSAGE);
    expect(sent).toEqual({ status: undefined, text: 'the address is not public', retryAfterMs: 0 });
    expect(reached).toEqual([]);
  });

  it.each(['127.0.0.1', '10.1.2.3', '169.254.169.254', '0.0.0.0'])(
    'nothing is sent to a name that leads to %s',
    async (address) => {
      names.addresses.set('receiver.example.com', address);
      const sent = await senderOf(false).send(`http://receiver.example.com:${port}/`, SECRETS, MESSAGE);
      expect(sent).toMatchObject({ status: undefined, text: 'the address is not public' });
      expect(names.asked).toContain('receiver.example.com');
      expect(reached).toEqual([]);
    },
  );

  it.each(['localhost', 'unknown.example.com'])(
    'nothing is sent to %s, which has no public address',
    async (host) => {
      const sent = await senderOf(false).send(`http://${host}:${port}/`, SECRETS, MESSAGE);
      expect(sent).toMatchObject({ status: undefined });
      expect(reached).toEqual([]);
    },
  );

  it('a name server that does not answer costs no more than the time of a request, and no thread', async () => {
    names.silent = true;
    const sender = senderOf(false, 1_000);
    const startedMs = performance.now();
    const sent = await Promise.all(
      Array.from({ length: 20 }, (_, n) => sender.send(`http://silent-${n}.example.com/`, SECRETS, MESSAGE)),
    );
    expect(performance.now() - startedMs).toBeLessThan(4_000);
    expect(sent.every(({ status }) => status === undefined)).toBe(true);
  });
});

describe('an answer', () => {
  it('is read only as far as it is kept', async () => {
    const sender = senderOf(true);
    answer = () => ({ body: 'x'.repeat(1_000_000) });
    const sent = await sender.send(`http://127.0.0.1:${port}/long`, SECRETS, MESSAGE);
    expect(sent).toEqual({ status: 200, text: 'x'.repeat(300), retryAfterMs: 0 });
  });

  it('that does not end, or does not come, is waited for no longer than it may take', async () => {
    const sender = senderOf(true, 500);
    answer = (path) => ({ body: path === '/never' ? '' : 'begun', hangs: true });
    const startedMs = performance.now();
    const sent = await Promise.all(
      ['never', 'begun'].map((path) => sender.send(`http://127.0.0.1:${port}/${path}`, SECRETS, MESSAGE)),
    );
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    expect(sent.map(({ text }) => text)).toEqual(['no answer within 0.5 s', 'no answer within 0.5 s']);
  });
});
