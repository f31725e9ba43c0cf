import { isIPv6 } from 'node:net';
import { Option, type Command } from 'commander';
import type { ShardStatus } from '../admin/list-shards.js';
import type { Config } from '../config/config.js';
import { serviceOption } from './options.js';
import { tableText } from './printable.js';
import { withServers } from './session.js';

interface ListOptions {
  readonly json?: true;
  readonly service?: string;
  readonly keyFile?: string;
}

export function addShardsList(shards: Command): void {
  shards
    .command('list')
    .description('show each shard: its server, schema, accounts, size and queue')
    .addOption(
      new Option(
        '--service <URL>',
        'the running service whose queues are shown (default: of the settings)',
      ).argParser(serviceOption),
    )
    .option('--key-file <FILE>', 'a file with an API key with the scope admin, if the service needs one')
    .option('--json', 'print the list as JSON')
    .action(({ json, service, keyFile }: ListOptions) =>
      withServers('shards list', async ({ config, shards: listed }) => {
        const { listShards } = await import('../admin/list-shards.js');
        const list = await listShards(listed, { url: service ?? operatorsUrl(config), keyFile });
        console.log(json ? JSON.stringify(list.shards) : shardsText(list.shards));
        if (list.noQueues !== undefined) console.error(`Queues are not shown: ${list.noQueues}.`);
      }),
    );
}

/** The URL at which a service with these settings exposes its metrics. */
function operatorsUrl({ http, management }: Config): string {
  const place = management ?? http;
  const name = isIPv6(place.host) ? `[${place.host}]` : place.host;
  return `${http.tls && !management ? 'https' : 'http'}://${name}:${place.port}`;
}

/** The report for people: one line per shard. */
function shardsText(shards: readonly ShardStatus[]): string {
  const head = ['shard', 'server', 'schema', 'accounts', 'size', 'outbox', 'queue', 'state'];
  const lines = shards.map(({ shard, server, schema, accounts, bytes, outbox, queue, problem }) => [
    String(shard),
    server,
    schema,
    String(accounts ?? '–'),
    bytes === undefined ? '–' : sizeText(bytes),
    String(outbox ?? '–'),
    String(queue ?? '–'),
    problem === undefined ? 'up' : `down: ${problem}`,
  ]);
  return tableText([head, ...lines]);
}

function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 2 ** (10 * unit)).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}
