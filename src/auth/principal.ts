/** What a credential allows. `admin` allows everything, and sees every account. */
export const SCOPES = [
  'accounts:read',
  'accounts:write',
  'transactions:read',
  'transactions:write',
  'admin',
] as const;

export type Scope = (typeof SCOPES)[number];

/** Who sends a request. */
export interface Principal {
  /** Tells one from another, in limits and logs; holds no secret. Like `key:7`, or `user:` and the token's subject. */
  readonly id: string;
  /** Whose accounts it sees and uses; undefined: all of them. */
  readonly owner: string | undefined;
  readonly scopes: ReadonlySet<Scope>;
}

/** Where authentication is off, everybody may do everything. */
export const EVERYBODY: Principal = { id: 'everybody', owner: undefined, scopes: new Set(SCOPES) };
