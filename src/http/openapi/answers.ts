import type { Type } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { written, type Written } from './resource.js';

/** Writes the answers of a route with this status as its resource declares. All others are plain JSON. */
export const Answers = (status: number, resource: Type<object>) =>
  RouteSchema({ response: { [status]: written(resource) } });

/** Makes Fastify write what {@link Answers} declares. Call it before the routes are made. */
export function writeAnswers(fastify: FastifyInstance): void {
  fastify.setSerializerCompiler(({ schema }) => (schema as unknown as Written<unknown>).write);
}

/** Adds the location and the entity tag of the resource that was created. */
export function created<T>(reply: FastifyReply, location: string, etag: string, resource: T): T {
  void reply.header('location', location).header('etag', etag);
  return resource;
}

/** The resource with its entity tag; 304 without a body when the client already has it. */
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
