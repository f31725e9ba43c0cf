import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import { connect } from 'amqplib';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { startPgBouncer } from '../../tools/stack/servers/pgbouncer.js';
import { startPostgres } from '../../tools/stack/servers/postgres.js';
import { startRabbitMq } from '../../tools/stack/servers/rabbitmq.js';
import { startRedis } from '../../tools/stack/servers/redis.js';

async function onDatabase<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 1_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

describe('the servers that tests start', () => {
  it('redis-server: hangs, is killed, and comes back empty', async () => {
    const server = await startRedis();
    const redis = new Redis(server.url, { retryStrategy: () => 20 });
    redis.on('error', () => undefined);
    await redis.set('a', '1');
    await server.kill('SIGSTOP');
    const answer = redis.get('a');
    await expect(Promise.race([answer, sleep(500, 'no answer')])).resolves.toBe('no answer');
    await server.kill('SIGCONT');
    expect(await answer).toBe('1');
    const lost = once(redis, 'close');
    await server.kill();
    await lost;
    await server.start();
    expect(await redis.get('a')).toBeNull();
    redis.disconnect();
    await server.stop();
  });

  it('PostgreSQL: hangs, is killed, and comes back with its data, on the same port', async () => {
    const server = await startPostgres();
    await onDatabase(server.url, (client) =>
      client.query('CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)'),
    );
    await server.kill('SIGSTOP');
    await expect(onDatabase(server.url, (client) => client.query('SELECT 1'))).rejects.toThrow('timeout');
    await server.kill('SIGCONT');
    await server.kill();
    await expect(onDatabase(server.url, (client) => client.query('SELECT 1'))).rejects.toThrow(
      'ECONNREFUSED',
    );
    await server.start();
    const { rows } = await onDatabase(server.url, (client) =>
      client.query<{ n: number }>('SELECT n FROM kept'),
    );
    expect(rows).toEqual([{ n: 7 }]);
    await server.stop();
  }, 60_000);

  it('PgBouncer: many clients share few connections, and no session survives a transaction', async () => {
    const server = await startPostgres({ fsync: 'off' });
    const pooler = await startPgBouncer({ databases: { '*': server.url }, poolSize: 2 });
    const pids = await Promise.all(
      Array.from({ length: 10 }, () =>
        onDatabase(pooler.url(server.url), async (client) => {
          const { rows } = await client.query<{ pid: number }>(
            'SELECT pg_backend_pid() AS pid, pg_sleep(0.02)',
          );
          return rows[0]?.pid;
        }),
      ),
    );
    expect(new Set(pids).size).toBeLessThanOrEqual(2);
    await pooler.stop();
    await server.stop();
  }, 60_000);

  it('RabbitMQ: is killed, and keeps what is durable', async () => {
    const server = await startRabbitMq();
    const connection = await connect(server.url);
    connection.on('error', () => undefined);
    const channel = await connection.createConfirmChannel();
    channel.on('error', () => undefined);
    await channel.assertQueue('kept', { durable: true });
    channel.sendToQueue('kept', Buffer.from('7'), { persistent: true });
    await channel.waitForConfirms();
    expect(await server.control('list_queues', '--quiet', 'name')).toContain('kept');
    // A message is on disk when it is confirmed; a new queue is up to two seconds later, in RabbitMQ 3.
    await server.control('eval', 'mnesia:sync_log().');
    await server.kill();
    await expect(connect(server.url)).rejects.toThrow();
    await server.start();
    const again = await connect(server.url);
    const message = await (await again.createChannel()).get('kept', { noAck: true });
    expect(message && message.content.toString()).toBe('7');
    await again.close();
    await server.stop();
  }, 90_000);

  it('all end when the process that started them is killed', async () => {
    const child = fork(join(process.cwd(), 'test/support/servers-child.ts'), {
      execArgv: ['--import', join(process.cwd(), 'test/support/register-typescript.mjs')],
    });
    const [ports] = (await once(child, 'message')) as [number[]];
    expect(await Promise.all(ports.map(listens))).toEqual(ports.map(() => true));
    child.kill('SIGKILL');
    const giveUpAt = Date.now() + 30_000;
    while ((await Promise.all(ports.map(listens))).includes(true) && Date.now() < giveUpAt) await sleep(100);
    expect(await Promise.all(ports.map(listens))).toEqual(ports.map(() => false));
    // The next server of a kind removes the folder that the killed process left.
    await (await startRedis()).stop();
    const left = (await readdir(tmpdir())).filter((name) => name.startsWith(`bank-redis-${child.pid}-`));
    expect(left).toEqual([]);
  }, 90_000);
});

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTcp(port, '127.0.0.1', () => {
      resolve(true);
      socket.destroy();
    });
    socket.on('error', () => resolve(false));
  });
}
