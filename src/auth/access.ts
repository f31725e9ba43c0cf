import { applyDecorators } from '@nestjs/common';
import { ApiSecurity } from '@nestjs/swagger';
import { RouteConfig } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify';
import { isManagement } from '../http/management.js';
import { SWAGGER_UI_PATH } from '../http/swagger-ui.js';
import { ForbiddenError } from './access-errors.js';
import type { Authenticator } from './authenticator.js';
import { EVERYBODY, type Principal, type Scope } from './principal.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who sends it: everybody where authentication is off, nobody on a public route. */
    principal: Principal;
  }
  interface FastifyContextConfig {
    access?: Access;
  }
}

/** Who may use a route: who has a scope; everybody; or everybody, and who shows a credential is told more. */
export type Access = Scope | 'public' | 'public, with more for some';

/** For a method of a controller. Without one of these, nobody may use its route where authentication is on. */
export const Allow = (access: Access): MethodDecorator =>
  applyDecorators(RouteConfig({ access }), ...documented(access));

/** The security requirements of OpenAPI: one of them is to be met; an empty one always is. */
function documented(access: Access): MethodDecorator[] {
  if (access === 'public') return [];
  if (access !== 'public, with more for some') return [ApiSecurity({ [BEARER]: [access] })];
  return [ApiSecurity({ [BEARER]: ['admin'] }), ApiSecurity({})];
}

/** The name of the security scheme in the OpenAPI document. */
export const BEARER = 'bearer';

/** Routes that are no controller's: Swagger UI and the document, which hold nothing of the bank. */
const DOCUMENTATION = new RegExp(`^/(?:${SWAGGER_UI_PATH}(?:[/-]|$)|openapi\\.json$)`);

/**
 * Lets nobody use a route who may not, before its body is read. To be called before the routes are made, and before
 * whatever else looks at requests on their way.
 */
export function guardRoutes(fastify: FastifyInstance, authenticator: Authenticator): void {
  fastify.addHook('onRoute', (route) => {
    const access = DOCUMENTATION.test(route.url) ? 'public' : route.config?.access;
    if (access === 'public') return;
    const guard = guardOf(access, authenticator);
    const others = [route.onRequest ?? []].flat();
    // Fastify makes the route for HEAD from that for GET, guard and all.
    route.onRequest = others.some((hook) => guards.has(hook)) ? others : [guard, ...others];
    guards.add(guard);
  });
}

const guards = new WeakSet<object>();

function guardOf(access: Exclude<Access, 'public'> | undefined, authenticator: Authenticator) {
  const scope = access === 'public, with more for some' ? undefined : access;
  const guard: onRequestHookHandler = (request, _reply, done): void => {
    const admit = (principal: Principal) => {
      if (scope !== undefined && !principal.scopes.has(scope)) return done(new ForbiddenError(scope));
      request.principal = principal;
      done();
    };
    if (isManagement(request)) return admit(EVERYBODY);
    if (access === undefined) return done(new ForbiddenError());
    if (scope === undefined && request.headers.authorization === undefined) return done();
    authenticated(request, authenticator, admit, done);
  };
  return guard;
}

/** Without a promise where there need be none. */
function authenticated(
  request: FastifyRequest,
  authenticator: Authenticator,
  admit: (principal: Principal) => void,
  refuse: (error: Error) => void,
): void {
  let principal: Principal | Promise<Principal>;
  try {
    principal = authenticator.authenticate(request);
  } catch (error) {
    return refuse(error as Error);
  }
  if (principal instanceof Promise) void principal.then(admit, refuse);
  else admit(principal);
}
