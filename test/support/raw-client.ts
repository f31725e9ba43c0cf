import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A client of raw bytes, for what no HTTP client does: send slowly, send half of a request, or never read. */
export class RawClient {
  received = '';
  /** Resolves when the connection has ended in any way. */
  readonly closed: Promise<void>;
  isClosed = false;

  private constructor(readonly socket: Socket) {
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) =>
      socket.once('close', () => {
        this.isClosed = true;
        resolve();
      }),
    );
  }

  /** @param reads whether it reads the answers */
  static async open(url: string, reads = true): Promise<RawClient> {
    const { hostname, port } = new URL(url);
    const client = new RawClient(connect({ host: hostname, port: Number(port), allowHalfOpen: true }));
    if (reads) {
      client.socket.on('data', (data: Buffer) => (client.received += data.toString('latin1')));
      client.socket.on('end', () => client.socket.destroySoon());
    }
    await Promise.race([once(client.socket, 'connect'), client.closed]);
    return client;
  }

  send(bytes: string): void {
    if (this.socket.writable) this.socket.write(bytes);
  }

  /** The statuses of the answers so far. */
  get statuses(): number[] {
    return [...this.received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  }

  destroy(): void {
    this.socket.destroy();
  }
}
