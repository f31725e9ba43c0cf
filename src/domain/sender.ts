/** Who sends a request, as far as the ledger needs to know. */
export interface Sender {
  /** The principal, or the client address without one. What is bounded is shared fairly between users. */
  readonly user: string;
  /** May use only the accounts of this owner; undefined: all accounts. */
  readonly owner: string | undefined;
}

/** The user for the service's own work, and for the command line. */
export const THE_SERVICE = 'the service';
