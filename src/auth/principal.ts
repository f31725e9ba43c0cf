/** What a credential allows. `admin` allows everything, and sees every account. */
export const SCOPES = [
  'accounts:read',
  'accounts:write',
  'transactions:read',
  'transactions:write',
  'admin',
] as const;

export type Scope = (typeof SCOPES)[number];

export const isScope = (text: string): text is Scope => (SCOPES as readonly string[]).includes(text);

/** Who sends a request. */
export interface Principal {
  /** Tells one from another, in limits and logs; holds no secret. Like `key:7`, or `user:` and the token's subject. */
  readonly id: string;
  /** Whose accounts it sees and uses; undefined: all of them. */
  readonly owner: string | undefined;
  /** All of them for an admin. */
  readonly scopes: ReadonlySet<Scope>;
}

/** Where authentication is off, everybody may do everything. */
export const EVERYBODY: Principal = { id: 'everybody', owner: undefined, scopes: new Set(SCOPES) };

/** Who has shown no credential. It may do nothing, and owns nothing: no account has an empty owner. */
export const NOBODY: Principal = { id: 'nobody', owner: '', scopes: new Set() };

/** @param scopes of the credential; what is no scope of ours counts for nothing */
export function principalOf(id: string, owner: string | undefined, scopes: readonly string[]): Principal {
  const admin = scopes.includes('admin');
  return {
    id,
    owner: admin ? undefined : owner,
    scopes: new Set(admin ? SCOPES : scopes.filter(isScope)),
  };
}

/** A credential that was found to be good, and may be believed for a while. */
export interface KnownCredential {
  /** Whose it is; undefined: it has to be looked up again, or has ended. */
  principalNow(): Principal | undefined;
}
