import { UserError } from '../domain/user-error.js';

/** The user stopped the command. */
export class InterruptedError extends UserError {
  constructor(readonly signal: 'SIGINT' | 'SIGTERM') {
    super(`stopped by ${signal}`);
    this.name = 'InterruptedError';
  }
}

/** A shell's exit code for a process ended by a signal: 128 plus the signal's number. */
const INTERRUPTED = { SIGINT: 130, SIGTERM: 143 } as const;

/** The exit code of a command that failed while it ran. */
export function exitCodeOf(error: unknown): number {
  return error instanceof InterruptedError ? INTERRUPTED[error.signal] : 1;
}
