import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { text } from 'node:stream/consumers';
import { startApp, type TestApp } from '../../../test/support/app.js';
import { waitUntil } from '../../../test/support/service.js';
import { BankClient, webhooks, NotFoundError, type BankEvent, type LiveEvent } from '../src/index.js';

let app: TestApp;
let bank: BankClient;

beforeAll(async () => {
  app = await startApp({
    WEBHOOK_PRIVATE_ADDRESSES: 'on',
    WEBHOOK_KEYS: Buffer.alloc(32, 7).toString('base64'),
  });
  bank = new BankClient({ baseUrl: app.url });
});

afterAll(() => app.close());

describe('live events of the service', () => {
  it('go on where they were, and come as they happen', async () => {
    const { accountId } = await bank.accounts.open({ openingDeposit: '10.00' });
    for (let n = 0; n < 3; n++) await bank.transactions.deposit(accountId, '1.00');
    const ending = new AbortController();
    const seen: LiveEvent[] = [];
    const reading = (async () => {
      for await (const event of bank.accounts.events(accountId, {
        lastEventId: '2',
        signal: ending.signal,
      })) {
        seen.push(event);
        if (seen.length === 4) ending.abort(new Error('enough'));
      }
    })();
    await waitUntil(() => Promise.resolve(seen.length === 3), 10_000);
    await bank.transactions.withdraw(accountId, '2.00');
    await expect(reading).rejects.toThrow('enough');
    expect(seen.map(({ id }) => id)).toEqual(['3', '4', '5', '6']);
    expect(seen.at(-1)?.data).toMatchObject({ data: { type: 'Withdraw', amount: '2.00', balance: '11.00' } });
  });
});

describe('webhooks of the service', () => {
  const received: BankEvent[] = [];
  let secret = '';
  let receiver: Server;
  let url: string;

  beforeAll(async () => {
    receiver = createServer((request, response) => {
      void text(request)
        .then((body) => webhooks.verify(body, request.headers, secret))
        .then((event) => {
          received.push(event);
          response.writeHead(204).end();
        })
        .catch(() => response.writeHead(400).end());
    }).listen(0, '127.0.0.1');
    await once(receiver, 'listening');
    url = `http://127.0.0.1:${(receiver.address() as { port: number }).port}/`;
  });

  afterAll(() => {
    receiver.closeAllConnections();
    receiver.close();
  });

  it('are made, verified, looked into, changed and deleted', async () => {
    const made = await bank.webhooks.create({ url, eventTypes: ['transaction.posted'], description: 'mine' });
    ({ secret } = made);
    const { accountId } = await bank.accounts.open({ openingDeposit: '10.00' });
    await waitUntil(() => Promise.resolve(received.length === 1), 15_000);
    expect(received).toMatchObject([{ type: 'transaction.posted.v1', data: { accountId, version: 2 } }]);
    const [event] = received;
    const listed = () => bank.webhooks.deliveries(made.id, { status: 'accepted' });
    await waitUntil(async () => (await listed()).data.length === 1, 5_000);
    const { request } = await bank.webhooks.delivery(made.id, event?.id ?? '');
    expect(JSON.parse(request?.body ?? '')).toEqual(event);
    await bank.webhooks.redeliver(made.id, { eventId: event?.id ?? '' });
    await waitUntil(() => Promise.resolve(received.length === 2), 15_000);
    expect(received[1]).toEqual(event);

    expect((await bank.webhooks.rotateSecret(made.id)).secret).not.toBe(secret);
    expect(await bank.webhooks.update(made.id, { status: 'disabled' })).toMatchObject({ status: 'disabled' });
    const ids: string[] = [];
    for await (const { id } of bank.webhooks.list()) ids.push(id);
    expect(ids).toEqual([made.id]);
    await bank.webhooks.delete(made.id);
    await expect(bank.webhooks.get(made.id)).rejects.toBeInstanceOf(NotFoundError);
  });
});
