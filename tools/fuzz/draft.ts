/** The name and value, as written, of a header, a query parameter or a member of a JSON object. */
export type Pair = readonly [name: string, value: string];

/** By the documented rules a request must be understood, must be rejected, or may be either. */
export type Verdict = 'well-formed' | 'malformed' | 'open';

/**
 * A request before it is written out. Every character is one byte on the wire (see {@link utf8}), so that it can
 * contain what no HTTP client and no JSON.stringify would write. `{{…}}` is a placeholder for something in the bank:
 * see world.ts.
 */
export interface Draft {
  readonly method: string;
  /** The parts between the slashes, already encoded. */
  readonly segments: readonly string[];
  readonly query: readonly Pair[];
  /** After `?`, or instead of a query, when it is no list of pairs. */
  readonly suffix?: string;
  readonly protocol: string;
  readonly headers: readonly Pair[];
  /** The members of a JSON object as source text, or any bytes; undefined: no body. */
  readonly body?: readonly Pair[] | string;
  readonly chunked?: boolean;
  readonly verdict: Verdict;
}

/** A request as it is sent. */
export interface Sent {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly Pair[];
  /** One character is one byte. */
  readonly body: string;
  readonly bytes: Buffer;
  readonly verdict: Verdict;
}

/** The bytes of a text in UTF-8, one character each. */
export const utf8 = (text: string) => Buffer.from(text).toString('latin1');

/** @param fillIn says in a text what each `{{…}}` stands for, as far as it is known */
export function write(draft: Draft, fillIn: (path: string, text: string) => string): Sent {
  const path = `/${draft.segments.join('/')}`;
  const resolve = (text: string) => fillIn(path, text);
  const query = draft.query.map(([name, value]) => `${name}=${value}`).join('&');
  const suffix = draft.suffix ?? (query === '' ? '' : `?${query}`);
  // The forms of a target that do not begin with a slash: an absolute one, and the asterisk.
  const target = resolve(`${path}${suffix}`.replace(/^\/(?=\w+:\/\/|\*$)/, ''));
  const headers = draft.headers.map(([name, value]): Pair => [name, resolve(value)]);
  const body = resolve(typeof draft.body === 'object' ? objectOf(draft.body) : (draft.body ?? ''));
  const isFramed = headers.some(([name]) => /^(content-length|transfer-encoding)$/i.test(name));
  if (draft.chunked === true) headers.push(['Transfer-Encoding', 'chunked']);
  else if (draft.body !== undefined && !isFramed) headers.push(['Content-Length', String(body.length)]);
  const head = [`${draft.method} ${target} ${draft.protocol}`, ...headers.map((pair) => pair.join(': '))];
  const written = draft.chunked === true ? chunks(body) : ending(body, headers);
  const bytes = Buffer.from(`${head.join('\r\n')}\r\n\r\n${written}`, 'latin1');
  const verdict = `${target}${body}`.includes('{{') ? 'open' : draft.verdict;
  return { method: draft.method, target, headers, body, bytes, verdict };
}

/** No body is announced longer than it is: other tests cover how long the service waits for the rest. */
function ending(body: string, headers: readonly Pair[]): string {
  const valueOf = (wanted: string) => headers.find(([name]) => name.toLowerCase() === wanted)?.[1];
  // Then there is no chunk where one is expected.
  if (valueOf('transfer-encoding') !== undefined) return `x${body}`;
  const announced = Number(valueOf('content-length'));
  return announced < MAX_PADDING ? body.padEnd(announced) : body;
}

function objectOf(members: readonly Pair[]): string {
  return `{${members.map(([name, value]) => `${name}:${utf8(value)}`).join()}}`;
}

const CHUNK = 4_096;
const MAX_PADDING = 100_000;

function chunks(body: string): string {
  const pieces = body.match(new RegExp(`[^]{1,${CHUNK}}`, 'g')) ?? [];
  return [...pieces, ''].map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join('');
}

/** A POSIX shell command that sends the request again, byte for byte. */
export function shellCommand({ bytes }: Sent, url: string): string {
  const { hostname, port } = new URL(url);
  const escaped = bytes
    .toString('latin1')
    .replaceAll(/[^ -~]|[\\'%]/g, (byte) => ESCAPES[byte] ?? `\\${octal(byte.charCodeAt(0))}`)
    .replaceAll(
      /([A-Za-z0-9 ])\1{99,}/g,
      (run, byte) => `'"$(head -c ${run.length} /dev/zero | tr '\\0' '${byte}')"'`,
    );
  return `printf '${escaped}' | nc ${hostname} ${port}`;
}

const ESCAPES: Readonly<Record<string, string>> = { '\r': '\\r', '\n': '\\n', '\\': '\\\\', '%': '%%' };

const octal = (byte: number) => byte.toString(8).padStart(3, '0');
