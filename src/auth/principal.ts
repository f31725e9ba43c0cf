import type { TransactionType } from '../domain/transaction.js';

/** What a credential allows. `admin` allows everything, and sees every account. */
export const SCOPES = [
  'accounts:read',
  'accounts:write',
  'transactions:read',
  'transactions:write',
  'deposits:write',
  'withdrawals:write',
  'admin',
] as const;

/**
 * What the names of the scopes mean, as a key remembers it from when it was made. In 1, `transactions:write` was for deposits
 * of an owner's key, too, and `accounts:write` for opening deposits.
 */
export const SCOPES_VERSION = 2;

export type Scope = (typeof SCOPES)[number];

export const isScope = (text: string): text is Scope => (SCOPES as readonly string[]).includes(text);

/** What it takes to move money, by the way that it moves. */
export const MOVEMENT_SCOPES = {
  credit: 'deposits:write',
  debit: 'withdrawals:write',
} as const satisfies Record<TransactionType, Scope>;

/** Each of these lets a sender post some kind of transaction. */
export const POSTING_SCOPES = [
  'transactions:write',
  ...Object.values(MOVEMENT_SCOPES),
] as const satisfies readonly Scope[];

/** Who sends a request. */
export interface Principal {
  /** Tells one from another, in limits and logs; holds no secret. Like `key:7`, or `user:` and the token's subject. */
  readonly id: string;
  /** Whose accounts it sees and uses; undefined: all of them. */
  readonly owner: string | undefined;
  /** What it may do: those of its credential, and those that they stand for. All of them for an admin. */
  readonly scopes: ReadonlySet<Scope>;
}

/** Where authentication is off, everybody may do everything. */
export const EVERYBODY: Principal = { id: 'everybody', owner: undefined, scopes: new Set(SCOPES) };

/** Who has shown no credential. It may do nothing, and owns nothing: no account has an empty owner. */
export const NOBODY: Principal = { id: 'nobody', owner: '', scopes: new Set() };

/** @param scopes of the credential; what is no scope of ours counts for nothing */
export function principalOf(id: string, owner: string | undefined, scopes: readonly string[]): Principal {
  if (scopes.includes('admin')) return { id, owner: undefined, scopes: new Set(SCOPES) };
  return { id, owner, scopes: new Set(scopes.filter(isScope).flatMap((scope) => impliedBy(scope, owner))) };
}

/**
 * A scope, and those that it stands for. `transactions:write` is for both ways, but an owner who could deposit into his own
 * account would make money: that takes `deposits:write`.
 */
function impliedBy(scope: Scope, owner: string | undefined): readonly Scope[] {
  if (scope !== 'transactions:write') return [scope];
  return owner === undefined ? POSTING_SCOPES : [scope, MOVEMENT_SCOPES.debit];
}

/** A credential that was found to be good, and may be believed for a while. */
export interface KnownCredential {
  /** Whose it is; undefined: it has to be looked up again, or has ended. */
  principalNow(): Principal | undefined;
}

/** One kind of credentials. */
export interface CredentialSource {
  /** Whether a text can be one at all: what can't is no business of whoever keeps them. */
  isWellFormed(credential: string): boolean;
  /** What is known of one that was in use; undefined: it has to be looked up. */
  recall(credential: string): KnownCredential | undefined;
  /**
   * @param client whose look-ups wait behind each other, not before those of others
   * @throws UnauthorizedError, and what keeps it from being found out
   */
  lookUp(credential: string, client: string): Promise<KnownCredential>;
}
