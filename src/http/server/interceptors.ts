import type { CallHandler, ContextType, NestInterceptor } from '@nestjs/common';
import type { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { InterceptorsConsumer } from '@nestjs/core/interceptors/interceptors-consumer.js';
import { defer, lastValueFrom, type Observable } from 'rxjs';

/** The part of Nest's class that runs the interceptors of a route; the rest is untouched. */
interface Consumer {
  createContext(args: unknown[], instance: object, callback: unknown): ExecutionContextHost;
}

/**
 * Runs the interceptors of routes with fewer objects. Nest's own code allows for handlers that return observables,
 * which end with the client's connection: for that it creates six observables, two async resources and a subject per
 * request, a fifth of the cost of a posting. Ours return promises. Call it before the application is created.
 */
export function runInterceptorsDirectly(): void {
  Object.assign(InterceptorsConsumer.prototype, { intercept });
}

/** Replaces InterceptorsConsumer.intercept. @returns the last value of the outermost interceptor's observable */
export function intercept(
  this: Consumer,
  interceptors: readonly NestInterceptor[],
  args: unknown[],
  instance: object,
  callback: unknown,
  next: () => Promise<unknown>,
  type: ContextType,
): Promise<unknown> {
  if (interceptors.length === 0) return next();
  const context = this.createContext(args, instance, callback);
  context.setType(type);
  const run = async (index: number): Promise<unknown> => {
    const interceptor = interceptors[index];
    if (!interceptor) return next();
    const rest: Observable<unknown> = defer(() => run(index + 1));
    const handler: CallHandler = { handle: () => rest };
    const answer = await interceptor.intercept(context, handler);
    // This interceptor only looks at the request: nothing needs a subscription.
    return answer === rest ? run(index + 1) : lastValueFrom(answer);
  };
  return run(0);
}
