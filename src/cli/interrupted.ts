import { UserError } from '../domain/user-error.js';

/** The user stopped the command. */
export class InterruptedError extends UserError {
  constructor(readonly signal: 'SIGINT' | 'SIGTERM') {
    super(`stopped by ${signal}`);
    this.name = 'InterruptedError';
  }
}

/** What a shell reports for a process that a signal ended: 128 and the signal's number. */
const INTERRUPTED = { SIGINT: 130, SIGTERM: 143 } as const;

/** The exit code of a command that failed in its work. */
export function exitCodeOf(error: unknown): number {
  return error instanceof InterruptedError ? INTERRUPTED[error.signal] : 1;
}
