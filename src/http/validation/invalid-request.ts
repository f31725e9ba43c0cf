/** What is wrong with one field of a request: of its path, query, headers or body. */
export interface FieldProblem {
  readonly field: string;
  readonly message: string;
}

/** A malformed request: 400, naming each field. */
export class InvalidRequestError extends Error {
  constructor(readonly problems: readonly FieldProblem[]) {
    super('Invalid request');
    this.name = 'InvalidRequestError';
  }

  static of(field: string, message: string): InvalidRequestError {
    return new InvalidRequestError([{ field, message }]);
  }
}
