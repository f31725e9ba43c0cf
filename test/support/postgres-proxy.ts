import { connect, createServer, type Server, type Socket } from 'node:net';

/** What the proxy does when the service sends COMMIT. */
export type AtCommit =
  | 'forward'
  /** The server never sees the COMMIT. */
  | 'cut-before'
  /** The server commits, its answer is dropped. */
  | 'cut-after';

/**
 * A TCP proxy between the service and PostgreSQL that understands just enough of the protocol to find a COMMIT, and
 * can break the connection around it, fall silent, or refuse to connect.
 */
export class PostgresProxy {
  atCommit: AtCommit = 'forward';
  /** Called once a connection was cut at its COMMIT. */
  onCut: () => void = () => undefined;
  private silent = false;
  private refusing = false;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly target: { readonly host: string; readonly port: number },
  ) {}

  /** Listens on a free loopback port in front of the server that the URL names. */
  static async start(databaseUrl: string): Promise<{ proxy: PostgresProxy; url: string }> {
    const url = new URL(databaseUrl);
    const server = createServer();
    const proxy = new PostgresProxy(server, { host: url.hostname, port: Number(url.port) });
    server.on('connection', (client) => proxy.accept(client));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new Error('the proxy does not listen');
    url.hostname = '127.0.0.1';
    url.port = String(address.port);
    return { proxy, url: url.href };
  }

  /** Passes nothing on, in either direction, but keeps connections open: a server that hangs. */
  silence(): void {
    this.silent = true;
  }

  /** Breaks every connection and accepts no other: a server that is down. */
  takeDown(): void {
    this.refusing = true;
    this.cutAll();
  }

  /** Works again. What was held back while it was silent is gone, with its connections. */
  heal(): void {
    if (this.silent) this.cutAll();
    this.silent = false;
    this.refusing = false;
    this.atCommit = 'forward';
  }

  async stop(): Promise<void> {
    this.cutAll();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private cutAll(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  private accept(client: Socket): void {
    if (this.refusing) return void client.destroy();
    const server = connect(this.target);
    let dropAnswers = false;
    const cut = () => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      this.sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', cut);
      socket.on('close', () => {
        this.sockets.delete(socket);
        cut();
      });
    }
    const find = commitFinder();
    client.on('data', (data) => {
      if (this.silent) return;
      if (!find(data) || this.atCommit === 'forward') return void server.write(data);
      if (this.atCommit === 'cut-before') {
        cut();
        return this.onCut();
      }
      dropAnswers = true;
      server.write(data);
    });
    server.on('data', (data) => {
      if (this.silent) return;
      if (!dropAnswers) return void client.write(data);
      // The answer to COMMIT: it took effect, and the service will never hear of it.
      cut();
      this.onCut();
    });
  }
}

/** Tells whether a chunk of one connection's frontend messages completes a simple query `COMMIT`. */
function commitFinder(): (data: Buffer) => boolean {
  let rest = Buffer.alloc(0);
  let started = false;
  return (data) => {
    rest = Buffer.concat([rest, data]);
    let found = false;
    for (;;) {
      // The startup message alone has no type byte before its length.
      const header = started ? 1 : 0;
      if (rest.length < header + 4) return found;
      const end = header + rest.readInt32BE(header);
      if (rest.length < end) return found;
      const isQuery = started && rest.toString('latin1', 0, 1) === 'Q';
      if (isQuery && rest.toString('latin1', 5, end - 1) === 'COMMIT') found = true;
      started = true;
      rest = rest.subarray(end);
    }
  };
}
