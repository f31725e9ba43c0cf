import type { Principal, Scope } from './principal.js';

/** There is no credential, or it is none of ours, or not any more. Which of these, the answer does not tell. */
export class UnauthorizedError extends Error {
  /** @param given whether there was one at all */
  constructor(readonly given: boolean) {
    super('Unauthorized');
    this.name = 'UnauthorizedError';
  }
}

/** The credential is good, but does not allow this. */
export class ForbiddenError extends Error {
  /** @param scope the one that would allow it; undefined: none does */
  constructor(readonly scope?: Scope) {
    super('Forbidden');
    this.name = 'ForbiddenError';
  }
}

/** The refusal of a sender that lacks a scope; undefined: it has the scope. */
export function forbidden({ scopes }: Principal, scope: Scope): ForbiddenError | undefined {
  return scopes.has(scope) ? undefined : new ForbiddenError(scope);
}

/** @throws ForbiddenError */
export function requireScope(principal: Principal, scope: Scope): void {
  const problem = forbidden(principal, scope);
  if (problem) throw problem;
}

/** The identity provider can't be asked for its keys: whether a token is good is not known. */
export class ProviderUnavailableError extends Error {
  constructor() {
    super('Identity provider unavailable');
    this.name = 'ProviderUnavailableError';
  }
}

/** API keys can't be read, so one that this process has not seen can't be checked. */
export class CredentialStoreUnavailableError extends Error {
  constructor() {
    super('Credential store unavailable');
    this.name = 'CredentialStoreUnavailableError';
  }
}
