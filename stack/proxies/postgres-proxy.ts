import { TcpProxy, type Relay } from './tcp-proxy.js';

/** What the proxy does when the service sends COMMIT. */
export type AtCommit =
  | 'forward'
  /** The server never sees the COMMIT. */
  | 'cut-before'
  /** The server commits, its answer is dropped. */
  | 'cut-after'
  /** A failing statement goes ahead of it, whose answer is kept back: the server answers the COMMIT with ROLLBACK. */
  | 'abort';

/** A simple query that fails; it ends a transaction without the service's knowing. */
const FAILING = simpleQuery('SELECT 1/0');
/** Enough of a message to know a COMMIT by. */
const SHORT = 32;
/** The message that ends the server's answer to a simple query. */
const READY_FOR_QUERY = 'Z';

/**
 * A TCP proxy between the service and PostgreSQL (or PgBouncer) that understands just enough of the protocol to find a
 * COMMIT, and can break the connection around it, or abort the transaction before it; or cut any result in the middle.
 */
export class PostgresProxy extends TcpProxy {
  atCommit: AtCommit = 'forward';
  /** Whether the next results that are long enough are cut in the middle, with their connections. */
  cutResults = false;
  /** Called once a connection was cut, or a transaction aborted, at its COMMIT. */
  onCut: () => void = () => undefined;

  override heal(): void {
    super.heal();
    this.atCommit = 'forward';
    this.cutResults = false;
  }

  protected override relay(relay: Relay): void {
    const { client, server, toServer, toClient } = relay;
    let answers: 'pass' | 'drop' | 'keep-back' = 'pass';
    let commit: Buffer | undefined;
    const asked = new Messages(false);
    let answered = new Messages(true);
    client.on('data', (data) => {
      const isCommit = asked.take(data).some(({ type, body }) => type === 'Q' && body === 'COMMIT\0');
      if (!isCommit || this.atCommit === 'forward' || this.isSilent) return toServer.write(data);
      if (this.atCommit === 'cut-before') {
        relay.cut();
        return this.onCut();
      }
      if (this.atCommit === 'abort') {
        commit = data;
        answers = 'keep-back';
        answered = new Messages(true);
        return toServer.write(FAILING);
      }
      answers = 'drop';
      toServer.write(data);
    });
    server.on('data', (data) => {
      if (this.isSilent) return;
      if (answers === 'drop') {
        // The answer to COMMIT: it took effect, and the service will never hear of it.
        relay.cut();
        this.onCut();
      } else if (answers === 'keep-back') {
        if (!answered.take(data).some(({ type }) => type === READY_FOR_QUERY)) return;
        answers = 'pass';
        if (commit) toServer.write(commit);
        this.onCut();
      } else if (this.cutResults && data.length > 1) {
        client.write(data.subarray(0, data.length >> 1));
        client.end();
        server.destroy();
      } else toClient.write(data);
    });
  }
}

/** The messages of one direction of a connection, as they are completed. */
class Messages {
  private rest = Buffer.alloc(0);

  /** @param started whether messages have a type; a client's first one, the startup message, has none */
  constructor(private started: boolean) {}

  take(data: Buffer): { type: string; body: string }[] {
    this.rest = Buffer.concat([this.rest, data]);
    const messages: { type: string; body: string }[] = [];
    for (;;) {
      const header = this.started ? 1 : 0;
      if (this.rest.length < header + 4) return messages;
      const end = header + this.rest.readInt32BE(header);
      if (this.rest.length < end) return messages;
      const type = this.rest.toString('latin1', 0, header);
      messages.push({ type, body: this.rest.toString('latin1', header + 4, Math.min(end, SHORT)) });
      this.started = true;
      this.rest = this.rest.subarray(end);
    }
  }
}

function simpleQuery(sql: string): Buffer {
  const message = Buffer.from(`Q....${sql}\0`);
  message.writeInt32BE(message.length - 1, 1);
  return message;
}
