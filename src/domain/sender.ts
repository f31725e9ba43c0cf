/** The sender of a request, as far as the ledger needs to know. */
export interface Sender {
  /** Who is counted where users share something bounded: a principal, or without one a client address. */
  readonly user: string;
  /** The one owner whose accounts it may use; undefined: all accounts. */
  readonly owner: string | undefined;
}

/** The user for what the service does on its own, and for the command line. */
export const THE_SERVICE = 'the service';
