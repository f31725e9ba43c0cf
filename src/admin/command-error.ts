import { UserError } from '../domain/user-error.js';

/** A command could not do its work, for a reason that is not a defect. */
export class CommandError extends UserError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CommandError';
  }
}
