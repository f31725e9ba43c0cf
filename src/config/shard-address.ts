/** Where a shard is: a PostgreSQL server and the schema with all of the shard's tables. */
export interface ShardAddress {
  readonly url: string;
  readonly schema: string;
  /** For migrations, which do not work through PgBouncer in transaction mode; undefined: `url` is used. */
  readonly migrationUrl?: string;
}

/** A schema name: an SQL identifier that needs no quotes. */
export const SCHEMA_NAME = /^[a-z_][a-z0-9_]{0,62}$/;

export const SHARD_URL_FORM = 'postgresql://user:password@host:5432/database?schema=bank_0';

export function isPostgresUrl(text: string): boolean {
  try {
    const url = new URL(text);
    return /^postgres(ql)?:$/.test(url.protocol) && url.pathname.length > 1;
  } catch {
    return false;
  }
}

/** Database URLs, each with `?schema=`, separated by commas or white space; undefined: one of them is not valid. */
export function parseShardList(text: string): ShardAddress[] | undefined {
  const shards = text
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .map(parseShardUrl);
  return shards.every((shard) => shard !== undefined) && shards.length > 0 ? shards : undefined;
}

/** Takes the schema out of the URL: pg would pass an option that it does not know on to the server. */
function parseShardUrl(text: string): ShardAddress | undefined {
  if (!isPostgresUrl(text)) return undefined;
  const url = new URL(text);
  const schema = url.searchParams.get('schema');
  if (schema === null || !SCHEMA_NAME.test(schema)) return undefined;
  url.searchParams.delete('schema');
  return { url: url.href, schema };
}

/** The shard in messages, without user and password. */
export function describeShard({ url, schema }: ShardAddress): string {
  return `${describeServer(url)}, schema "${schema}"`;
}

/** `host:port/database`, without user and password. */
export function describeServer(databaseUrl: string): string {
  const { hostname, port, pathname } = new URL(databaseUrl);
  return `${hostname}:${port || '5432'}${decodeURIComponent(pathname)}`;
}

/** Where a shard was moved to. User and password stay the same. */
export interface ForwardingAddress {
  readonly host: string;
  readonly port: number;
  readonly database: string;
}

/** The same shard at its new place. */
export function forwarded({ url, schema, migrationUrl }: ShardAddress, to: ForwardingAddress): ShardAddress {
  const there = (old: string) => {
    const moved = new URL(old);
    moved.hostname = to.host.includes(':') ? `[${to.host}]` : to.host;
    moved.port = String(to.port);
    moved.pathname = `/${encodeURIComponent(to.database)}`;
    return moved.href;
  };
  return {
    url: there(url),
    schema,
    migrationUrl: migrationUrl === undefined ? undefined : there(migrationUrl),
  };
}
