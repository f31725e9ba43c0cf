import { TimeoutError } from './errors.js';
import type { CallOptions } from './transport.js';
import { sleep } from './waiting.js';

export interface PollOptions {
  /** Default: 30,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const FIRST_DELAY_MS = 50;
const MAX_DELAY_MS = 2_000;

/** Asks again, less and less often, until the answer is final. @throws TimeoutError it is not in time */
export async function poll<T>(
  ask: (call: CallOptions) => Promise<T>,
  isFinal: (answer: T) => boolean,
  { timeoutMs = 30_000, signal }: PollOptions = {},
): Promise<T> {
  const giveUpAt = performance.now() + timeoutMs;
  for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(delayMs * 2, MAX_DELAY_MS)) {
    const leftMs = Math.max(1, giveUpAt - performance.now());
    const answer = await ask({ signal, maxElapsedMs: leftMs });
    if (isFinal(answer)) return answer;
    if (performance.now() + delayMs > giveUpAt)
      throw new TimeoutError(`not decided within ${timeoutMs} ms`, {
        code: 'TIMEOUT',
        status: 0,
        body: answer,
      });
    await sleep(delayMs, signal);
  }
}
