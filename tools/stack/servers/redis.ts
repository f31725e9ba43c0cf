import { connect } from 'node:net';
import { freePort } from '@scalable-banking/embedded-postgres';
import { newPlace, Server, started, type Place } from './server.js';

/** A redis-server that keeps nothing: after a restart it is empty. */
export class RedisServer extends Server {
  constructor(
    place: Place,
    port: number,
    private readonly settings: readonly string[],
  ) {
    super(place, port);
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  protected command(): readonly string[] {
    return [
      ...[
        '/usr/bin/redis-server',
        '--port',
        String(this.port),
        '--bind',
        '127.0.0.1',
        '--dir',
        this.place.folder,
      ],
      ...['--save', '', '--appendonly', 'no', ...this.settings],
    ];
  }

  protected isReady(): Promise<boolean> {
    return says(this.port, 'PING\r\n', '+PONG');
  }
}

/** @param settings command-line arguments like `--maxmemory`, `2mb` */
export async function startRedis(settings: readonly string[] = []): Promise<RedisServer> {
  return started(new RedisServer(await newPlace('redis'), await freePort(), settings));
}

function says(port: number, question: string, answer: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(question));
    socket.setTimeout(1_000, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(false));
    socket.on('data', (data) => {
      resolve(data.toString().startsWith(answer));
      socket.destroy();
    });
  });
}
