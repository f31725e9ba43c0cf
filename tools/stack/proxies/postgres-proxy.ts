import { GatheredBytes } from '../../../src/http/validation/gathered-bytes.js';
import { TcpProxy, type Relay } from './tcp-proxy.js';

/** What the proxy does when the service sends COMMIT. */
export type AtCommit =
  | 'forward'
  /** The server never sees the COMMIT. */
  | 'cut-before'
  /** The server commits; its answer is dropped, and those to the statements that were sent with the COMMIT. */
  | 'cut-after'
  /** A failing statement goes ahead of it, whose answer is kept back: the server answers the COMMIT with ROLLBACK. */
  | 'abort';

/** A simple query that fails; it ends a transaction without the service's knowing. */
const FAILING = simpleQuery('SELECT 1/0');
/** Enough of a message to know a COMMIT by. */
const SHORT = 32;
/** The message that ends the server's answer to each simple query, each Sync, and the start of the session. */
const READY_FOR_QUERY = 'Z';
const ANSWERED = new Set(['Q', 'S', '']);

/**
 * A TCP proxy between the service and PostgreSQL (or PgBouncer) that understands just enough of the protocol to find a
 * COMMIT, and can break the connection around it, or abort the transaction before it; or cut any result in the middle.
 * The service may send a COMMIT before it has the answers to the statements ahead of it.
 */
export class PostgresProxy extends TcpProxy {
  atCommit: AtCommit = 'forward';
  /** Whether the next results that are long enough are cut in the middle, with their connections. */
  cutResults = false;
  /** Whether a BEGIN is replaced by a statement that fails: what is sent behind it then has no transaction. */
  failBegin = false;
  /** Called once a connection was cut, or a transaction aborted, at its COMMIT. */
  onCut: () => void = () => undefined;

  override heal(): void {
    super.heal();
    this.atCommit = 'forward';
    this.cutResults = false;
    this.failBegin = false;
  }

  protected override relay(relay: Relay): void {
    const { client, server, toServer, toClient } = relay;
    const asked = new Messages(false);
    const answered = new Messages(true);
    /** Answers that the server owes. */
    let owed = 0;
    /** What happens to the answer that comes after so many others. */
    let marked: { after: number; fate: 'cut' | 'keep-back' } | undefined;
    client.on('data', (data) => {
      const forward: Buffer[] = [];
      for (const { type, body, bytes } of asked.take(data)) {
        const isCommit = type === 'Q' && body === 'COMMIT\0' && !this.isSilent;
        if (isCommit && this.atCommit === 'cut-before') {
          relay.cut();
          return this.onCut();
        }
        if (isCommit && this.atCommit === 'abort') {
          marked = { after: owed, fate: 'keep-back' };
          owed += 1;
          forward.push(FAILING);
        } else if (isCommit && this.atCommit === 'cut-after') {
          marked = { after: owed, fate: 'cut' };
        }
        if (ANSWERED.has(type)) owed += 1;
        const isBegin = type === 'Q' && body.startsWith('BEGIN');
        forward.push(isBegin && this.failBegin ? FAILING : bytes);
      }
      if (forward.length > 0) toServer.write(Buffer.concat(forward));
    });
    server.on('data', (data) => {
      if (this.isSilent) return;
      const forward: Buffer[] = [];
      let cut = false;
      for (const { type, bytes } of answered.take(data)) {
        const isMarked = marked?.after === 0;
        const fate = isMarked || marked?.fate === 'cut' ? marked?.fate : 'pass';
        if (fate === 'pass') forward.push(bytes);
        // The answer to COMMIT: it took effect, and the service will never hear of it.
        cut = isMarked && fate === 'cut';
        if (cut) break;
        if (type !== READY_FOR_QUERY) continue;
        owed -= 1;
        if (marked) marked.after -= 1;
        if (fate === 'keep-back') {
          marked = undefined;
          this.onCut();
        }
      }
      const result = Buffer.concat(forward);
      if (this.cutResults && result.length > 1) {
        client.write(result.subarray(0, result.length >> 1));
        client.end();
        return server.destroy();
      }
      if (result.length > 0) toClient.write(result);
      if (!cut) return;
      relay.cut();
      this.onCut();
    });
  }
}

interface Message {
  /** Empty for the startup message. */
  readonly type: string;
  /** The first bytes of it. */
  readonly body: string;
  readonly bytes: Buffer;
}

/** The messages of one direction of a connection, as they are completed. */
class Messages {
  private readonly come = new GatheredBytes();

  /** @param started whether messages have a type; a client's first one, the startup message, has none */
  constructor(private started: boolean) {}

  take(data: Buffer): Message[] {
    this.come.append(data);
    const messages: Message[] = [];
    let rest = this.come.bytes;
    for (;;) {
      const header = this.started ? 1 : 0;
      const end = rest.length < header + 4 ? Infinity : header + rest.readInt32BE(header);
      if (rest.length < end) break;
      const type = rest.toString('latin1', 0, header);
      const body = rest.toString('latin1', header + 4, Math.min(end, SHORT));
      messages.push({ type, body, bytes: Buffer.from(rest.subarray(0, end)) });
      this.started = true;
      rest = rest.subarray(end);
    }
    if (messages.length > 0) {
      const begun = Buffer.from(rest);
      this.come.clear();
      this.come.append(begun);
    }
    return messages;
  }
}

function simpleQuery(sql: string): Buffer {
  const message = Buffer.from(`Q....${sql}\0`);
  message.writeInt32BE(message.length - 1, 1);
  return message;
}
