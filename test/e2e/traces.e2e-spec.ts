import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '@scalable-banking/embedded-postgres';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { shardList } from '../support/app.js';
import { Collector, FAILED, SERVER, type CollectedSpan } from '../support/collector.js';
import { bearer } from '../support/credentials.js';
import {
  createEmptyTestDatabase,
  createTestDatabase,
  query,
  type TestDatabase,
} from '../support/postgres.js';
import { Receiver } from '../support/receiver.js';
import { deposit, JSON_TYPE, withdrawal } from '../support/requests.js';
import { startService, stopService, waitUntil, type ServiceProcess } from '../support/service.js';
import { Wallet } from '../support/wallet.js';

const hex = (bytes: number) => randomBytes(bytes).toString('hex');

/** What a caller that is traced sends, and its ids. */
function caller(flags: '00' | '01' = '01') {
  const [traceId, spanId] = [hex(16), hex(8)];
  return { traceId, spanId, headers: { traceparent: `00-${traceId}-${spanId}-${flags}` } };
}

interface Coverage {
  readonly result: readonly { readonly url: string }[];
}

interface Sending {
  readonly method?: string;
  readonly body?: object;
  readonly headers?: Record<string, string>;
}

async function send(service: ServiceProcess, path: string, { method, body, headers }: Sending = {}) {
  const response = await fetch(service.url + path, {
    method: method ?? (body ? 'POST' : 'GET'),
    headers: { ...headers, ...(body && { 'content-type': JSON_TYPE }) },
    body: body && JSON.stringify(body),
  });
  return {
    status: response.status,
    id: response.headers.get('x-request-id') ?? '',
    text: await response.text(),
  };
}

const linesOf = (service: ServiceProcess) =>
  service
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('a bank of two shards whose requests are traced', () => {
  const CONCURRENT = 20;
  let database: TestDatabase;
  let collector: Collector;
  let service: ServiceProcess;
  let key: Record<string, string>;
  /** An account of each shard. */
  let accounts: number[];

  beforeAll(async () => {
    [database, collector] = await Promise.all([createEmptyTestDatabase('traces'), Collector.start()]);
    const shards: ShardAddress[] = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
    await bootstrapShards(shards);
    const wallet = new Wallet(shards);
    key = bearer(await wallet.key({ scopes: ['admin'] }));
    const environment = {
      ...wallet.settings,
      SHARDS: shardList(shards),
      LEDGER_BATCH_WRITERS: '1',
      LOG_REQUESTS: 'all',
      WEBHOOK_PRIVATE_ADDRESSES: 'on',
      WEBHOOK_KEYS: Buffer.alloc(32, 7).toString('base64'),
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-token=s3cret',
      OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
      OTEL_SERVICE_NAME: 'the-bank',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    };
    service = await startService({ environment });
    const near = await Promise.all([1, 2].map(() => open()));
    accounts = [...near].sort((a, b) => (a % 2) - (b % 2)).reverse();
  });

  afterAll(async () => {
    await stopService(service);
    await collector.stop();
    await database.drop();
  });

  async function open(): Promise<number> {
    const { text } = await ask('/accounts', { body: { openingDeposit: '100.00' } });
    return (JSON.parse(text) as { accountId: number }).accountId;
  }

  const ask = (path: string, { headers, ...sending }: Sending = {}) =>
    send(service, path, { ...sending, headers: { ...key, ...headers } });

  const post = (accountId: number | undefined, body: object, headers?: Record<string, string>) =>
    ask(`/accounts/${accountId}/transactions`, { body, headers });

  /** The span of a request, once it is exported. */
  async function spanOf(requestId: string): Promise<CollectedSpan> {
    const find = () =>
      collector.spans.find(({ attributes }) =>
        [attributes['http.response.header.x-request-id']].flat().includes(requestId),
      );
    await waitUntil(() => Promise.resolve(find() !== undefined), 10_000);
    return find() as CollectedSpan;
  }

  const linkedTo = ({ linked }: CollectedSpan) =>
    collector.spans.filter(({ spanId }) => linked.includes(spanId));

  it('has a span for each request, within the trace of the caller', async () => {
    const { traceId, spanId, headers } = caller();
    const { id, status } = await ask('/accounts/1/balance?access_token=s3cret', {
      headers: { ...headers, tracestate: 'vendor=value' },
    });
    expect(status).toBe(400);
    const found = await ask('/accounts/1/balance', { headers });
    const [refused, answered] = [await spanOf(id), await spanOf(found.id)];
    expect(refused).toMatchObject({
      ...{ traceId, parentSpanId: spanId, traceState: 'vendor=value', kind: SERVER },
      name: 'GET /accounts/:accountId/balance',
      resource: { 'service.name': 'the-bank', 'deployment.environment.name': 'test' },
    });
    expect(answered).toMatchObject({ traceId, parentSpanId: spanId, status: {} });
    expect(answered.attributes).toEqual({
      'http.request.method': 'GET',
      'http.route': '/accounts/:accountId/balance',
      'http.response.status_code': 200,
      'http.response.header.x-request-id': [found.id],
      'url.path': '/accounts/1/balance',
    });
    expect(JSON.stringify(collector.spans) + service.output()).not.toContain('s3cret');
    expect(collector.exports[0]).toMatchObject({ path: '/v1/traces', headers: { 'x-token': 's3cret' } });
  });

  it('begins a trace by itself where none is named, or not as W3C Trace Context says', async () => {
    const malformed = [
      undefined,
      `00-${hex(16).toUpperCase()}-${hex(8)}-01`,
      `00-${'0'.repeat(32)}-${hex(8)}-01`,
      `00-${hex(16)}-${'0'.repeat(16)}-01`,
      `ff-${hex(16)}-${hex(8)}-01`,
      `00-${hex(16)}-${hex(8)}-01-more`,
      `00-${hex(15)}-${hex(8)}-01`,
    ];
    const begun = malformed.map(async (traceparent) => {
      const headers = { ...(traceparent !== undefined && { traceparent }), tracestate: 'vendor=value' };
      const { traceId, parentSpanId, traceState } = await spanOf(
        (await ask('/accounts/1/balance', { headers })).id,
      );
      return [traceparent?.includes(traceId) ?? false, parentSpanId, traceState];
    });
    expect(await Promise.all(begun)).toEqual(malformed.map(() => [false, undefined, undefined]));
  });

  it('names what went wrong, and calls an error only what the bank failed at', async () => {
    const { id } = await post(accounts[0], withdrawal('1000.00'));
    const refused = await spanOf(id);
    expect(refused).toMatchObject({
      status: {},
      attributes: { 'http.response.status_code': 422, 'error.type': 'INSUFFICIENT_BALANCE' },
    });
    const missing = await spanOf((await ask('/nothing')).id);
    expect(missing).toMatchObject({ name: 'GET', attributes: { 'url.path': '/nothing' } });
    expect(missing.attributes).not.toHaveProperty('http.route');
  });

  it('links a batch, the root of its own trace, with each request that it served', async () => {
    const answers = await Promise.all(
      Array.from({ length: CONCURRENT }, () => post(accounts[0], deposit('1.00'), caller().headers)),
    );
    const requests = await Promise.all(answers.map(({ id }) => spanOf(id)));
    const batches = new Set<CollectedSpan>();
    for (const request of requests) {
      await waitUntil(() => Promise.resolve(linkedTo(request).length > 0), 10_000);
      const [batch, ...others] = linkedTo(request) as [CollectedSpan];
      expect(others).toEqual([]);
      expect(batch.linked).toContain(request.spanId);
      expect(batch.traceId).not.toBe(request.traceId);
      batches.add(collector.spans.find(({ spanId }) => spanId === batch.spanId) ?? batch);
    }
    const spans = new Map([...batches].map((batch) => [batch.spanId, batch]));
    // One request may be alone in the first batch; the others wait for it together.
    expect(spans.size).toBeLessThan(CONCURRENT / 2);
    let served = 0;
    for (const { name, parentSpanId, attributes, linked } of spans.values()) {
      expect([name, parentSpanId, attributes['bank.shard']]).toEqual(['ledger batch', undefined, 0]);
      expect(attributes['bank.batch.commands']).toBe(linked.length);
      expect(attributes['bank.batch.transactions']).toBe(linked.length);
      served += linked.length;
    }
    expect(served).toBe(CONCURRENT);
  });

  it('links every step of a transfer between shards, and an atomic batch once', async () => {
    const [from, to] = accounts;
    const { id } = await ask('/transfers', { body: { from, to, amount: '5.00' } });
    const transfer = await spanOf(id);
    await waitUntil(() => Promise.resolve(linkedTo(transfer).length === 3), 10_000);
    expect(linkedTo(transfer).map(({ attributes }) => attributes['bank.shard'])).toEqual([0, 1, 0]);

    const items = [1, 2, 3].map(() => ({ accountId: from, ...deposit('1.00') }));
    const atomic = await ask('/transactions/batch?atomic=true', { body: items });
    expect(atomic.status).toBe(200);
    const batch = await spanOf(atomic.id);
    await waitUntil(() => Promise.resolve(linkedTo(batch).length > 0), 10_000);
    expect(linkedTo(batch).map(({ attributes, linked }) => [attributes, linked])).toEqual([
      [{ 'bank.shard': 0, 'bank.batch.commands': 3, 'bank.batch.transactions': 3 }, [batch.spanId]],
    ]);
    const each = await spanOf((await ask('/transactions/batch', { body: items })).id);
    await waitUntil(() => Promise.resolve(linkedTo(each).length > 0), 10_000);
  });

  it('tells in events, and to webhooks, which batch they are from', async () => {
    const receiver = await Receiver.start();
    const { text } = await ask('/webhooks', {
      body: { url: receiver.url, eventTypes: ['transaction.posted'] },
    });
    ({ secret: receiver.secret } = JSON.parse(text) as { secret: string });
    const { id } = await post(accounts[0], deposit('1.00'));
    const request = await spanOf(id);
    await waitUntil(() => Promise.resolve(linkedTo(request).length > 0), 10_000);
    await waitUntil(() => Promise.resolve(receiver.deliveries.length > 0), 15_000);
    const [batch] = linkedTo(request) as [CollectedSpan];
    const traceparent = `00-${batch.traceId}-${batch.spanId}-01`;
    expect(receiver.deliveries).toMatchObject([{ event: { traceparent }, headers: { traceparent } }]);
    expect(receiver.forged).toEqual([]);
    await receiver.stop();
  });

  it('logs with each request its trace, its principal and its accounts', async () => {
    const [from, to] = accounts;
    const { headers, traceId } = caller();
    const { id: requestId } = await ask('/transfers', { body: { from, to, amount: '1.00' }, headers });
    const legs = [
      { accountId: from, ...withdrawal('1.00') },
      { accountId: to, ...deposit('1.00') },
    ];
    const ofLegs = await ask('/transfers', { body: { legs } });
    const posted = await post(to, deposit('1.00'));
    const stranger = await send(service, `/accounts/${from}/balance`);
    const odd = await ask('/accounts/x%20y/balance');
    const lineOf = async (id: string) => {
      await waitUntil(
        () => Promise.resolve(linesOf(service).some((line) => line['requestId'] === id)),
        5_000,
      );
      return linesOf(service).find((line) => line['requestId'] === id);
    };
    expect(await lineOf(requestId)).toMatchObject({ traceId, principal: 'key:1', account: [from, to] });
    expect(await lineOf(ofLegs.id)).toMatchObject({ principal: 'key:1', account: [from, to] });
    expect(await lineOf(posted.id)).toMatchObject({ principal: 'key:1', account: to });
    const unknown = await lineOf(stranger.id);
    expect(unknown).toMatchObject({ status: 401, account: from });
    expect(unknown).not.toHaveProperty('principal');
    expect(await lineOf(odd.id)).not.toHaveProperty('account');
  });

  it('says of a batch that failed why', async () => {
    await query(database.url, 'ALTER TABLE bank_1.transactions RENAME TO hidden');
    const { id, status } = await post(accounts[1], deposit('1.00'));
    await query(database.url, 'ALTER TABLE bank_1.hidden RENAME TO transactions');
    expect(status).toBe(500);
    const request = await spanOf(id);
    expect(request.status.code).toBe(FAILED);
    await waitUntil(() => Promise.resolve(linkedTo(request).length > 0), 10_000);
    expect(linkedTo(request)).toMatchObject([
      { status: { code: FAILED }, attributes: { 'bank.shard': 1, 'error.type': 'statement' } },
    ]);
  });
});

describe('a service', () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createTestDatabase('traces');
  });

  afterAll(() => database.drop());

  const start = (environment: Record<string, string>) =>
    startService({ environment: { DATABASE_URL: database.url, AUTH: 'off', ...environment } });

  /** It goes to the worker whose turn it is. */
  async function getOverItsOwnConnection(
    service: ServiceProcess,
    path: string,
    headers: Record<string, string>,
  ): Promise<void> {
    const asked = get(service.url + path, { headers, agent: false });
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    await once(answer.resume(), 'end');
  }

  /** Makes the spans of one export: no more are waited for. */
  async function fillAnExport(service: ServiceProcess): Promise<void> {
    for (let sent = 0; sent < 520; sent += 40)
      await Promise.all(Array.from({ length: 40 }, () => send(service, '/health/live')));
  }

  const said = (service: ServiceProcess, text: string) =>
    linesOf(service).filter(({ msg }) => String(msg).includes(text));

  it('with two workers records what its callers do and nothing else, if it is told so, as protobuf by default', async () => {
    const collector = await Collector.start();
    const service = await start({
      WORKERS: '2',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_TRACES_SAMPLER: 'parentbased_always_off',
    });
    // The first worker is ready before the second.
    await waitUntil(() => Promise.resolve(said(service, 'Try:').length > 0), 30_000);
    const recorded = Array.from({ length: 8 }, () => caller());
    const others = [caller('00'), caller('00')];
    try {
      await Promise.all(
        [...recorded, ...others].map(({ headers }) =>
          getOverItsOwnConnection(service, '/accounts/1/balance', headers),
        ),
      );
      expect((await send(service, '/health/live')).status).toBe(200);
    } finally {
      await stopService(service);
      await collector.stop();
    }
    expect(service.output()).not.toContain('OpenTelemetry');
    const bodies = collector.exports.map(({ body }) => body);
    expect(collector.exports.map(({ headers }) => headers['content-type'])).toEqual(
      bodies.map(() => 'application/x-protobuf'),
    );
    // Each worker has taken four of them.
    expect(bodies.length).toBeGreaterThanOrEqual(2);
    const sent = Buffer.concat(bodies);
    for (const { traceId } of recorded) expect(sent.includes(Buffer.from(traceId, 'hex'))).toBe(true);
    for (const { traceId } of others) expect(sent.includes(Buffer.from(traceId, 'hex'))).toBe(false);
    expect(sent.toString('latin1').split('GET /accounts/:accountId/balance').length - 1).toBe(
      recorded.length,
    );
  });

  it('says once that nothing takes its traces, and once that something does again', async () => {
    const port = await freePort();
    const service = await start({
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_EXPORTER_OTLP_TIMEOUT: '300',
    });
    let collector: Collector | undefined;
    try {
      await fillAnExport(service);
      await waitUntil(() => Promise.resolve(said(service, "traces can't be exported").length > 0), 10_000);
      await fillAnExport(service);
      await fillAnExport(service);
      collector = await Collector.start({ port });
      await fillAnExport(service);
      await waitUntil(() => Promise.resolve(said(service, 'traces are exported again').length > 0), 10_000);
      expect(said(service, 'traces ')).toHaveLength(2);
      expect(said(service, "traces can't")[0]).toMatchObject({
        err: { message: `connect ECONNREFUSED 127.0.0.1:${port}` },
      });
    } finally {
      await stopService(service);
      await collector?.stop();
    }
  });

  it('answers and stops as usual while a collector hangs', async () => {
    const collector = await Collector.start({ hangs: true });
    const service = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
    await fillAnExport(service);
    await waitUntil(() => Promise.resolve(collector.exports.length > 0), 10_000);
    const opened = await send(service, '/accounts', { body: { openingDeposit: '1.00' } });
    expect(opened.status).toBe(201);
    const beganMs = performance.now();
    service.child.kill('SIGTERM');
    expect(await service.exited).toBe(0);
    expect(performance.now() - beganMs).toBeLessThan(5_000);
    await collector.stop();
  });

  it.each([
    ['not traced', {}, false],
    ['traced', { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }, true],
  ])('that is %s loads OpenTelemetry: %s %p', async (_, environment, loaded) => {
    const folder = mkdtempSync(join(tmpdir(), 'loaded-'));
    try {
      const service = await start({ ...environment, NODE_V8_COVERAGE: folder });
      expect((await send(service, '/health/live')).status).toBe(200);
      await stopService(service);
      // What V8 covers is each script that the process has loaded. Of OpenTelemetry prom-client loads the interface.
      const covered = readdirSync(folder).flatMap((name) => {
        const { result } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Coverage;
        return result.map(({ url }) => url);
      });
      expect(covered).toContain(pathToFileURL('dist/src/main.js').href);
      expect(covered.some((url) => /@opentelemetry\/(?!api\/)|open-telemetry\.js/.test(url))).toBe(loaded);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
