import type { Principal, Scope } from './principal.js';

/** The credential is missing, unknown or no longer valid. The answer does not tell which. */
export class UnauthorizedError extends Error {
  /** @param given whether the request had one at all */
  constructor(readonly given: boolean) {
    super('Unauthorized');
    this.name = 'UnauthorizedError';
  }
}

/** The credential is valid, but does not allow this. */
export class ForbiddenError extends Error {
  /** @param scope the one that would allow it; undefined: none does */
  constructor(readonly scope?: Scope) {
    super('Forbidden');
    this.name = 'ForbiddenError';
  }
}

/** The error for a sender that lacks a scope; undefined: it has the scope. */
export function forbidden({ scopes }: Principal, scope: Scope): ForbiddenError | undefined {
  return scopes.has(scope) ? undefined : new ForbiddenError(scope);
}

/** @throws ForbiddenError */
export function requireScope(principal: Principal, scope: Scope): void {
  const problem = forbidden(principal, scope);
  if (problem) throw problem;
}

/** The identity provider's keys can't be fetched, so the token can't be checked. */
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
