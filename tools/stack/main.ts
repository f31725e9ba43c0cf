import { GONE } from '../../src/config/former-variables.js';
import { RENAMED, VARIABLES } from '../../src/config/variables.js';
import { startStack, type Stack } from './stack.js';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Starts the stack, prints its addresses, and stops it gracefully on Ctrl-C or SIGTERM. */
async function main(): Promise<void> {
  console.log('Starting PostgreSQL, PgBouncer, Redis, RabbitMQ and the service …');
  const stack = await startStack({
    settings: { AUTH: 'off', LOG_FORMAT: 'pretty', ...settingsOf(process.env) },
    onLine: (replica, line) => console.log(`${replica} | ${line}`),
  });
  console.log(announcement(stack));
  // The handlers stay, because npm forwards a terminal's Ctrl-C, which then arrives twice.
  await new Promise((resolve) => SIGNALS.forEach((signal) => process.on(signal, resolve)));
  console.log('Stopping …');
  await stack.stop();
}

/**
 * The service's variables for the replicas, without database URLs. Former variables are included, so that they are
 * reported.
 */
function settingsOf(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const given = Object.keys({ ...VARIABLES, ...RENAMED, ...GONE }).filter(
    (name) => environment[name] !== undefined && !/DATABASE_URL$/.test(name),
  );
  return Object.fromEntries(given.map((name) => [name, environment[name]]));
}

function announcement({ replicas, postgres, addresses }: Stack): string {
  const [first = '', ...others] = replicas.map(({ url }) => url);
  return [
    '',
    `API:         ${first}`,
    ...others.map((url) => `             ${url}`),
    `Swagger UI:  ${first}/docs`,
    `RabbitMQ:    ${addresses.RABBITMQ_URL}`,
    `Redis:       ${addresses.REDIS_URL}`,
    ...postgres.map(({ url }) => `PostgreSQL:  ${url}`),
    '',
    `Try:         curl -X POST ${first}/accounts -H 'Content-Type: application/json' -d '{"openingDeposit": 100.00}'`,
    `Its books:   SHARDS='${addresses.SHARDS}' npm run -s cli -- verify`,
    'Stop:        Ctrl-C',
    '',
  ].join('\n');
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
});
