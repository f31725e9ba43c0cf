/** The name and value, as written, of a header, a query parameter or a member of a JSON object. */
export type Pair = readonly [name: string, value: string];

/**
 * By the documented rules a request must be understood, must be rejected, must be told that its path has other methods,
 * or may get any of these answers.
 */
export type Verdict = 'well-formed' | 'malformed' | 'wrong method' | 'open';

/** How a body is cut into chunks: RFC 9112, 7.1. */
export interface Chunking {
  /** The lengths of the chunks, again and again. */
  readonly lengths: readonly number[];
  /** The line before a chunk: its length, and maybe extensions. */
  readonly head: (length: number) => string;
  readonly trailers: readonly Pair[];
}

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
  /** Undefined: its length is announced. */
  readonly chunking?: Chunking;
  readonly verdict: Verdict;
  /** Whether it is also sent in all forms of answers, to compare these: see forms.ts. */
  readonly inAllForms?: boolean;
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

/**
 * Replaces the placeholders of a draft, as far as they are known.
 *
 * @param fillIn says in a text what each `{{…}}` stands for
 */
export function fill(draft: Draft, fillIn: (path: string, text: string) => string): Draft {
  const path = `/${draft.segments.join('/')}`;
  const resolve = (text: string) => fillIn(path, text);
  const pairs = (list: readonly Pair[]) => list.map(([name, value]): Pair => [name, resolve(value)]);
  return {
    ...draft,
    segments: draft.segments.map(resolve),
    query: pairs(draft.query),
    suffix: draft.suffix === undefined ? undefined : resolve(draft.suffix),
    headers: pairs(draft.headers),
    body: typeof draft.body === 'object' ? pairs(draft.body) : draft.body && resolve(draft.body),
  };
}

/** Writes out a draft whose placeholders are filled. The verdict on one that still has some is open. */
export function write(draft: Draft): Sent {
  const query = draft.query.map(([name, value]) => `${name}=${value}`).join('&');
  const suffix = draft.suffix ?? (query === '' ? '' : `?${query}`);
  // The forms of a target that do not begin with a slash: an absolute one, and the asterisk.
  const target = `/${draft.segments.join('/')}${suffix}`.replace(/^\/(?=\w+:\/\/|\*$)/, '');
  const headers = [...draft.headers];
  const body = typeof draft.body === 'object' ? objectText(draft.body) : (draft.body ?? '');
  const isFramed = headers.some(([name]) => /^(content-length|transfer-encoding)$/i.test(name));
  if (draft.chunking) headers.push(['Transfer-Encoding', 'chunked']);
  else if (draft.body !== undefined && !isFramed) headers.push(['Content-Length', String(body.length)]);
  const head = [`${draft.method} ${target} ${draft.protocol}`, ...headers.map((pair) => pair.join(': '))];
  const written = draft.chunking ? chunks(body, draft.chunking) : ending(body, headers);
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

/** The source text of an object. */
export function objectText(members: readonly Pair[]): string {
  return `{${members.map(([name, value]) => `${name}:${utf8(value)}`).join()}}`;
}

const MAX_PADDING = 100_000;

function chunks(body: string, { lengths, head, trailers }: Chunking): string {
  const pieces: string[] = [];
  for (let at = 0; at < body.length;) {
    const length = lengths[pieces.length % lengths.length] ?? body.length;
    pieces.push(body.slice(at, at + length));
    at += length;
  }
  const written = pieces.map((piece) => `${head(piece.length)}\r\n${piece}\r\n`);
  const ends = trailers.map((pair) => `${pair.join(': ')}\r\n`);
  return `${written.join('')}${head(0)}\r\n${ends.join('')}\r\n`;
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
