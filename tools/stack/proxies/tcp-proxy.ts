import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** One client's connection through the proxy. */
export interface Relay {
  readonly client: Socket;
  readonly server: Socket;
  readonly toServer: Pipe;
  readonly toClient: Pipe;
  /** Breaks both directions. */
  readonly cut: () => void;
}

/** A TCP proxy in front of a server that can appear slow, silent or down to its clients. */
export class TcpProxy {
  /** The delay in each direction. */
  delayMs = 0;
  /** How many connections it has accepted so far. */
  accepted = 0;
  private readonly listener: Server = createServer((client) => this.accept(client));
  private readonly relays = new Set<Relay>();
  private target = { host: '', port: 0 };
  private silent = false;
  private refusing = false;

  /** Listens on a free loopback port in front of the server of a URL. @returns the URL through the proxy */
  static async start<T extends TcpProxy>(
    this: new () => T,
    serverUrl: string,
  ): Promise<{ proxy: T; url: string }> {
    const proxy = new this();
    const url = new URL(serverUrl);
    proxy.target = { host: url.hostname, port: Number(url.port) };
    proxy.listener.listen(0, '127.0.0.1');
    await once(proxy.listener, 'listening');
    const address = proxy.listener.address();
    if (typeof address !== 'object' || address === null) throw new Error('the proxy does not listen');
    url.hostname = '127.0.0.1';
    url.port = String(address.port);
    return { proxy, url: url.href };
  }

  /** Forwards nothing in either direction, but keeps connections open, like a server that hangs. */
  silence(): void {
    this.silent = true;
  }

  /** Breaks every connection and accepts no new one, like a server that is down. */
  takeDown(): void {
    this.refusing = true;
    this.cutAll();
  }

  /** Resets every connection; new ones are accepted. */
  reset(): void {
    for (const { client, server } of this.relays) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  /**
   * Closes the server's end of every connection without the client ever being told, like a power cut or a firewall that
   * forgets connections. New connections work.
   */
  halfOpen(): void {
    for (const relay of this.relays) {
      relay.toServer.close();
      relay.toClient.close();
      relay.server.destroy();
    }
  }

  /** Works again. Data withheld while it was silent is lost, with its connections. */
  heal(): void {
    if (this.silent) this.cutAll();
    this.silent = false;
    this.refusing = false;
    this.delayMs = 0;
  }

  async stop(): Promise<void> {
    this.takeDown();
    this.listener.close();
    await once(this.listener, 'close');
  }

  /** Handles the data of a connection; here it is forwarded unchanged. */
  protected relay({ client, server, toServer, toClient }: Relay): void {
    client.on('data', (data) => toServer.write(data));
    server.on('data', (data) => toClient.write(data));
  }

  private cutAll(): void {
    for (const relay of this.relays) relay.cut();
  }

  private accept(client: Socket): void {
    if (this.refusing) return void client.destroy();
    this.accepted += 1;
    const server = connect(this.target);
    const relay: Relay = {
      client,
      server,
      toServer: new Pipe(server, this),
      toClient: new Pipe(client, this),
      cut: () => {
        client.destroy();
        server.destroy();
      },
    };
    this.relays.add(relay);
    client.setNoDelay(true).on('error', relay.cut).on('close', relay.cut);
    server
      .setNoDelay(true)
      .on('error', relay.cut)
      .on('close', () => {
        // A half-open connection lives on until its client gives up.
        if (!relay.toClient.closed) client.destroy();
      });
    client.on('close', () => this.relays.delete(relay));
    this.relay(relay);
  }

  /** True while nothing is forwarded. */
  get isSilent(): boolean {
    return this.silent;
  }
}

/** One direction of a connection: forwards data in order, each piece after the delay that was set when it arrived. */
class Pipe {
  closed = false;
  private readonly waiting: { readonly data: Buffer; readonly dueMs: number }[] = [];

  constructor(
    private readonly to: Socket,
    private readonly proxy: { readonly delayMs: number; readonly isSilent: boolean },
  ) {}

  write(data: Buffer): void {
    if (this.closed || this.proxy.isSilent) return;
    const { delayMs } = this.proxy;
    if (delayMs === 0 && this.waiting.length === 0) return void this.to.write(data);
    const dueMs = Math.max(performance.now() + delayMs, this.waiting.at(-1)?.dueMs ?? 0);
    this.waiting.push({ data, dueMs });
    if (this.waiting.length === 1) this.schedule();
  }

  /** Drops all further data. */
  close(): void {
    this.closed = true;
    this.waiting.length = 0;
  }

  private schedule(): void {
    const [next] = this.waiting;
    if (next) setTimeout(() => this.passOn(), Math.max(0, next.dueMs - performance.now()));
  }

  private passOn(): void {
    const next = this.waiting.shift();
    if (!next) return;
    if (!this.to.destroyed) this.to.write(next.data);
    this.schedule();
  }
}
