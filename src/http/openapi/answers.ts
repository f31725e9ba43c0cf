import type { Type } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { written, type Written } from './resource.js';

/** Has the answers of a route with this status written as its resource says. All others are plain JSON. */
export const Answers = (status: number, resource: Type<object>) =>
  RouteSchema({ response: { [status]: written(resource) } });

/** Lets Fastify write what {@link Answers} names. To be called before the routes are made. */
export function writeAnswers(fastify: FastifyInstance): void {
  fastify.setSerializerCompiler(({ schema }) => (schema as unknown as Written<unknown>).write);
}

/** Says where the resource is that was made, and its entity tag. */
export function created<T>(reply: FastifyReply, location: string, etag: string, resource: T): T {
  void reply.header('location', location).header('etag', etag);
  return resource;
}

/** The resource under its entity tag; 304 and no body when the client has it. */
export function unlessKnown<T>(
  reply: FastifyReply,
  etag: string,
  { wants }: { readonly wants: (etag: string) => boolean },
  resource: () => T,
): T | undefined {
  void reply.header('etag', etag);
  if (wants(etag)) return resource();
  void reply.status(304);
  return undefined;
}
