import { execFile } from 'node:child_process';
import { chown, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, WatchedProcess } from '@scalable-banking/embedded-postgres';
import { environmentIn } from './private-folder.js';
import { newPlace, Server, started, type Place } from './server.js';

const run = promisify(execFile);

/** Not Debian's wrapper in /usr/sbin, which insists on the system's user and folders. */
const PROGRAMS = '/usr/lib/rabbitmq/bin';
const NODE = 'bank@localhost';

/** A RabbitMQ broker with Erlang's port mapper. Durable queues and persistent messages survive a restart. */
export class RabbitMqServer extends Server {
  private portMapper: WatchedProcess | undefined;

  constructor(
    place: Place,
    port: number,
    private readonly ports: { readonly distribution: number; readonly portMapper: number },
  ) {
    super(place, port);
  }

  get url(): string {
    return `amqp://guest:guest@127.0.0.1:${this.port}`;
  }

  override async start(): Promise<void> {
    if (!this.portMapper?.running) {
      const command = ['/usr/bin/epmd', '-port', String(this.ports.portMapper), '-address', '127.0.0.1'];
      this.portMapper = new WatchedProcess(this.place.runAs, 'TERM', command, undefined, this.environment());
    }
    await super.start();
  }

  override async stop(): Promise<void> {
    await this.halt();
    await this.portMapper?.stop([['SIGKILL', 5_000]]);
    await super.stop();
  }

  /** Runs a command of `rabbitmqctl` and returns its output. */
  async control(...command: string[]): Promise<string> {
    const { stdout } = await run(`${PROGRAMS}/rabbitmqctl`, ['-n', NODE, ...command], {
      env: this.environment(),
      cwd: '/',
      ...this.place.runAs.ids,
    });
    return stdout;
  }

  protected command(): readonly string[] {
    return [`${PROGRAMS}/rabbitmq-server`];
  }

  protected isReady(): Promise<boolean> {
    return greets(this.port);
  }

  /** The start script, and the Erlang machine that does the work. */
  protected override async pids(): Promise<number[]> {
    const machine = await readFile(join(this.place.folder, 'pid'), 'utf8').catch(() => '');
    return [...(machine === '' ? [] : [Number(machine)]), ...(await super.pids())];
  }

  protected override environment(): NodeJS.ProcessEnv {
    const { folder } = this.place;
    return {
      ...environmentIn(folder),
      RABBITMQ_NODENAME: NODE,
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: String(this.port),
      RABBITMQ_DIST_PORT: String(this.ports.distribution),
      ERL_EPMD_PORT: String(this.ports.portMapper),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
      RABBITMQ_LOG_BASE: join(folder, 'log'),
      RABBITMQ_PID_FILE: join(folder, 'pid'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
      RABBITMQ_CONF_ENV_FILE: '/dev/null',
      RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    };
  }
}

/** Takes a few seconds. */
export async function startRabbitMq(): Promise<RabbitMqServer> {
  const place = await newPlace('rabbitmq');
  await write(place, 'plugins', '[].\n', 0o644);
  await write(place, '.erlang.cookie', 'private', 0o400);
  // Fewer schedulers and no disk alarm: it shares a small machine with everything else.
  await write(place, 'rabbitmq.conf', 'disk_free_limit.absolute = 1MB\nloopback_users = none\n', 0o644);
  const ports = { distribution: await freePort(), portMapper: await freePort() };
  return started(new RabbitMqServer(place, await freePort(), ports));
}

async function write({ folder, runAs }: Place, name: string, text: string, mode: number): Promise<void> {
  const file = join(folder, name);
  await writeFile(file, text, { mode });
  if (runAs.owner) await chown(file, runAs.owner.uid, runAs.owner.gid);
}

/** A broker answers a wrong greeting with the right one, which proves that more than its port is up. */
function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('AMQP\0\0\0\0'));
    socket.setTimeout(1_000, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(false));
    socket.on('data', (data) => {
      resolve(data.toString('latin1').startsWith('AMQP'));
      socket.destroy();
    });
  });
}
