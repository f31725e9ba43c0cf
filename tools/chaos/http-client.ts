import { Agent, request } from 'node:http';
import { parse } from 'lossless-json';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** No answer came. */
export class NoAnswerError extends Error {
  constructor(
    cause: unknown,
    /** True: the connection was refused, so the request cannot have arrived. */
    readonly neverSent: boolean,
  ) {
    super('no answer', { cause });
  }
}

const agent = new Agent({ keepAlive: true, maxSockets: Infinity });

/**
 * @param timeoutMs for the whole exchange; then the connection is cut
 * @throws NoAnswerError
 */
export function send(
  method: 'GET' | 'POST' | 'PATCH',
  url: string,
  options: {
    readonly timeoutMs: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
  },
): Promise<HttpAnswer> {
  const { timeoutMs, headers, body } = options;
  const answered = Promise.withResolvers<HttpAnswer>();
  const outgoing = request(url, {
    method,
    agent,
    headers: { ...headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
  });
  const failed = (error: NodeJS.ErrnoException) =>
    answered.reject(new NoAnswerError(error, error.code === 'ECONNREFUSED'));
  const timer = setTimeout(() => outgoing.destroy(new Error('timed out')), timeoutMs);
  outgoing.on('error', failed);
  outgoing.on('response', (incoming) => {
    const pieces: Buffer[] = [];
    incoming.on('data', (piece: Buffer) => pieces.push(piece));
    incoming.on('error', failed);
    incoming.on('end', () => {
      const text = Buffer.concat(pieces).toString();
      answered.resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text });
    });
  });
  outgoing.end(body);
  return answered.promise.finally(() => clearTimeout(timer));
}

/** Parses JSON in which each number with two decimals is money, and converts it to minor units. */
export function parseAnswer(text: string): unknown {
  return parse(text, undefined, (number) => Number(number.replace(/\.(\d\d)$/, '$1')));
}
