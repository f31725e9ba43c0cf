import { chown, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { freePort } from '@scalable-banking/embedded-postgres';
import { newPlace, Server, started, type Place } from './server.js';

export interface PgBouncerOptions {
  /** Database name → URL of the PostgreSQL database. `*` maps every other name to the database of that name. */
  readonly databases: Readonly<Record<string, string>>;
  /** Connections to the server for each database. */
  readonly poolSize: number;
}

/** A PgBouncer in transaction mode. */
export class PgBouncerServer extends Server {
  constructor(
    place: Place,
    port: number,
    private readonly probe: string,
  ) {
    super(place, port);
  }

  /** The same database through the pooler. */
  url(databaseUrl: string): string {
    const url = new URL(databaseUrl);
    url.port = String(this.port);
    return url.href;
  }

  protected command(): readonly string[] {
    return ['/usr/sbin/pgbouncer', configFile(this.place)];
  }

  protected async isReady(): Promise<boolean> {
    const client = new Client({ connectionString: this.url(this.probe), connectionTimeoutMillis: 2_000 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      return true;
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}

export async function startPgBouncer({ databases, poolSize }: PgBouncerOptions): Promise<PgBouncerServer> {
  const place = await newPlace('pgbouncer');
  const port = await freePort();
  const [[name, first] = ['', '']] = Object.entries(databases);
  const probe = new URL(first);
  if (name !== '*') probe.pathname = `/${name}`;
  await writeFile(configFile(place), config(port, databases, poolSize), { mode: 0o600 });
  if (place.runAs.owner) await chown(configFile(place), place.runAs.owner.uid, place.runAs.owner.gid);
  return started(new PgBouncerServer(place, port, probe.href));
}

function configFile({ folder }: Place): string {
  return join(folder, 'pgbouncer.ini');
}

function config(port: number, databases: PgBouncerOptions['databases'], poolSize: number): string {
  const lines = Object.entries(databases).map(([name, url]) => {
    const { hostname, port: serverPort, username, password, pathname } = new URL(url);
    const there = name === '*' ? '' : ` dbname=${pathname.slice(1)}`;
    const login = `user=${decodeURIComponent(username)} password=${decodeURIComponent(password)}`;
    return `${name} = host=${hostname} port=${serverPort || 5432} ${login}${there}`;
  });
  return [
    '[databases]',
    ...lines,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = any',
    'pool_mode = transaction',
    `default_pool_size = ${poolSize}`,
    'max_client_conn = 5000',
    'server_login_retry = 1',
    '',
  ].join('\n');
}
