import { expect } from '@jest/globals';
import type { TestApp } from '../support/app.js';
import type { Answer } from '../../tools/fuzz/contract.js';
import { RawClient } from '../support/raw-client.js';
import { eventually, JSON_TYPE } from '../support/requests.js';

export const NDJSON_TYPE = 'application/x-ndjson';

/** Enough on a busy machine. */
export const PATIENCE_MS = 15_000;

export interface Result {
  readonly status: number;
  readonly body: { readonly newVersion?: string; readonly error?: string; readonly transactionId?: string };
}

/** Posts a batch; a text is sent unchanged, and so are bytes. */
export async function postBatch(
  app: TestApp,
  items: string | Buffer<ArrayBuffer> | readonly object[],
  {
    query = '',
    type = JSON_TYPE,
    headers = {},
  }: { query?: string; type?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const response = await fetch(`${app.url}/transactions/batch${query}`, {
    method: 'POST',
    headers: { 'content-type': type, ...headers },
    body: typeof items === 'string' || items instanceof Buffer ? items : JSON.stringify(items),
  });
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    text: await response.text(),
  };
}

export const resultsIn = ({ text }: Answer) => JSON.parse(text) as Result[];
export const linesIn = ({ text }: Answer) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Result);
export const statusesIn = (answer: Answer) => resultsIn(answer).map(({ status }) => status);
export const errorsIn = (answer: Answer) => resultsIn(answer).map(({ body }) => body.error);
/** An item of a batch. */
export const of = (accountId: number, posting: object, idempotencyKey?: string) => ({
  accountId,
  ...posting,
  ...(idempotencyKey !== undefined && { idempotencyKey }),
});

/** A batch in lines, sent bit by bit. */
export class LineClient {
  private constructor(readonly raw: RawClient) {}

  static async open(
    url: string,
    query = '',
    reads = true,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<LineClient> {
    const raw = await RawClient.open(url, reads);
    const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    raw.send(
      `POST /transactions/batch${query} HTTP/1.1\r\nHost: bank\r\nContent-Type: ${NDJSON_TYPE}\r\n` +
        `${fields.join('')}Transfer-Encoding: chunked\r\n\r\n`,
    );
    const client = new LineClient(raw);
    lineClients.push(client);
    return client;
  }

  send(...items: (object | string)[]): void {
    const text = items.map((item) => `${typeof item === 'string' ? item : JSON.stringify(item)}\n`).join('');
    this.raw.send(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
  }

  end(): void {
    this.raw.send('0\r\n\r\n');
  }

  get hasHead(): boolean {
    return this.raw.received.startsWith('HTTP/1.1 200 OK\r\n');
  }

  get statuses(): number[] {
    return [...this.raw.received.matchAll(/"status":(\d{3})/g)].map(([, status]) => Number(status));
  }

  /** Waits for this many results. */
  async results(count: number): Promise<number[]> {
    await eventually(() => {
      expect(this.statuses.length).toBeGreaterThanOrEqual(count);
      return Promise.resolve();
    }, PATIENCE_MS);
    return this.statuses;
  }
}

const lineClients: LineClient[] = [];

export function closeLineClients(): void {
  for (const { raw } of lineClients.splice(0)) raw.destroy();
}
