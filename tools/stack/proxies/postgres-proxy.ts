import { GatheredBytes } from '../../../src/http/validation/gathered-bytes.js';
import { TcpProxy, type Relay } from './tcp-proxy.js';

/** What the proxy does when the service sends COMMIT. */
export type AtCommit =
  | 'forward'
  /** The server never sees the COMMIT. */
  | 'cut-before'
  /** The server commits. Its answer is dropped, as are those to the statements sent with the COMMIT. */
  | 'cut-after'
  /** A failing statement is sent first and its answer withheld: the server answers the COMMIT with ROLLBACK. */
  | 'abort';

/** A simple query that fails. It aborts the transaction without the service noticing. */
const FAILING = simpleQuery('SELECT 1/0');
/** Enough bytes of a message to recognise a COMMIT. */
const SHORT = 32;
/** Ends the server's answer to each simple query, each Sync, and the start of the session. */
const READY_FOR_QUERY = 'Z';
const ANSWERED = new Set(['Q', 'S', '']);

/**
 * A TCP proxy between the service and PostgreSQL (or PgBouncer) that understands just enough of the protocol to find a
 * COMMIT. It can cut the connection around the COMMIT, abort the transaction before it, or cut any result in the
 * middle. The service may send a COMMIT before it has the answers to earlier statements.
 */
export class PostgresProxy extends TcpProxy {
  atCommit: AtCommit = 'forward';
  /** Whether to cut the next results that are long enough in the middle, with their connections. */
  cutResults = false;
  /**
   * Whether to replace BEGIN with a statement that fails, so that the following statements run without a transaction.
   */
  failBegin = false;
  /** Called when a connection was cut or a transaction aborted at its COMMIT. */
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
    /** The number of outstanding answers. */
    let owed = 0;
    /** The fate of the answer after this many others. */
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
        // This is the answer to COMMIT: it took effect, but the service never learns of it.
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
  /** Its first bytes. */
  readonly body: string;
  readonly bytes: Buffer;
}

/** Splits one direction of a connection into complete messages. */
class Messages {
  private readonly come = new GatheredBytes();

  /** @param started whether the next message has a type: a client's first one, the startup message, has none */
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
