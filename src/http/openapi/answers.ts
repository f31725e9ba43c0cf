import { HttpStatus, type Type } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { textMoneyTag } from '../validation/entity-tags.js';
import { contentTypeOf, JSON_MEDIA_TYPE, representationOf } from '../validation/representation.js';
import { written, type Written } from './resource.js';

const TEXT_MONEY_JSON = contentTypeOf(JSON_MEDIA_TYPE, { textMoney: true });

/**
 * Writes the answers of a route with this status as its resource declares. All others are plain JSON.
 *
 * @param dryRun the answer to a dry run, with status 200
 * @param pending the answer while it is not decided, with status 202
 */
export const Answers = (status: number, resource: Answer, dryRun?: Answer, pending?: Answer) =>
  RouteSchema({
    response: {
      [status]: writtenAs(resource),
      ...(dryRun && { [HttpStatus.OK]: writtenAs(dryRun) }),
      ...(pending && { [HttpStatus.ACCEPTED]: writtenAs(pending) }),
    },
  });

type Answer = Type<object> | Written<object>;

const writtenAs = (answer: Answer) => (typeof answer === 'function' ? written(answer) : answer);

/**
 * Makes Fastify write what {@link Answers} declares, with money in the form that the request asks for. Call it before
 * the routes are made.
 */
export function writeAnswers(fastify: FastifyInstance): void {
  fastify.setSerializerCompiler(({ schema }) => (schema as unknown as Written<unknown>).write);
  fastify.addHook('onRoute', (route) => {
    const answers = route.schema?.response as Readonly<Record<number, Written<unknown>>> | undefined;
    if (!answers || !Object.values(answers).some(({ withTextMoney }) => withTextMoney)) return;
    // The serializer of a route knows no request, so this replaces it for those requests that ask for text.
    route.preSerialization = (request, reply, payload, done) => {
      const textForm = asksForTextMoney(request) ? answers[reply.statusCode]?.withTextMoney : undefined;
      if (textForm) void reply.serializer(textForm.write).type(TEXT_MONEY_JSON);
      done(null, payload);
    };
  });
}

const asksForTextMoney = ({ headers }: FastifyRequest): boolean => representationOf(headers).textMoney;

/** The entity tag of the answer, in the form that the request asks for. */
const tagOf = (etag: string, { request }: FastifyReply): string =>
  asksForTextMoney(request) ? textMoneyTag(etag) : etag;

/** Adds the location and the entity tag of the resource that was created. */
export function created<T>(reply: FastifyReply, location: string, etag: string, resource: T): T {
  void reply.header('location', location);
  return tagged(reply, etag, resource);
}

/** Adds the entity tag of the resource. */
export function tagged<T>(reply: FastifyReply, etag: string, resource: T): T {
  void reply.header('etag', tagOf(etag, reply));
  return resource;
}

/** Adds only the location, for a resource that never changes, and so has no entity tag. */
export function located<T>(reply: FastifyReply, location: string, resource: T): T {
  void reply.header('location', location);
  return resource;
}

/** The answer to a dry run, which created nothing. */
export function rehearsed<T>(reply: FastifyReply, resource: T): T {
  void reply.status(HttpStatus.OK);
  return resource;
}

/** The resource with its entity tag; 304 without a body when the client already has it. */
export function unlessKnown<T>(
  reply: FastifyReply,
  etag: string,
  { wants }: { readonly wants: (etag: string) => boolean },
  resource: () => T,
): T | undefined {
  const tag = tagOf(etag, reply);
  void reply.header('etag', tag);
  if (wants(tag)) return resource();
  void reply.status(304);
  return undefined;
}
