import type { MovementType } from '../domain/transaction.js';

/** What a credential allows. `admin` allows everything, and sees every account. */
export const SCOPES = [
  'accounts:read',
  'accounts:write',
  'transactions:read',
  'transactions:write',
  'deposits:write',
  'withdrawals:write',
  'transfers:write',
  'webhooks:write',
  'accounts:manage',
  'admin',
] as const;

/**
 * Version of what the scopes mean; each key records the one it was made under. In version 1, `transactions:write` let
 * an owner's key deposit, and `accounts:write` let it make an opening deposit.
 */
export const SCOPES_VERSION = 2;

export type Scope = (typeof SCOPES)[number];

/** Scopes that a sender bound to an owner can't hold: what they allow is for the bank to do. */
const BANK_SCOPES: readonly Scope[] = ['accounts:manage'];

export const isScope = (text: string): text is Scope => (SCOPES as readonly string[]).includes(text);

export const isBankScope = (scope: Scope): boolean => BANK_SCOPES.includes(scope);

/** The scope that each type of transaction needs. */
export const MOVEMENT_SCOPES = {
  credit: 'deposits:write',
  debit: 'withdrawals:write',
} as const satisfies Record<MovementType, Scope>;

/** Any of these lets a sender post a deposit or a withdrawal. */
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
  /** What it may do: the scopes of its credential and those that they imply. All of them for an admin. */
  readonly scopes: ReadonlySet<Scope>;
}

/** The API key that the sender has shown; undefined: it was none. */
export function keyIdOf({ id }: Pick<Principal, 'id'>): number | undefined {
  const [, keyId] = /^key:(\d+)$/.exec(id) ?? [];
  return keyId === undefined ? undefined : Number(keyId);
}

/** Where authentication is off, everybody may do everything. */
export const EVERYBODY: Principal = { id: 'everybody', owner: undefined, scopes: new Set(SCOPES) };

/** Who has shown no credential. It may do nothing, and owns nothing: no account has an empty owner. */
export const NOBODY: Principal = { id: 'nobody', owner: '', scopes: new Set() };

/** Whether a credential tells who it is. */
export const isIdentified = (principal: Principal): boolean =>
  principal !== EVERYBODY && principal !== NOBODY;

/** @param scopes of the credential; what is no scope of ours counts for nothing */
export function principalOf(id: string, owner: string | undefined, scopes: readonly string[]): Principal {
  if (scopes.includes('admin')) return { id, owner: undefined, scopes: new Set(SCOPES) };
  return { id, owner, scopes: new Set(scopes.filter(isScope).flatMap((scope) => impliedBy(scope, owner))) };
}

/**
 * A scope and those that it implies. `transactions:write` implies both types of transaction, except for an owner: one
 * who could deposit into their own account would create money, so that takes `deposits:write`. A scope of the bank
 * counts for nothing with an owner, who could otherwise unfreeze their own account.
 */
function impliedBy(scope: Scope, owner: string | undefined): readonly Scope[] {
  if (owner !== undefined && isBankScope(scope)) return [];
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
  /** Whether a text has the form of such a credential: others are not worth a look-up. */
  isWellFormed(credential: string): boolean;
  /** One that was looked up before; undefined: it has to be looked up. */
  recall(credential: string): KnownCredential | undefined;
  /**
   * @param client look-ups of one client wait behind each other, not ahead of other clients'
   * @throws UnauthorizedError, or why the credential can't be checked
   */
  lookUp(credential: string, client: string): Promise<KnownCredential>;
}
