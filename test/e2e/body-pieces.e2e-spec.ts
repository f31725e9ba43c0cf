import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { RawClient } from '../support/raw-client.js';
import { NDJSON_TYPE } from './batches.js';
import { deposit, JSON_TYPE, sendRaw } from '../support/requests.js';

/** A body in chunks of this many bytes each. */
function inChunks(text: string, size: number): Buffer {
  const bytes = Buffer.from(text);
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const chunk = bytes.subarray(at, at + size);
    parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

/** Sends requests with the same body on one connection, one after the other, and returns their statuses. */
async function sendTimes(times: number, url: string, head: string, body: Buffer): Promise<number[]> {
  const client = await RawClient.open(url);
  for (let sent = 1; sent <= times; sent++) {
    const close = sent === times ? 'Connection: close\r\n' : '';
    client.send(`${head}${close}Transfer-Encoding: chunked\r\n\r\n`);
    client.socket.write(body);
    if (sent === times) await client.closed;
    else while (client.statuses.length < sent) await once(client.socket, 'data');
  }
  return client.statuses;
}

async function processorMs(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

/** Processor time that the service may take for a chunk, in multiples of what Node and this client take. */
const TIMES_NODE = 3;

describe('a body in chunks of one byte', () => {
  let app: TestApp;
  let accountId: number;
  const bare = createServer((request, response) => {
    request.on('data', () => undefined).on('end', () => response.end('ok'));
  });

  beforeAll(async () => {
    app = await startApp();
    accountId = await openAccount(app);
    await once(bare.listen(0, '127.0.0.1'), 'listening');
  });

  afterAll(async () => {
    bare.close();
    await app.close();
  });

  const item = (bytes: number) => JSON.stringify({ accountId, ...deposit('1'), note: 'ü'.repeat(bytes / 2) });
  const kinds = {
    'of a posting': {
      path: () => `/accounts/${accountId}/transactions`,
      type: JSON_TYPE,
      body: () => JSON.stringify({ ...deposit('1'), note: 'ü'.repeat(8_000) }),
      times: 2,
      status: 400,
    },
    'of a JSON batch': {
      path: () => '/transactions/batch',
      type: JSON_TYPE,
      body: () => `[${Array.from({ length: 4 }, () => item(16_000)).join()}]`,
      times: 1,
      status: 200,
    },
    'of a batch on lines': {
      path: () => '/transactions/batch',
      type: NDJSON_TYPE,
      body: () => Array.from({ length: 4 }, () => item(16_000)).join('\n'),
      times: 1,
      status: 200,
    },
  };

  it.each(Object.entries(kinds))('%s costs at most a few times what Node alone takes', async (_, kind) => {
    const head = `POST ${kind.path()} HTTP/1.1\r\nHost: bank\r\n` + `Content-Type: ${kind.type}\r\n`;
    const bareUrl = `http://127.0.0.1:${(bare.address() as AddressInfo).port}`;
    const [small, whole] = [inChunks(kind.body(), 1), inChunks(kind.body(), 1_000_000)];
    const send = (url: string, body: Buffer) => sendTimes(kind.times, url, head, body);
    expect(await send(app.url, small)).toEqual(new Array(kind.times).fill(kind.status));
    await send(bareUrl, small);
    let ratio = Infinity;
    // Retried if it was too slow: something else may have run in this process.
    for (let round = 0; round < 2 && ratio >= TIMES_NODE; round++) {
      const ofNode = await processorMs(() => send(bareUrl, small));
      const ofWhole = await processorMs(() => send(app.url, whole));
      const ofSmall = await processorMs(() => send(app.url, small));
      ratio = (ofSmall - ofWhole) / ofNode;
    }
    expect(ratio).toBeLessThan(TIMES_NODE);
  });

  it('does not make others wait', async () => {
    const body = inChunks(Array.from({ length: 6 }, () => item(16_000)).join('\n'), 1);
    const head = `POST /transactions/batch HTTP/1.1\r\nHost: bank\r\nContent-Type: ${NDJSON_TYPE}\r\n`;
    let answered = false;
    const slow = sendTimes(1, app.url, head, body).finally(() => (answered = true));
    let others = 0;
    for (; !answered; others++) await fetch(`${app.url}/health/live`);
    expect(await slow).toEqual([200]);
    expect(others).toBeGreaterThanOrEqual(3);
  });
});

describe('a request without a body or any length of one', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  it.each([
    ['/accounts', JSON_TYPE, 'is not valid JSON'],
    ['/accounts', undefined, 'must be a JSON object'],
    [
      '/transactions/batch',
      JSON_TYPE,
      'must be a JSON array of transactions, or a JSON object that holds one',
    ],
    ['/transactions/batch', NDJSON_TYPE, 'must hold at least one transaction'],
  ])('POST %s as %s is answered at once', async (path, type, message) => {
    const contentType = type === undefined ? '' : `Content-Type: ${type}\r\n`;
    const { status, text } = await sendRaw(
      app,
      `POST ${path} HTTP/1.1\r\nHost: bank\r\n${contentType}Connection: close\r\n\r\n`,
    );
    expect({ status, text }).toEqual({
      status: 400,
      text: JSON.stringify({ error: 'Invalid request', details: [{ field: 'body', message }] }),
    });
  });
});
