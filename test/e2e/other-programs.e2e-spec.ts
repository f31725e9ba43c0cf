import { execFile, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { connect } from 'amqplib';
import { load } from 'js-yaml';
import { getHeadingList, gfmHeadingId } from 'marked-gfm-heading-id';
import { Marked } from 'marked';
import { Client } from 'pg';
import { createKey } from '../../src/admin/keys.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { startPrometheus, type PrometheusServer } from '../../tools/stack/servers/prometheus.js';
import { startRabbitMq } from '../../tools/stack/servers/rabbitmq.js';
import { startRedis } from '../../tools/stack/servers/redis.js';
import { Parts } from '../../tools/stack/stack.js';
import { shardList } from '../support/app.js';
import { fillTwoShards, TwoShards } from '../support/between-shards.js';
import { bearer } from '../support/credentials.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';
import { runCollection, type Sent } from '../support/bruno.js';
import { PromQl } from '../support/promql.js';
import { deposit, eventually, JSON_TYPE, withdrawal } from '../support/requests.js';
import { startService, stopService, waitUntil, type ServiceProcess } from '../support/service.js';

/** @throws Error with what it finds wrong */
const promtool = (...args: string[]) => promisify(execFile)('/usr/bin/promtool', args);
const FOLDER = 'docker/prometheus';
const SHARDS = [0, 1];

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: Readonly<Record<string, string>>;
}
interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

const read = (file: string) => readFileSync(file, 'utf8');
const alerts = (load(read(`${FOLDER}/alerts.yml`)) as { groups: { rules: Alert[] }[] }).groups.flatMap(
  ({ rules }) => rules,
);
const dashboard = JSON.parse(read('docker/grafana/dashboard.json')) as {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
};

/** A query, and the labels that its reader shows beside the values. */
interface Query {
  readonly where: string;
  readonly promQl: PromQl;
  readonly shown: readonly string[];
}

/** As Grafana puts its variables in, when all instances and shards are chosen. */
const withVariables = (expr: string) =>
  expr.replaceAll('$__rate_interval', '1m').replaceAll(/\$(instance|shard)\b/g, '.*');
const labelsIn = (text: string, pattern: RegExp) =>
  [...text.matchAll(pattern)].map(([, label = '']) => label);

const queries: Query[] = [
  ...alerts.map(({ alert, expr, annotations }) => ({
    where: alert,
    promQl: new PromQl(expr).compared,
    shown: labelsIn(Object.values(annotations).join(), /\$labels\.(\w+)/g),
  })),
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat }) => ({
      where: title,
      promQl: new PromQl(withVariables(expr)),
      shown: labelsIn(legendFormat, /\{\{(\w+)\}\}/g),
    })),
  ),
];

let database: TestDatabase;
let service: ServiceProcess;
let key: string;
let prometheus: PrometheusServer;
let sent: readonly Sent[];
const parts = new Parts();

beforeAll(async () => {
  database = await createEmptyTestDatabase('other-programs');
  const shards: ShardAddress[] = SHARDS.map((index) => ({ url: database.url, schema: `bank_${index}` }));
  const [redis, broker] = await Promise.all([
    parts.add(startRedis()),
    parts.add(startRabbitMq()),
    bootstrapShards(shards).then(() => leavePendingTransfers(shards)),
  ]);
  ({ key } = await createKey(shards, { name: 'others', scopes: ['admin'] }));
  service = await startService({
    environment: {
      SHARDS: shardList(shards),
      REDIS_URL: redis.url,
      RABBITMQ_URL: broker.url,
      RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1000',
      WEBHOOK_KEYS: Buffer.alloc(32, 7).toString('base64'),
      WEBHOOK_PRIVATE_ADDRESSES: 'on',
      LEDGER_COMMAND_TIMEOUT_MS: '2000',
    },
  });
  prometheus = await parts.add(startPrometheus(prometheusFiles()));
  await bindQueue(broker.url);
  const summary = () => fetch(`${service.url}/ledger/summary`, { headers: bearer(key) });
  await waitUntil(async () => (await summary()).ok, 20_000);
  sent = await runCollection('docs/collection', { baseUrl: service.url, apiKey: key }, 'delivery');
  await useEverything();
}, 120_000);

afterAll(async () => {
  if (service) await stopService(service);
  await parts.stop();
  await database.drop();
}, 60_000);

/** Between accounts 1 and 2, with 1,000.00 each. */
async function leavePendingTransfers(shards: readonly ShardAddress[]): Promise<void> {
  const bank = await TwoShards.open(shards);
  await fillTwoShards(bank);
  await bank.close();
}

/** As in docker/compose.yml, but for a service elsewhere, which asks for a key, and for people in a hurry. */
function prometheusFiles(): Record<string, string> {
  const { scrape_configs: jobs, ...settings } = load(read(`${FOLDER}/prometheus.yml`)) as {
    scrape_configs: object[];
  };
  const job = {
    ...jobs[0],
    static_configs: [{ targets: [new URL(service.url).host] }],
    authorization: { credentials: key },
  };
  const global = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' };
  return {
    'prometheus.yml': JSON.stringify({ ...settings, scrape_configs: [job], global }),
    'alerts.yml': read(`${FOLDER}/alerts.yml`),
  };
}

async function bindQueue(url: string): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  await channel.assertExchange('bank', 'topic', { durable: true });
  await channel.assertQueue('events');
  await channel.bindQueue('events', 'bank', '#');
  await connection.close();
}

async function post(
  path: string,
  body: object,
  headers: Record<string, string> = bearer(key),
): Promise<number> {
  const response = await fetch(`${service.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': JSON_TYPE, ...headers },
    body: JSON.stringify(body),
  });
  return response.status;
}

/** What has a metric of its own and is in no collection. Accounts 1 and 2 are in different shards. */
async function useEverything(): Promise<void> {
  const postings = (accountId: number) => `/accounts/${accountId}/transactions`;
  for (const accountId of [1, 2]) {
    const later = { ...bearer(key), prefer: 'respond-async', 'idempotency-key': `later-${accountId}` };
    expect(await post(postings(accountId), deposit('1.00'), later)).toBe(202);
    expect(await post(postings(accountId), withdrawal('9999.00'))).toBe(422);
    expect(await post(`/accounts/${accountId}/holds`, { amount: '1.00', expiresInSeconds: 1 })).toBe(201);
  }
  expect(await post(postings(1), deposit('1.00'), bearer('wrong'))).toBe(401);
  expect(await post('/webhooks', { url: 'http://127.0.0.1:9/', eventTypes: ['*'] })).toBe(201);
  await waitUntil(async () => {
    const metrics = await fetch(`${service.url}/metrics`, { headers: bearer(key) });
    return (await metrics.text()).includes('bank_webhook_lag_seconds{');
  }, 20_000);
  const client = new Client({ connectionString: database.url });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query('SELECT FROM bank_0.accounts WHERE account_id = 1 FOR UPDATE');
    expect(await post(postings(1), deposit('1.00'))).toBe(503);
  } finally {
    await client.end();
  }
}

/** What a query expects of the metrics that they do not have. */
async function problemsOf({ where, promQl, shown }: Query): Promise<string[]> {
  const problems = async (labels: readonly string[], text: string) => {
    const series = await prometheus.query(text);
    if (series.length === 0) return [`${where}: nothing is ${text}`];
    const present = new Set(series.flatMap(({ metric }) => Object.keys(metric)));
    return labels.filter((label) => !present.has(label)).map((label) => `${where}: no ${label} in ${text}`);
  };
  const found = await Promise.all([
    ...promQl.selectors.map(({ labels, text }) => problems(labels, text)),
    ...promQl.groupings.flatMap(({ labels, selectors }) =>
      selectors.map(({ text }) => problems(labels, text)),
    ),
    problems(shown, promQl.text),
  ]);
  return [...new Set(found.flat())];
}

describe('docs/collection', () => {
  it('can be run from its first request to the last', () => {
    expect(sent.map(({ file, actual }) => [file, ...actual])).toEqual(
      sent.map(({ file, expected }) => [file, ...expected]),
    );
    expect(sent.filter(({ expected }) => expected.length === 0)).toEqual([]);
    expect(sent.length).toBeGreaterThan(20);
  });
});

describe('docker/prometheus/alerts.yml', () => {
  it('has rules that promtool accepts, and that alert when they should', async () => {
    await promtool('check', 'rules', `${FOLDER}/alerts.yml`);
    await promtool('test', 'rules', `${FOLDER}/alerts.test.yml`);
  });

  it('has a test of each alert, in which it fires', () => {
    const { tests } = load(read(`${FOLDER}/alerts.test.yml`)) as {
      tests: { promql_expr_test: { exp_samples?: { labels: string }[] }[] }[];
    };
    const expected = tests.flatMap((test) =>
      test.promql_expr_test.flatMap(({ exp_samples = [] }) => exp_samples.map(({ labels }) => labels)),
    );
    expect(expected).toEqual(alerts.map(({ alert }) => `{alertname="${alert}"}`));
  });

  it.each(alerts)('$alert says what is wrong and where to read on', ({ annotations }) => {
    expect(Object.keys(annotations)).toEqual(['summary', 'description', 'runbook']);
    const [file = '', heading] = (annotations['runbook'] ?? '').split('#');
    expect(existsSync(file)).toBe(true);
    new Marked(gfmHeadingId()).parse(read(file), { async: false });
    if (heading !== undefined) expect(getHeadingList().map(({ id }) => id)).toContain(heading);
  });

  it('has rules that Prometheus evaluates without an error', async () => {
    await waitUntil(
      async () => (await prometheus.rules()).every(({ health }) => health !== 'unknown'),
      20_000,
    );
    const rules = await prometheus.rules();
    expect(rules.map(({ name }) => name).sort()).toEqual(alerts.map(({ alert }) => alert).sort());
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
  });
});

describe('a running service', () => {
  it('has metrics that promtool accepts', async () => {
    const text = await (await fetch(`${service.url}/metrics`, { headers: bearer(key) })).text();
    const { stderr } = spawnSync('/usr/bin/promtool', ['check', 'metrics'], {
      input: text,
      encoding: 'utf8',
    });
    // Those of nodejs_… are named by prom-client. A summary of the ledger is not one in the sense of Prometheus.
    const remarks = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('nodejs_'));
    expect(remarks).toEqual(
      ['bank_summary_failures_total', 'bank_summary_timestamp_seconds'].map(
        (name) => `${name} metric name should not include type 'summary'`,
      ),
    );
  });

  it('has what each alert and each panel asks for', async () => {
    await eventually(async () => {
      expect((await Promise.all(queries.map(problemsOf))).flat()).toEqual([]);
    }, 20_000);
  }, 30_000);

  it('has the values from which Grafana chooses', async () => {
    const lists = dashboard.templating.list.flatMap(({ definition }) => definition ?? []);
    for (const list of lists) {
      const [, text = '', label = ''] = /^label_values\((.+), (\w+)\)$/.exec(list) ?? [];
      expect(await problemsOf({ where: list, promQl: new PromQl(text), shown: [label] })).toEqual([]);
    }
    expect(lists).toHaveLength(2);
  });

  it.each([
    ['a metric', 'sum(rate(bank_ledger_transaction_total[1m]))', []],
    ['a label', 'bank_shard_up{shrad="0"}', []],
    ['a value', 'bank_database_pool_connections{state="wating"}', []],
    ['a grouping', 'sum by (shrad) (bank_shard_up)', []],
    ['a grouping of another metric', 'sum by (shard) (bank_shard_up / on (shard, shrad) bank_shard_up)', []],
    ['a label of the legend', 'sum by (shard) (bank_shard_up)', ['instance']],
  ])('would not have %s with a wrong name', async (_, text, shown) => {
    expect(await problemsOf({ where: 'here', promQl: new PromQl(text), shown })).not.toEqual([]);
  });
});
