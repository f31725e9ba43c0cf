import { setTimeout as sleep } from 'node:timers/promises';
import { LedgerError } from '../domain/errors.js';
import type { Inbox } from '../messaging/inbox.js';
import { classifyFailure } from '../storage/database-errors.js';

const RETRY_MS = 1_000;

/**
 * Tries again while the database fails: a listener loses nothing if it waits. It would have to wait, too, if it were sent
 * away, and a browser that is answered with an error does not come back.
 *
 * @throws whatever else the work fails with
 */
export async function untilItWorks(inbox: Inbox, work: () => Promise<void>): Promise<void> {
  while (!inbox.closed) {
    try {
      return await work();
    } catch (error) {
      if (!mayPass(error)) throw error;
      await sleep(RETRY_MS, undefined, { ref: false });
    }
  }
}

export function mayPass(error: unknown): boolean {
  if (error instanceof LedgerError) {
    return ['DATABASE_FAILED', 'OVERLOADED'].includes(error.failure.code);
  }
  return classifyFailure(error) !== 'statement';
}
