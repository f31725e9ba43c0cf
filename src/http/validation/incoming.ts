import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

/** Reads what a handler needs from a request: path, headers and body at once. @throws InvalidRequestError */
export type Read<T> = (request: FastifyRequest) => T;

/**
 * Passes a handler what `read` makes of its request. One parameter without a pipe, because Nest creates promises for
 * each parameter that has one.
 */
export const Incoming = createParamDecorator(<T>(read: Read<T>, context: ExecutionContext): T =>
  read(context.getArgByIndex<FastifyRequest>(0)),
);
