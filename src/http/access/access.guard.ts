import { applyDecorators } from '@nestjs/common';
import { ApiSecurity } from '@nestjs/swagger';
import { RouteConfig } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyRequest, onRequestHookHandler, preHandlerHookHandler } from 'fastify';
import { LedgerError } from '../../domain/errors.js';
import { isManagement } from '../server/management.js';
import { SWAGGER_UI_PATH } from '../server/swagger-ui.js';
import {
  CredentialStoreUnavailableError,
  ForbiddenError,
  ProviderUnavailableError,
} from '../../access/access-errors.js';
import type { Authenticator } from '../../access/authenticator.js';
import { EVERYBODY, type Principal, type Scope } from '../../access/principal.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The sender: everybody if authentication is off, nobody on a public route. */
    principal: Principal;
    /** Checks its credential again; undefined on a route that needs none. */
    authenticator?: Authenticator;
  }
  interface FastifyContextConfig {
    access?: Access;
  }
}

/**
 * Who may use a route: senders with one of its scopes; everybody; or everybody, with more detail for some.
 */
export type Access = Scope | readonly Scope[] | Unconditional;
type Unconditional = 'public' | 'public, with more for some';

/**
 * Declares who may use a controller's method. While authentication is on, a route without it is closed to everybody.
 *
 * @param more a scope that some of its requests need as well; the controller checks it once they are known to be
 *   well-formed
 */
export const Allow = (access: Access, more?: Scope): MethodDecorator =>
  applyDecorators(RouteConfig({ access }), ...documented(access, more));

/** The security requirements in OpenAPI: one of them must be met; an empty one always is. */
function documented(access: Access, more: Scope | undefined): MethodDecorator[] {
  if (access === 'public') return [];
  if (access === 'public, with more for some') return [requirement('admin'), ApiSecurity({})];
  return scopesOf(access).flatMap((scope) => [
    requirement(scope),
    ...(more === undefined ? [] : [requirement(scope, more)]),
  ]);
}

const requirement = (...scopes: Scope[]) => ApiSecurity({ [BEARER]: scopes });

const scopesOf = (access: Exclude<Access, Unconditional>): readonly Scope[] =>
  typeof access === 'string' ? [access] : access;

/** The name of the security scheme in the OpenAPI document. */
export const BEARER = 'bearer';

/** Routes without a controller: Swagger UI, the pages next to it and the document, which show nothing of the bank. */
const DOCUMENTATION = new RegExp(`^/(?:${SWAGGER_UI_PATH}(?:[/-]|$)|openapi\\.json$)`);

/**
 * Rejects unauthorised requests before reading the body. Call it before the routes are made, and before anything else
 * that looks at requests.
 */
export function guardRoutes(fastify: FastifyInstance, authenticator: Authenticator): void {
  fastify.addHook('onRoute', (route) => {
    const access = DOCUMENTATION.test(route.url) ? 'public' : route.config?.access;
    if (access === 'public') return;
    const guard = guardOf(access, authenticator);
    const others = [route.onRequest ?? []].flat();
    // Fastify derives the route for HEAD from that for GET, including its guard.
    route.onRequest = others.some((hook) => guards.has(hook)) ? others : [guard, ...others];
    guards.add(guard);
    if (route.method === 'POST' || route.method === 'PATCH')
      route.preHandler = [route.preHandler ?? [], recheck].flat();
  });
}

/**
 * The sender of a request, checked again: a credential may end while its request is still arriving.
 *
 * @throws UnauthorizedError, or why the credential can't be looked up; may also reject with these
 */
export function principalNow(request: FastifyRequest): Principal | Promise<Principal> {
  return request.authenticator?.authenticate(request) ?? request.principal;
}

/** Runs once the body has arrived and the request has its turn: either may take longer than a revocation needs. */
const recheck: preHandlerHookHandler = (request, _reply, done): void => {
  const admit = (principal: Principal) => {
    request.principal = principal;
    done();
  };
  settled(() => principalNow(request), admit, done);
};

const guards = new WeakSet<object>();

function guardOf(access: Exclude<Access, 'public'> | undefined, authenticator: Authenticator) {
  const open = access === 'public, with more for some';
  const scopes = access === undefined || open ? [] : scopesOf(access);
  const guard: onRequestHookHandler = (request, _reply, done): void => {
    const admit = (principal: Principal) => {
      if (!open && !scopes.some((scope) => principal.scopes.has(scope))) {
        return done(new ForbiddenError(scopes[0]));
      }
      request.principal = principal;
      done();
    };
    if (isManagement(request)) return admit(EVERYBODY);
    if (access === undefined) return done(new ForbiddenError());
    if (open && request.headers.authorization === undefined) return done();
    request.authenticator = authenticator;
    // The short answer is public, so a sender whose credential can't be checked right now gets it, too.
    const refuse = (error: Error) => done(open && isUnavailable(error) ? undefined : error);
    settled(() => authenticator.authenticate(request), admit, refuse);
  };
  return guard;
}

/** The sender could not be identified, but not because of the credential. */
const isUnavailable = (error: Error) =>
  error instanceof CredentialStoreUnavailableError ||
  error instanceof ProviderUnavailableError ||
  error instanceof LedgerError;

/** Avoids a promise where none is needed. */
function settled(
  find: () => Principal | Promise<Principal>,
  admit: (principal: Principal) => void,
  refuse: (error: Error) => void,
): void {
  let principal: Principal | Promise<Principal>;
  try {
    principal = find();
  } catch (error) {
    return refuse(error as Error);
  }
  if (principal instanceof Promise) void principal.then(admit, refuse);
  else admit(principal);
}
