/** Who sends a request, as far as the ledger has to know. */
export interface Sender {
  /** Whom it is counted for where something bounded is shared: a principal, or a client address without one. */
  readonly user: string;
  /** Whose accounts alone it may use; undefined: everybody's. */
  readonly owner: string | undefined;
}

/** The user of what the service does of its own accord, and of the command line. */
export const THE_SERVICE = 'the service';
