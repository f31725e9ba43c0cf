import { startPgBouncer } from '../../tools/stack/servers/pgbouncer.js';
import { startPostgres } from '../../tools/stack/servers/postgres.js';
import { startRabbitMq } from '../../tools/stack/servers/rabbitmq.js';
import { startRedis } from '../../tools/stack/servers/redis.js';

// A program of its own, because a test needs an owner of servers that it can kill.
const postgres = await startPostgres({ fsync: 'off' });
const servers = await Promise.all([
  startRedis(),
  startRabbitMq(),
  startPgBouncer({ databases: { '*': postgres.url }, poolSize: 1 }),
]);
process.send?.([postgres, ...servers].map(({ port }) => port));
