/** The sender of a request, as far as the ledger needs to know it. */
export interface Sender {
  /** The principal or, without one, the client address. Users share bounded resources fairly. */
  readonly user: string;
  /** May use only the accounts of this owner; undefined: all accounts. */
  readonly owner: string | undefined;
}

/** The user for the service's own work, and for the command line. */
export const THE_SERVICE = 'the service';
