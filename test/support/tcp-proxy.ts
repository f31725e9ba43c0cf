import { connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP proxy in front of a server, which can be slow or cut: for one of its clients, while others reach it directly. */
export class TcpProxy {
  /** How long everything takes, in each direction. */
  delayMs = 0;
  private refusing = false;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly target: { readonly host: string; readonly port: number },
  ) {}

  /** Listens on a free loopback port in front of the server that the URL names. */
  static async start(serverUrl: string): Promise<{ proxy: TcpProxy; url: string }> {
    const url = new URL(serverUrl);
    const server = createServer();
    const proxy = new TcpProxy(server, { host: url.hostname, port: Number(url.port) });
    server.on('connection', (client) => proxy.accept(client));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new Error('the proxy does not listen');
    url.hostname = '127.0.0.1';
    url.port = String(address.port);
    return { proxy, url: url.href };
  }

  /** Breaks every connection and accepts no other. */
  takeDown(): void {
    this.refusing = true;
    for (const socket of this.sockets) socket.destroy();
  }

  heal(): void {
    this.refusing = false;
  }

  async stop(): Promise<void> {
    this.takeDown();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private accept(client: Socket): void {
    if (this.refusing) return void client.destroy();
    const server = connect(this.target);
    const cut = () => {
      client.destroy();
      server.destroy();
    };
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.sockets.add(from);
      from.setNoDelay(true);
      from.on('error', cut);
      from.on('close', () => {
        this.sockets.delete(from);
        cut();
      });
      from.on('data', (data) => {
        if (this.delayMs === 0) to.write(data);
        else setTimeout(() => to.write(data), this.delayMs);
      });
    }
  }
}
