import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { connect } from 'node:net';
import { openAccount, startApp, type TestApp } from '../support/app.js';

/** Answers on misbehaving connections. */
describe('a connection', () => {
  let app: TestApp;
  let accountId: number;

  beforeAll(async () => {
    app = await startApp();
    accountId = await openAccount(app, '10.00');
  });

  afterAll(() => app.close());

  function posting(key: string): string {
    const body = '{"amount":1.00,"type":"Deposit"}';
    return (
      `POST /accounts/${accountId}/transactions HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n` +
      `Idempotency-Key: ${key}\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    );
  }

  /** Everything that comes back until the server closes. */
  function exchange(bytes: string, halfClose: boolean): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: Number(new URL(app.url).port), allowHalfOpen: true });
      let received = '';
      socket.on('data', (data) => (received += data.toString()));
      socket.on('error', reject);
      socket.on('end', () => {
        socket.destroy();
        resolve(received);
      });
      if (halfClose) socket.end(bytes);
      else socket.write(bytes);
    });
  }

  it.each([
    ['garbage', 'GARBAGE\r\n\r\n'],
    ['headers that are too large', `GET / HTTP/1.1\r\nHost: bank\r\nX-Large: ${'x'.repeat(20_000)}\r\n\r\n`],
  ])('answers a posting with its own 201 even if %s follows it', async (_, rest) => {
    const answer = await exchange(posting(`before ${rest.length}`.replace(' ', '-')) + rest, false);
    expect(answer).toMatch(/^HTTP\/1\.1 201 /);
    expect(answer).not.toMatch(/HTTP\/1\.1 4/);
  });

  it('answers a client that has closed its side after its request', async () => {
    const answer = await exchange(posting('half-closed'), true);
    expect(answer).toMatch(/^HTTP\/1\.1 201 /);
    expect(answer).toContain('"type":"Deposit"');
  });
});
