import { UserError } from '../domain/user-error.js';

/** A command failed for a reason that is not a defect. */
export class CommandError extends UserError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CommandError';
  }
}
